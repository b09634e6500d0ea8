"""``lm_eval --model lora_boundary``: lm-eval's ``hf`` with the adapter cut at a boundary."""

from __future__ import annotations

import logging
from typing import Any

import torch
import transformers
from lm_eval.models.utils import Collator
from peft import PeftModel
from tqdm import tqdm

from ..cuts.activated import filler, invocation, offsets, on_head
from ..cuts.adapter_folder import AdapterFolder
from ..cuts.base_model import USED, empty_model, loaded_model, refuse_adapted
from ..cuts.boundaries import check_boundary
from ..cuts.effect import refuse_no_effect
from ..cuts.fingerprint import weights_sample
from ..cuts.layers import number_of_layers
from ..cuts.loading import check_fits, load_adapter
from ..cuts.vocabulary import growing, refuse_tokens_without_rows
from ..errors import AdapterError, LoraBoundaryError, ModelError
from ..forward.loglikelihood import Batch, log_softmax, score, scored_logits
from . import processes
from .base_loader import BaseLM
from .data_parallel import DataParallelLM
from .device import placed
from .model_args import open_cut
from .model_info import describe, hub_commit, signature
from .user_errors import OneLineMistakes, one_line_for_mistakes

Request = tuple[Any, list[int], list[int]]

# lm-eval's command line shows the loggers below "lm_eval" only
logger = logging.getLogger("lm_eval.lora_boundary")

_CACHE_KEY = "lora_boundary: answers of"


