"""``lm_eval --model lora_boundary``: lm-eval's ``hf`` with the adapter cut at a boundary."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Any

import torch
import transformers
from peft import PeftModel
from tqdm import tqdm

from ..cuts.activated import filler, invocation, offsets, on_head
from ..cuts.adapter_folder import AdapterFolder
from ..cuts.base_model import USED, empty_model
from ..cuts.effect import refuse_no_effect
from ..cuts.fingerprint import weights_sample
from ..cuts.layers import number_of_layers
from ..cuts.loading import check_fits, load_adapter
from ..cuts.vocabulary import growing, refuse_tokens_without_rows
from ..errors import AdapterError, LoraBoundaryError, ModelError
from ..forward.loglikelihood import Batch, log_softmax, score, scored_logits
from ..upstream.lm_eval_models import Collator
from . import processes
from .base_loader import BaseLM
from .data_parallel import DataParallelLM
from .finite import FiniteLogits, check_scored, named_by_text
from .model_args import open_cut
from .model_info import describe, signature
from .provenance.base_name import base_of
from .provenance.facts import InUse
from .provenance.in_use import end_tokens, in_use
from .provenance.noting_lm import NotingLM
from .user_errors import CommandLineModel, exit_on_user_error

Request = tuple[Any, list[int], list[int]]

# lm-eval's command line shows only loggers below "lm_eval".
logger = logging.getLogger("lm_eval.lora_boundary")

_CACHE_KEY = "lora_boundary: answers of"


class LoraBoundaryLM(NotingLM, CommandLineModel, DataParallelLM, BaseLM):
    """A causal language model with an adapter that is kept in some layers only.

    All arguments of lm-eval's ``hf`` model pass through. Dropped modules are physically replaced
    by their base layers: at ``boundary=-1`` this is exactly the base model, at ``N-1`` (or unset)
    exactly ``hf`` with ``peft=``.

    Attributes:
        boundary: The current boundary; None without an adapter, or if the cut is no boundary.
    """

    def __init__(
        self,
        pretrained: str | transformers.PreTrainedModel | None = None,
        *,
        peft: str | None = None,
        boundary: int | str | None = None,
        keep: object = None,
        merge: bool = False,
        peft_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Load the base model and the adapter, and cut the adapter.

        Args:
            pretrained: Base model: hub id, local folder, or a loaded model, which is changed in
                place; None for the one that the adapter's config names.
            peft: Adapter, as in :func:`.open_cut`.
            boundary: As there.
            keep: As there.
            merge: As there.
            peft_revision: As there.
            **kwargs: Further arguments of lm-eval's ``hf`` model. Without ``device``, the best one
                is used.

        Raises:
            BoundaryError: As :func:`.open_cut`, or the model does not have such layers.
            AdapterError: As :func:`.open_cut`, or the adapter was made for another base model, has
                no effect, or cannot be cut exactly.
            ModelError: The model is not known, cannot be loaded, comes with an adapter, or is not
                decoder-only; or the device is not available.
        """
        asked = open_cut(peft, boundary, keep=keep, merge=merge, peft_revision=peft_revision)
        pretrained, kwargs = base_of(asked.adapter, pretrained, kwargs)
        if kwargs.get("delta") and peft:
            raise AdapterError("peft= and delta= were both given; give one of them")
        if kwargs.get("backend", "default") == "seq2seq":
            raise ModelError("backend=seq2seq; boundaries are defined for decoder-only models")
        # lm-eval's command line says cuda:0 if no device is given, with or without a GPU.
        if kwargs.get("device") == "cuda:0" and not torch.cuda.is_available():
            del kwargs["device"]
        self._asked = asked
        self._adapter = asked.adapter
        self._trusts_remote_code = bool(kwargs.get("trust_remote_code"))
        super().__init__(pretrained, check_layers=asked.cut, **kwargs)
        self._model: Any
        self.boundary: int | None = None
        self._facts: dict[str, Any] = {}
        if self._adapter is not None:
            self._attach(self._adapter)

    def _create_model(self, pretrained: str, *args: Any, **kwargs: Any) -> None:
        if self._adapter is not None:
            # A model without weights shows in a moment whether the adapter fits.
            trust = bool(kwargs.get("trust_remote_code"))
            check_fits(empty_model(self._config, trust_remote_code=trust), self._adapter)
        super()._create_model(pretrained, *args, **kwargs)

    def _attach(self, adapter: AdapterFolder) -> None:
        """Load the adapter onto the base model and cut it.

        By now ``HFLM.__init__`` has tied the weights of the base model. If it tied them with saved
        copies of embeddings or heads in place, it would score the wrong weights, or crash.
        """
        asked = self._asked
        if asked.record is not None:
            asked.record.check_base(weights_sample(self._model))
        grows = bool(growing(self._model, adapter))
        cut = asked.cut(number_of_layers(self._model.config))
        model = load_adapter(self._model, adapter, lowest_dropped=cut.lowest_dropped)
        refuse_no_effect(model, cut)
        model.move(cut)
        self._facts = describe(model, cut, adapter, merge=asked.merge)
        self._model = model.finish(merge=asked.merge)
        self._model.eval()
        setattr(self._model, USED, asked.merge and not cut.keeps_none)
        self.boundary = cut.boundary
        if grows:
            refuse_tokens_without_rows(self._model, len(self.tokenizer), cut)
        if processes.rank() == 0:
            logger.info("%s", self.signature)

    @property
    def signature(self) -> str:
        """What is evaluated, in one line."""
        return signature(self._facts, self._model.dtype) if self._facts else "no adapter"

    def get_model_info(self) -> dict[str, Any]:
        """Return lm-eval's facts about the model, those of the cut and notes, for the results."""
        info = {**super().get_model_info(), **self._asked.commit(), **self._facts}
        return info if self._adapter is None else {**info, "notes": self.notes}

    def _in_use(self) -> InUse:
        model = self._model
        # of a GGUF file, the precision in memory says nothing about that of the file
        unpacked = getattr(model, "hf_quantizer", None) is not None
        unpacked = unpacked and getattr(model.config, "quantization_config", None) is None
        return in_use(self.pretrained, self.revision, model.config, model.dtype, unpacked=unpacked)

    def _prompt_tokens(self, text: str) -> list[int]:
        tokens, _ = self.tok_batch_encode([text])  # (1, length)
        listed: list[int] = tokens[0].tolist()
        return listed

    def _end_tokens(self) -> list[int]:
        return end_tokens(self._model.generation_config)

    @exit_on_user_error()
    def set_cache_hook(self, cache_hook: Any) -> None:
        """Use lm-eval's response cache, but only if this model at this boundary filled it.

        lm-eval's cache does not record the model. At another boundary it would return the answers
        of the first one.

        Raises:
            LoraBoundaryError: The cache holds answers of another model or boundary.
        """
        answers = getattr(cache_hook, "dbdict", None)
        if answers is not None:
            identity = f"{self.pretrained} {self.revision} {self._asked.peft} {self.signature}"
            if answers.get(_CACHE_KEY, identity if not len(answers) else "") != identity:
                raise LoraBoundaryError(
                    "--use_cache names a cache with answers of another model or boundary; give "
                    "each its own cache"
                )
            answers[_CACHE_KEY] = identity
            if self.divided:  # each process has its own file, and all must hold the same answers
                for others in processes.gather(dict(answers)):
                    answers.update(others)
            answers.commit()
        super().set_cache_hook(cache_hook)

    @property
    def filler(self) -> int:
        """The token that pads scored texts."""
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
            # PEFT would also look for the invocation tokens in the padding.
            kwargs["alora_offsets"] = offsets(model, context, kwargs["attention_mask"])
        check = FiniteLogits(kwargs["attention_mask"], len(context))
        kwargs["logits_processor"] = [*kwargs.get("logits_processor", ()), check]
        with self._naming_requests():
            return super()._model_generate(context, *args, **kwargs)

    def _naming_requests(self) -> AbstractContextManager[None]:
        """Return what names a request whose logits are NaN or infinite."""
        return named_by_text(self, self.model.dtype)

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        # lm-eval batches whole texts itself: then this is one call of its loop.
        with self._naming_requests():
            return self._share_out(
                lambda: self._score(requests, disable_tqdm, override_bs),
                [(0.0, False)] * len(requests),
            )

    def _score(
        self, requests: list[Request], disable_tqdm: bool, override_bs: int | None
    ) -> list[tuple[float, bool]]:
        """Score continuations; requests and batches are in the same order as in ``HFLM``.

        Args:
            requests: Name, context tokens and continuation tokens of each.
            disable_tqdm: Hide the progress bar.
            override_bs: Batch size to use instead of the configured one.

        Returns:
            For each request, the log-likelihood and whether the continuation is the greedy one.
        """
        collator = Collator(
            requests,
            sort_fn=_longest_first,
            group_by="contexts" if self.logits_cache else None,
            group_fn=_input_tokens,
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
            disable=disable_tqdm or processes.rank() != 0,
            desc="Running loglikelihood requests",
        ) as bar:
            for number, chunk in enumerate(collator.get_batched(n=size, batch_fn=schedule)):
                mine = self._answers_batch(number)
                rows = (torch.empty(0, 0),) * len(chunk)
                if mine:
                    pairs = [(context, continuation) for _, context, continuation in chunk]
                    batch = Batch(pairs, self.max_length, self.device, self.filler)
                    logits = scored_logits(self._model_call, head, batch)
                    rows = batch.split(log_softmax(logits, self.softmax_dtype))
                    own = batch.split(logits)
                for place, (name, context, continuation) in enumerate(chunk):
                    # One row answers all one-token continuations of its context.
                    for key, tokens, shared in collator.get_cache(
                        req_str=name,
                        cxt_toks=context,
                        cont_toks=continuation,
                        logits=rows[place].unsqueeze(0),
                    ):
                        answer = score(shared[0], tokens) if mine else None
                        if answer is not None:
                            check_scored(answer, own[place], context, tokens)
                        answers.append(answer)
                        if key is not None and mine:
                            self.cache_hook.add_partial("loglikelihood", key, answer)
                        bar.update(1)
        in_order: list[tuple[float, bool]] = collator.get_original(self._exchange(answers))
        return in_order


def _longest_first(request: Request) -> tuple[int, tuple[int, ...]]:
    """Return a sort key: if memory does not suffice, the first batch shows it."""
    tokens = request[1] + request[2]
    return -len(tokens), tuple(tokens)


def _input_tokens(request: Request) -> list[int]:
    """Return what the model reads; requests with the same input share a row."""
    return request[1] + request[2][:-1]
