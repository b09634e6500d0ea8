"""``lm_eval --model lora_boundary_vllm``: lm-eval's ``vllm`` with the adapter cut at a boundary."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lm_eval.api.instance import Instance

from ..cuts.base_model import empty_model, load_config, loading_base, refuse_adapter_folder
from ..cuts.fingerprint import checkpoint_sample, weight_files
from ..cuts.keep import Cut
from ..cuts.layers import number_of_layers
from ..errors import AdapterError, NotFiniteError
from ..exports.api import export
from ..harness.finite import named_by_text
from ..harness.model_args import AskedCut, open_cut
from ..harness.model_info import describe, signature
from ..harness.provenance.base_name import base_of
from ..harness.provenance.facts import InUse
from ..harness.provenance.in_use import in_use, stored_end_tokens
from ..harness.provenance.noting_lm import NotingLM
from ..harness.user_errors import CommandLineModel, exit_on_user_error
from .cut_folders import CutFolders
from .launch import require_vllm
from .written import ONLY_CHOSEN, log_probs

with exit_on_user_error():
    require_vllm("the model lora_boundary_vllm", "use --model lora_boundary")

from lm_eval.models.vllm_causallms import VLLM

# lm-eval's command line shows only loggers below "lm_eval".
logger = logging.getLogger("lm_eval.lora_boundary")


class LoraBoundaryVLLM(NotingLM, CommandLineModel, VLLM):  # type: ignore[misc]
    """A causal language model in vLLM, with an adapter that is kept in some layers only.

    All arguments of lm-eval's ``vllm`` model pass through. At ``boundary=-1`` this is exactly
    ``vllm``, at ``N-1`` (or unset) exactly ``vllm`` with ``lora_local_path=``. In between, vLLM
    loads an ordinary adapter folder without the upper layers, which is removed at the end.

    Attributes:
        boundary: The current boundary; None without an adapter, or if the cut is no boundary.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        *,
        peft: str | None = None,
        boundary: int | str | None = None,
        keep: object = None,
        merge: bool = False,
        peft_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Cut the adapter, and start vLLM.

        Args:
            pretrained: Base model: hub id or local folder; None for the one that the adapter's
                config names.
            peft: Adapter, as in :func:`.open_cut`.
            boundary: As there.
            keep: As there.
            merge: Merge the kept modules into a checkpoint with transformers and PEFT, and let
                vLLM load that. This also works for adapters that vLLM does not load.
            peft_revision: As there.
            **kwargs: Further arguments of lm-eval's ``vllm`` model.

        Raises:
            BoundaryError: As :func:`.open_cut`, or the model does not have such layers.
            AdapterError: As :func:`.open_cut`, or the adapter was made for another base model, has
                no effect, or vLLM does not load it.
            ModelError: The model is not known or cannot be loaded.
        """
        asked = open_cut(peft, boundary, keep=keep, merge=merge, peft_revision=peft_revision)
        pretrained, kwargs = base_of(asked.adapter, pretrained, kwargs)
        if peft is not None and kwargs.get("lora_local_path"):
            raise AdapterError("peft= and lora_local_path= were both given; give one of them")
        self._asked = asked
        self.boundary: int | None = None
        self._facts: dict[str, Any] = {}
        self._folder = TemporaryDirectory(prefix="lora-boundary-")
        name = str(pretrained)
        self._source = name
        self._source_revision: str | None = kwargs.get("revision")
        self._trusts_remote_code = bool(kwargs.get("trust_remote_code"))
        if asked.adapter is not None:
            kwargs |= self._cut(name, asked, kwargs)
        with loading_base(name):
            if asked.adapter is None:
                refuse_adapter_folder(name, kwargs.get("revision"))
            super().__init__(**({"pretrained": pretrained} | kwargs))
        if self._facts:
            logger.info("%s", self.signature)

    def _cut(
        self, pretrained: str, asked: AskedCut, arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write what vLLM is to load, and return its further arguments."""
        assert asked.adapter is not None
        trust = bool(arguments.get("trust_remote_code"))
        revision = arguments.get("revision")
        config = load_config(pretrained, revision, trust_remote_code=trust)
        cut = asked.cut(number_of_layers(config))
        if asked.record is not None:
            files = weight_files(pretrained, revision)
            empty = empty_model(config, trust_remote_code=trust)
            loading = {"revision": revision or "main", "trust_remote_code": trust}
            asked.record.check_base(checkpoint_sample(files, empty, pretrained, **loading))
        cut_folders = CutFolders(asked.adapter, config, trust_remote_code=trust)
        merged = asked.merge and not cut.keeps_none
        if not merged:
            cut_folders.check(cut)
        self.boundary = cut.boundary
        self._facts = describe(cut_folders.cut, cut, asked.adapter, merge=asked.merge)
        folder = Path(self._folder.name)
        if merged:
            return {"pretrained": self._merge(pretrained, cut, folder / "merged", arguments)}
        if cut.keeps_none:
            return {}
        path = str(cut_folders.write(cut, folder))
        return cut_folders.vllm_arguments() | dict(arguments) | {"lora_local_path": path}

    def _merge(self, pretrained: str, cut: Cut, output: Path, arguments: Mapping[str, Any]) -> str:
        """Write a checkpoint with the kept modules merged in, and return its folder."""
        names = ("revision", "trust_remote_code", "peft_revision")
        loading = {**arguments, "peft_revision": self._asked.peft_revision}
        assert self._asked.peft is not None
        # On the CPU, to leave all memory of the accelerator to vLLM.
        export(
            *(pretrained, self._asked.peft, None, output),
            keep=cut.notation,
            merge=True,
            model_args={name: loading[name] for name in names if loading.get(name) is not None},
            dtype=str(arguments.get("dtype", "auto")),
            device="cpu",
        )
        return str(output)

    @staticmethod
    def modify_gen_kwargs(
        gen_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], list[str], int]:
        """Return the arguments, the stop strings and the longest response, as ``vllm`` does.

        lm-eval 0.4.13 documents greedy decoding unless a task asks for sampling. But it leaves the
        temperature to vLLM, which then samples at 1 (docs/upstream.md).
        """
        if not gen_kwargs.get("do_sample"):
            gen_kwargs = {"temperature": 0.0} | gen_kwargs
        modified: tuple[dict[str, Any], list[str], int]
        modified = VLLM.modify_gen_kwargs(gen_kwargs, *args, **kwargs)
        return modified

    def generate_until(self, requests: list[Instance], *args: Any, **kwargs: Any) -> list[str]:
        """Return the responses to requests.

        Raises:
            ModelError: The logits of one are NaN or infinite.
        """
        with named_by_text(self, self.model_args["dtype"]):
            return super().generate_until(requests, *args, **kwargs)

    def _model_generate(
        self, requests: list[list[int]], generate: bool = False, sampling_params: Any = None
    ) -> Any:
        if not generate:
            return super()._model_generate(requests, generate, sampling_params)
        for each in sampling_params:
            if each.logprobs is None:
                each.logprobs = ONLY_CHOSEN
        outputs = super()._model_generate(requests, generate, sampling_params)
        for tokens, output in zip(requests, outputs, strict=True):
            if not all(map(math.isfinite, log_probs(output))):
                raise NotFiniteError(tokens)
        return outputs

    def _loglikelihood_tokens(
        self, requests: list[Any], *args: Any, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        answers: list[tuple[float, bool]]
        answers = super()._loglikelihood_tokens(requests, *args, **kwargs)
        with named_by_text(self, self.model_args["dtype"]):
            for (_, context, continuation), (score, _) in zip(requests, answers, strict=True):
                if not math.isfinite(score):
                    raise NotFiniteError(context, continuation)
        return answers

    @property
    def signature(self) -> str:
        """What is evaluated, in one line."""
        return signature(self._facts, f"vllm {self.model_args['dtype']}")

    def get_model_info(self) -> dict[str, Any]:
        """Return the facts about the cut and notes, for the results JSON."""
        info = {**self._asked.commit(), **self._facts}
        return info if self._asked.adapter is None else {**info, "notes": self.notes}

    def _in_use(self) -> InUse:
        revision, dtype = self._source_revision or "main", str(self.model_args["dtype"])
        # vLLM can quantise what it loads
        unpacked = self.model_args.get("quantization") is not None
        return in_use(self._source, revision, self._config, dtype, unpacked=unpacked)

    def _prompt_tokens(self, text: str) -> list[int]:
        return list(self.tok_encode(text))

    def _end_tokens(self) -> list[int] | None:
        if self.model_args.get("generation_config", "auto") != "auto":
            return None
        return stored_end_tokens(self._source, self._source_revision, self._config)
