"""What commands print on the way."""

from __future__ import annotations

import logging
import warnings

from .. import processes


def set_up(lm_eval: int = logging.WARNING) -> None:
    """Print what this package has to say, and of lm-eval what is at least as serious as given.

    Of several processes, the first speaks; the others have at most their own troubles to report.
    """
    logging.basicConfig(format="%(message)s")
    ours = max(logging.INFO, lm_eval - 10)
    if processes.rank() != 0:
        from transformers.utils.logging import disable_progress_bar

        lm_eval, ours = logging.ERROR, logging.WARNING
        disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("lm_eval").setLevel(lm_eval)
    logging.getLogger("lm_eval.lora_boundary").setLevel(ours)
    # from PEFT, about transformers: concerns their developers
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
