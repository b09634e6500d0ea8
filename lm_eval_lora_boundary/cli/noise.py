"""Keep from the terminal what libraries say and no user of these commands can act on."""

from __future__ import annotations

import logging

# the loggers, and how their messages begin
_NOISE = {
    # of every task whose data a function loads, as those of all bundled tasks
    "lm_eval.api.task": ("Custom kwargs can be passed to `--metadata`",),
    # of every --gen-kwargs, whatever it holds
    "lm_eval.evaluator": ("generation_kwargs: ",),
    # which a command says itself, with the name of the repository
    "lm_eval.loggers.evaluation_tracker": ("hub_results_org was not specified",),
    # of every GGUF file in another precision than float32, also where its weights are unpacked
    "transformers.quantizers.quantizer_gguf": (
        "Loading a GGUF checkpoint with its weights packed",
    ),
    # of every run that resumes: the checkpoint has steps where the arguments have a share
    "transformers.trainer_utils": ("Warning: The following arguments do not match",),
}
_RETRIES = "huggingface_hub.utils._http"


class _Without(logging.Filter):
    """Drops messages that begin with one of some texts."""

    def __init__(self, beginnings: tuple[str, ...]) -> None:
        """Prepare; ``beginnings`` may end with the last words that never vary."""
        super().__init__()
        self._beginnings = beginnings

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to keep a message."""
        message = record.getMessage()
        # lm-eval puts the task in front of some
        return not any(
            message.startswith(beginning) or f": {beginning}" in message
            for beginning in self._beginnings
        )


class _OneLine(logging.Filter):
    """Says once that the hub does not answer, where its client says it for every attempt."""

    def __init__(self) -> None:
        """Prepare."""
        super().__init__()
        self._said = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the first message, in short."""
        if self._said or record.levelno > logging.WARNING:
            return record.levelno > logging.WARNING
        self._said = True
        record.msg, record.args = "the model hub does not answer; trying again", ()
        return True


def hide_noise() -> None:
    """Drop these messages from now on."""
    for name, beginnings in _NOISE.items():
        logging.getLogger(name).addFilter(_Without(beginnings))
    logging.getLogger(_RETRIES).addFilter(_OneLine())