class LoraBoundaryLM(OneLineMistakes, DataParallelLM, BaseLM):
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
            pretrained: Base model: hub id, local folder, or a loaded model, which is changed in
                place.
            peft: LoRA adapter: hub id or local folder.
            boundary: Last layer whose LoRA is kept, ``-1..N-1``; ``"auto"`` for the one that a
                sweep recorded in the adapter folder; None for the full adapter.
            merge: Merge the kept modules into the base weights, so that no PEFT layer is left.
            peft_revision: Revision of the adapter on the hub.
            **kwargs: Everything that lm-eval's ``hf`` model takes. Without ``device``, the best
                there is.

        Raises:
            BoundaryError: The boundary is no integer, out of range, given without ``peft``, or
                ``auto`` with nothing recorded.
            AdapterError: The adapter is missing, damaged, of another kind, made for another base,
                without effect, or cannot be cut faithfully.
            ModelError: The model cannot be loaded, comes with an adapter, or is no decoder-only
                model; or the device is not there.
        """
        asked = open_cut(peft, boundary, merge=merge, peft_revision=peft_revision)
        if kwargs.get("delta") and peft:
            raise AdapterError("peft= and delta= exclude each other; give one of them")
        if kwargs.get("backend", "default") == "seq2seq":
            raise ModelError("backend=seq2seq; boundaries are defined for decoder-only models")
        self._adapter = asked.adapter
        self._record = asked.record
        self._asked = asked.boundary
        loaded = loaded_model(pretrained)
        if loaded is not None:
            self._check_layers(loaded.config)
            refuse_adapted(loaded)
        else:
            # lm-eval turns names that consist of digits into numbers
            pretrained = str(pretrained)
            # lm-eval's command line says cuda:0 if no device is given, with or without a GPU
            kwargs = placed(kwargs, default="cuda:0")
        super().__init__(pretrained, **kwargs)
        self._model: Any
        self.peft = None if peft is None else str(peft)
        self.peft_revision = asked.revision
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
            trust = bool(kwargs.get("trust_remote_code"))
            check_fits(empty_model(self._config, trust_remote_code=trust), self._adapter)
        super()._create_model(pretrained, *args, **kwargs)

    def _attach(self, adapter: AdapterFolder) -> None:
        """Load the adapter onto the base model and cut it.

        This comes after ``HFLM.__init__`` has tied the weights of the base model: tying them with
        saved copies of embeddings or heads in place would score the wrong weights, or crash.
        """
        if self._record is not None:
            self._record.check_base(weights_sample(self._model))
        grows = bool(growing(self._model, adapter))
        cut = load_adapter(self._model, adapter, boundary=self._asked)
        boundary = cut.stack.count - 1 if self._asked is None else self._asked
        refuse_no_effect(cut, boundary)
        cut.move(boundary)
        self._facts = describe(cut, boundary, adapter, merge=self.merge)
        self._model = cut.finish(merge=self.merge)
        self._model.eval()
        setattr(self._model, USED, self.merge and boundary >= 0)
        self.boundary = boundary
        if grows:
            refuse_tokens_without_rows(self._model, len(self.tokenizer), boundary)
        if self.is_first:
            logger.info("%s", self.signature)

    @property
    def signature(self) -> str:
        """One line that says exactly what is being evaluated."""
        return signature(self._facts, self._model.dtype) if self._facts else "no adapter"

    def get_model_info(self) -> dict[str, Any]:
        """Return lm-eval's facts about the model and those of the cut, for the results JSON."""
        # hf looks the adapter up under the revision of the base model
        adapter, self.peft = self.peft, None
        try:
            info: dict[str, Any] = super().get_model_info()
        finally:
            self.peft = adapter
        if adapter is not None:
            info["peft_sha"] = hub_commit(adapter, self.peft_revision)
        return info | self._facts

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Use lm-eval's response cache, but only one that this very model has filled.

        lm-eval's ``--use_cache`` does not know which model an answer is from: at another boundary
        it would return the answers of the first.

        Raises:
            LoraBoundaryError: The cache holds answers of something else.
        """
        answers = getattr(cache_hook, "dbdict", None)
        if answers is not None:
            identity = f"{self.pretrained} {self.revision} {self.peft} {self.signature}"
            with one_line_for_mistakes():
                if answers.get(_CACHE_KEY, identity if not len(answers) else "") != identity:
                    raise LoraBoundaryError(
                        "--use_cache holds answers of another model or boundary; give each its own"
                    )
            answers[_CACHE_KEY] = identity
            if self.divided:  # every process has its own file, and they must know the same
                for others in processes.gather(dict(answers)):
                    answers.update(others)
            answers.commit()
        super().set_cache_hook(cache_hook)

    @property
    def filler(self) -> int:
        """Token to pad texts with that are scored."""
        return 0 if self._adapter is None else filler(self._adapter.config)

    def _model_generate(self, context: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        adapter, model = self._adapter, self._model
        if adapter is not None and invocation(adapter.config) and isinstance(model, PeftModel):
            settings = model.generation_config.to_dict() | kwargs
            for name in ("num_beams", "num_return_sequences"):
                if (settings.get(name) or 1) > 1:
                    raise AdapterError(
                        f"{name}={settings[name]} does not work with an activated adapter "
                        "(alora_invocation_tokens); leave it at 1"
                    )
            # PEFT would look for the sequence in the padding, too
            kwargs["alora_offsets"] = offsets(model, context, kwargs["attention_mask"])
        return super()._model_generate(context, *args, **kwargs)

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        # of whole texts, lm-eval makes the batches
        return self._share_out(
            lambda: self._score(requests, disable_tqdm, override_bs),
            lambda: [(0.0, False)] * len(requests),
        )

    def _score(
        self, requests: list[Request], disable_tqdm: bool, override_bs: int | None
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
        answers: list[tuple[float, bool] | None] = []
        head = self.model.get_output_embeddings()
        if self._adapter is not None and on_head(self.model, self._adapter.config):
            head = None
        with tqdm(
            total=len(requests),
            disable=disable_tqdm or not self.is_first,
            desc="Running loglikelihood requests",
        ) as bar:
            batches = requests_in_order.get_batched(n=size, batch_fn=schedule)
            for number, chunk in enumerate(batches):
                mine = self._falls_here(number)
                rows = (torch.empty(0, 0),) * len(chunk)
                if mine:
                    batch = Batch(
                        [(c, rest) for _, c, rest in chunk],
                        self.max_length,
                        self.device,
                        self.filler,
                    )
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
                        answer = score(shared[0], tokens) if mine else None
                        answers.append(answer)
                        if key is not None and mine:
                            self.cache_hook.add_partial("loglikelihood", key, answer)
                        bar.update(1)
        in_order: list[tuple[float, bool]] = requests_in_order.get_original(self._exchange(answers))
        return in_order


def order(request: Request) -> tuple[int, tuple[int, ...]]:
    """Sort key of a request: longest first, so that running out of memory happens at once."""
    tokens = request[1] + request[2]
    return -len(tokens), tuple(tokens)


def shared_input(request: Request) -> list[int]:
    """Return what two requests must have in common to be answered by one row."""
    return request[1] + request[2][:-1]
