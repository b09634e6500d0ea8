"""``lm_eval --model lora_boundary_vllm``: lm-eval's ``vllm`` with the adapter cut at a boundary."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..cuts.base_model import empty_model, load_config, loading_base, refuse_adapter_folder
from ..cuts.boundaries import check_boundary
from ..cuts.fingerprint import checkpoint_sample, weight_files
from ..cuts.layers import number_of_layers
from ..errors import AdapterError
from ..exports.api import export
from ..harness.model_args import AskedCut, open_cut
from ..harness.model_info import describe, hub_commit, signature
from ..harness.user_errors import OneLineMistakes, one_line_for_mistakes
from .cut_folders import AdapterSlices
from .launch import lora_arguments, require_vllm

with one_line_for_mistakes():
    require_vllm()

from lm_eval.models.vllm_causallms import VLLM

# lm-eval's command line shows the loggers below "lm_eval" only
logger = logging.getLogger("lm_eval.lora_boundary")


class LoraBoundaryVLLM(OneLineMistakes, VLLM):  # type: ignore[misc]
    """A causal language model in vLLM, with a LoRA adapter kept in layers ``0..boundary`` only.

    All arguments of lm-eval's ``vllm`` model pass through. At ``boundary=-1`` this is exactly
    ``vllm``, at ``N-1`` (or unset) exactly ``vllm`` with ``lora_local_path=``. In between, vLLM
    gets an ordinary adapter folder without the upper layers, which is removed at the end.

    Attributes:
        boundary: The boundary in force; None without an adapter.
    """

    def __init__(
        self,
        pretrained: str,
        *,
        peft: str | None = None,
        boundary: int | str | None = None,
        merge: bool = False,
        peft_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Cut the adapter, and start vLLM.

        Args:
            pretrained: Base model: hub id or local folder.
            peft: LoRA adapter: hub id or local folder.
            boundary: Last layer whose LoRA is kept, ``-1..N-1``; ``"auto"`` for the one that a
                sweep recorded in the adapter folder; None for the full adapter.
            merge: Let transformers and PEFT merge the kept modules into a checkpoint first, and
                vLLM load that. Adapters that vLLM does not load work this way, too.
            peft_revision: Revision of the adapter on the hub.
            **kwargs: Everything that lm-eval's ``vllm`` model takes.

        Raises:
            BoundaryError: The boundary is no integer, out of range, given without ``peft``, or
                ``auto`` with nothing recorded.
            AdapterError: The adapter is missing, damaged, of another kind, made for another base,
                without effect, or vLLM does not load it.
            ModelError: vLLM is not installed, or cannot load the model.
        """
        asked = open_cut(peft, boundary, merge=merge, peft_revision=peft_revision)
        if peft is not None and kwargs.get("lora_local_path"):
            raise AdapterError("peft= and lora_local_path= exclude each other; give one of them")
        self.peft = None if peft is None else str(peft)
        self.peft_revision = asked.revision
        self.boundary: int | None = None
        self._facts: dict[str, Any] = {}
        self._folder = TemporaryDirectory(prefix="lora-boundary-")
        adapter: dict[str, Any] = {}
        if asked.adapter is not None:
            adapter = self._cut(str(pretrained), asked, merge=merge, arguments=kwargs)
        with loading_base(str(pretrained)):
            if asked.adapter is None:
                refuse_adapter_folder(str(pretrained), kwargs.get("revision"))
            super().__init__(**({"pretrained": pretrained} | kwargs | adapter))
        if self._facts:
            logger.info("%s", self.signature)

    def _cut(
        self, pretrained: str, asked: AskedCut, *, merge: bool, arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write what vLLM is to load, and return the arguments for that."""
        assert asked.adapter is not None
        trust = bool(arguments.get("trust_remote_code"))
        revision = arguments.get("revision")
        config = load_config(pretrained, revision, trust_remote_code=trust)
        layers = number_of_layers(config)
        boundary = check_boundary(layers - 1 if asked.boundary is None else asked.boundary, layers)
        if asked.record is not None:
            files = weight_files(pretrained, revision)
            empty = empty_model(config, trust_remote_code=trust)
            loading = {"revision": revision or "main", "trust_remote_code": trust}
            asked.record.check_base(checkpoint_sample(files, empty, pretrained, **loading))
        slices = AdapterSlices(asked.adapter, config, trust_remote_code=trust)
        merged = merge and boundary >= 0
        if not merged:
            slices.check(boundary)
        self.boundary = boundary
        self._facts = describe(slices.cut, boundary, asked.adapter, merge=merge)
        folder = Path(self._folder.name)
        if merged:
            return {"pretrained": self._merge(pretrained, boundary, folder / "merged", arguments)}
        if boundary == -1:
            return {}
        path = str(slices.write(boundary, folder))
        return {"lora_local_path": path} | lora_arguments(slices, arguments)

    def _merge(
        self, pretrained: str, boundary: int, output: Path, arguments: Mapping[str, Any]
    ) -> str:
        """Write a checkpoint with what is kept, and return its folder."""
        names = ("revision", "trust_remote_code")
        loading = {name: arguments[name] for name in names if name in arguments}
        if self.peft_revision is not None:
            loading["peft_revision"] = self.peft_revision
        assert self.peft is not None
        # on the CPU, so that all of the accelerator is vLLM's
        export(
            *(pretrained, self.peft, boundary, output),
            merge=True,
            model_args=loading,
            dtype=str(arguments.get("dtype", "auto")),
            device="cpu",
        )
        return str(output)

    @staticmethod
    def modify_gen_kwargs(
        gen_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], list[str], int]:
        """Return arguments, stop sequences and length of a response, as ``vllm`` does.

        lm-eval 0.4.13 says that decoding is greedy where a task asks for nothing else, but then
        leaves it to vLLM, which samples at temperature 1 (docs/upstream.md).
        """
        greedy = not gen_kwargs.get("do_sample") and "temperature" not in gen_kwargs
        asked = gen_kwargs | ({"temperature": 0.0} if greedy else {})
        found: tuple[dict[str, Any], list[str], int] = VLLM.modify_gen_kwargs(
            asked, *args, **kwargs
        )
        return found

    @property
    def signature(self) -> str:
        """One line that says exactly what is being evaluated."""
        return signature(self._facts, f"vllm {self.model_args['dtype']}")

    def get_model_info(self) -> dict[str, Any]:
        """Return the facts about the cut, for the results JSON."""
        info: dict[str, Any] = {}
        if self.peft is not None:
            info["peft_sha"] = hub_commit(self.peft, self.peft_revision)
        return info | self._facts
