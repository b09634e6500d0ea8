"""``lm_eval --model lora_boundary``: lm-eval's ``hf`` with the adapter cut at a boundary."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import Collator
from tqdm import tqdm

from .adapted import has_effect
from .adapter import LoraCut
from .adapter_folder import AdapterFolder, open_adapter, recorded_boundary
from .boundaries import check_boundary, parse_boundary
from .errors import AdapterError, BoundaryError, LoraBoundaryError, ModelError
from .layers import number_of_layers
from .loading import check_fits, load_adapter
from .scoring import Batch, Request, log_softmax, order, score, scored_logits, shared_input

# lm-eval's command line shows the loggers below "lm_eval" only
logger = logging.getLogger("lm_eval.lora_boundary")

_Model = TypeVar("_Model", bound="LoraBoundaryLM")


class LoraBoundaryLM(HFLM):  # type: ignore[misc]
    """A causal language model with a LoRA adapter kept in layers ``0..boundary`` only.

    All arguments of lm-eval's ``hf`` model pass through. Dropped modules are physically replaced
    by their base layers: at ``boundary=-1`` this is exactly the base model, at ``N-1`` (or unset)
    exactly ``hf`` with ``peft=``.

    Attributes:
        boundary: The boundary in force; None without an adapter.
    """

    def __init__(
        self,
        pretrained: str | transformers.PreTrainedModel,
        *,
        peft: str | None = None,
        boundary: int | str | None = None,
        merge: bool = False,
        peft_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Load the base model and the adapter, and cut it.

        Args:
            pretrained: Base model: hub id, local folder, or a loaded model.
            peft: LoRA adapter: hub id or local folder.
            boundary: Last layer whose LoRA is kept, ``-1..N-1``; ``"auto"`` for the one that a
                sweep recorded in the adapter folder; None for the full adapter.
            merge: Merge the kept modules into the base weights, so that no PEFT layer is left.
            peft_revision: Revision of the adapter on the hub.
            **kwargs: Everything that lm-eval's ``hf`` model takes.

        Raises:
            BoundaryError: The boundary is no integer, out of range, given without ``peft``, or
                ``auto`` with nothing recorded.
            AdapterError: The adapter is missing, damaged, of another kind, made for another base,
                without effect, or cannot be cut faithfully.
            ModelError: The model is no decoder-only model.
        """
        asked = parse_boundary(boundary)
        if peft is None and (asked is not None or merge or peft_revision is not None):
            raise BoundaryError(
                f"boundary={boundary!r}, merge={merge}, peft_revision={peft_revision!r} without "
                "peft=; give the adapter, or use --model hf"
            )
        if not isinstance(merge, bool):
            raise BoundaryError(f"merge={merge!r}; expected True or False")
        if kwargs.get("delta") and peft:
            raise AdapterError("peft= and delta= exclude each other; give one of them")
        if kwargs.get("backend", "default") == "seq2seq":
            raise ModelError("backend=seq2seq; boundaries are defined for decoder-only models")
        self._adapter: AdapterFolder | None = open_adapter(peft, peft_revision) if peft else None
        if asked == "auto" and self._adapter is not None:
            asked = recorded_boundary(self._adapter)
        self._asked = asked if isinstance(asked, int) else None
        if isinstance(pretrained, transformers.PreTrainedModel):
            self._check_layers(pretrained.config)
        super().__init__(pretrained, **kwargs)
        self._model: Any
        self.peft = peft
        self.merge = merge
        self.boundary: int | None = None
        self._facts: dict[str, Any] = {}
        if self._adapter is not None:
            self._attach(self._adapter)

    def _get_config(self, *args: Any, **kwargs: Any) -> None:
        super()._get_config(*args, **kwargs)
        self._check_layers(self._config)

    def _check_layers(self, config: Any) -> None:
        layers = number_of_layers(config)
        if self._asked is not None:
            check_boundary(self._asked, layers)

    def _create_model(self, pretrained: str, *args: Any, **kwargs: Any) -> None:
        if self._adapter is not None:
            # a model without weights tells in a moment whether the adapter fits
            with torch.device("meta"):
                empty = transformers.AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                    copy.deepcopy(self._config),
                    trust_remote_code=bool(kwargs.get("trust_remote_code")),
                )
            check_fits(empty, self._adapter)
        super()._create_model(pretrained, *args, **kwargs)

    def _attach(self, adapter: AdapterFolder) -> None:
        """Load the adapter onto the base model and cut it.

        This comes after ``HFLM.__init__`` has tied the weights of the base model: tying them with
        saved copies of embeddings or heads in place would score the wrong weights, or crash.
        """
        cut = load_adapter(self._model, adapter, boundary=self._asked)
        layers = cut.stack.count
        boundary = layers - 1 if self._asked is None else self._asked
        self._refuse_no_effect(cut, boundary)
        kept, dropped = cut.kept(boundary), cut.dropped(boundary)
        cut.move(boundary)
        self._facts = {
            "boundary": boundary,
            "num_layers": layers,
            "kept_modules": len(kept),
            "dropped_modules": len(dropped),
            "kept_parameters": sum(module.parameters for module in kept),
            "dropped_parameters": sum(module.parameters for module in dropped),
            "adapter_sha256": adapter.sha256,
            "merge": self.merge,
            "versions": {
                name: version(name)
                for name in ("lm-eval-lora-boundary", "lm-eval", "peft", "transformers", "torch")
            },
        }
        self._model = cut.finish(merge=self.merge)
        self._model.eval()
        self.boundary = boundary
        logger.info("%s", self.signature)

    @staticmethod
    def _refuse_no_effect(cut: LoraCut, boundary: int) -> None:
        if boundary == -1:
            return
        kept = cut.kept(boundary)
        if not kept:
            lowest = min(module.depth for module in cut.modules)
            raise AdapterError(
                f"boundary={boundary} keeps no module: the adapter starts at layer {lowest}. Give "
                f"boundary={lowest} or more, or boundary=-1 for the base model."
            )
        if not has_effect(kept):
            raise AdapterError(
                f"the adapter has no effect: all {len(kept)} kept modules add zero. It looks "
                "untrained; check the folder."
            )

    @property
    def signature(self) -> str:
        """One line that says exactly what is being evaluated."""
        facts = self._facts
        if not facts:
            return "no adapter"
        versions = " ".join(f"{name}={number}" for name, number in facts["versions"].items())
        return (
            f"boundary {facts['boundary']} of {facts['num_layers']} layers | kept "
            f"{facts['kept_modules']} modules {facts['kept_parameters']:,} parameters | dropped "
            f"{facts['dropped_modules']} modules {facts['dropped_parameters']:,} parameters | "
            f"adapter {facts['adapter_sha256'][:12]} | {self._model.dtype} | "
            f"merge={facts['merge']} | {versions}"
        )

    def get_model_info(self) -> dict[str, Any]:
        """Return lm-eval's facts about the model and those of the cut, for the results JSON."""
        info: dict[str, Any] = super().get_model_info()
        return info | self._facts

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Score continuations; the order of requests and batches is that of ``HFLM``.

        Args:
            requests: Name, context tokens and continuation tokens of each.
            disable_tqdm: Show no progress bar.
            override_bs: Batch size to use instead of the configured one.

        Returns:
            Log-likelihood and whether it is the greedy continuation, for each request.
        """
        requests_in_order = Collator(
            requests,
            sort_fn=order,
            group_by="contexts" if self.logits_cache else None,
            group_fn=shared_input,
        )
        automatic = self.batch_size == "auto"
        schedule = self._batch_scheduler if automatic and requests and not override_bs else None
        if schedule is not None:
            self.batch_sizes: dict[int, int] = {}
        size = (override_bs or 0) if automatic else self.batch_size
        answers: list[tuple[float, bool]] = []
        head = self.model.get_output_embeddings()
        with tqdm(
            total=len(requests),
            disable=disable_tqdm or self.rank != 0,
            desc="Running loglikelihood requests",
        ) as bar:
            for chunk in requests_in_order.get_batched(n=size, batch_fn=schedule):
                batch = Batch([(c, rest) for _, c, rest in chunk], self.max_length, self.device)
                logits = scored_logits(self._model_call, head, batch)
                rows = batch.split(log_softmax(logits, self.softmax_dtype))
                for (name, context, continuation), log_probs in zip(chunk, rows, strict=True):
                    # one row answers all one-token continuations of its context
                    for key, tokens, shared in requests_in_order.get_cache(
                        req_str=name,
                        cxt_toks=context,
                        cont_toks=continuation,
                        logits=log_probs.unsqueeze(0),
                    ):
                        answer = score(shared[0], tokens)
                        answers.append(answer)
                        if key is not None:
                            self.cache_hook.add_partial("loglikelihood", key, answer)
                        bar.update(1)
        in_order: list[tuple[float, bool]] = requests_in_order.get_original(answers)
        return in_order

    @classmethod
    def create_from_arg_string(
        cls: type[_Model], arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> _Model:
        """Create the model from ``--model_args``; a user's mistake ends the run in one line."""
        with _one_line_for_mistakes():
            return super().create_from_arg_string(arg_string, additional_config)  # type: ignore[no-any-return]

    @classmethod
    def create_from_arg_obj(
        cls: type[_Model],
        arg_dict: dict[str, Any],
        additional_config: dict[str, Any] | None = None,
    ) -> _Model:
        """Create the model from a dict; a user's mistake ends the run in one line."""
        with _one_line_for_mistakes():
            return super().create_from_arg_obj(arg_dict, additional_config)  # type: ignore[no-any-return]


@contextmanager
def _one_line_for_mistakes() -> Iterator[None]:
    """On lm-eval's command line, print a user's mistake as one line and exit with status 2.

    Python callers get the exception.
    """
    try:
        yield
    except LoraBoundaryError as error:
        program = Path(sys.argv[0] or "python")
        on_command_line = program.stem in {"lm_eval", "lm-eval"} or (
            program.name == "__main__.py" and program.parent.name == "lm_eval"
        )
        if not on_command_line:
            raise
        print(f"lora_boundary: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
