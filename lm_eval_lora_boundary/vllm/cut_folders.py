"""Cut adapters on disk for vLLM, which reads adapters from folders, made without a base model.

The base model's structure is enough to know which tensors a boundary keeps. They are written bit
for bit, with the config that :func:`.export` would write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.base_model import empty_model
from ..cuts.cut import LoraCut
from ..cuts.effect import refuse_no_effect
from ..cuts.loading import load_adapter
from ..errors import AdapterError
from ..exports import tensors as files
from ..exports.atomic_folder import writing
from ..exports.config import cut_config
from ..exports.refusals import refuse_base_rewriting
from ..exports.tensors import WEIGHTS
from ..exports.vllm_support import max_lora_rank, vllm_problems


class AdapterSlices:
    """Writes an adapter cut at boundaries.

    Attributes:
        cut: The whole adapter on a base model without weights.
    """

    def __init__(self, adapter: AdapterFolder, config: Any, *, trust_remote_code: bool) -> None:
        """Find out what the adapter changes, and write nothing.

        Args:
            adapter: The whole adapter.
            config: Config of the base model.
            trust_remote_code: Whether to run code that comes with the base model.

        Raises:
            AdapterError: The adapter does not fit the base model.
            ModelError: The decoder layers cannot be found.
        """
        self._adapter = adapter
        base = empty_model(config, trust_remote_code=trust_remote_code)
        self._names = [name for name, _ in base.named_modules()]
        self.cut: LoraCut = load_adapter(base, adapter, boundary=None)
        self._tensors = files.read(adapter.path)

    def check(self, boundary: int) -> None:
        """Refuse a boundary whose cut vLLM would not load, or that has no effect.

        Raises:
            AdapterError: It is one.
        """
        if boundary >= 0:
            refuse_base_rewriting(self._adapter.config)
            config, names = self._content(boundary)
            shapes = {name: tuple(self._tensors[name].shape) for name in names}
            if problems := vllm_problems(config, shapes):
                raise AdapterError(
                    f"vLLM cannot load this adapter at boundary={boundary}: {' '.join(problems)} "
                    "Use --model lora_boundary (a sweep: --engine auto), or merge=True."
                )
        refuse_no_effect(self.cut, boundary)

    def rank(self) -> int:
        """Return the smallest ``max_lora_rank`` that every cut fits, of those vLLM always had."""
        rank = max_lora_rank(self._adapter.config, least=8)
        assert rank is not None  # `check` has refused what fits no rank
        return rank

    def targets(self) -> list[str]:
        """Return the last parts of the names of all modules with LoRA, in alphabetical order."""
        return sorted({module.name.rpartition(".")[2] for module in self.cut.modules})

    def write(self, boundary: int, parent: Path) -> Path:
        """Write a cut, and return its folder.

        Args:
            boundary: The boundary, at least 0.
            parent: Where to make the folder.

        Returns:
            The folder; that of the whole adapter where nothing is dropped.

        Raises:
            AdapterError: The cut cannot be written.
            OutputError: The folder cannot be written.
        """
        if not self.cut.dropped(boundary):
            return self._adapter.path.absolute()
        config, names = self._content(boundary)
        folder = parent / f"boundary={boundary}"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            config.save_pretrained(str(folder))
            files.write(folder / WEIGHTS, {name: self._tensors[name] for name in names})
        return folder.absolute()

    def _content(self, boundary: int) -> tuple[Any, list[str]]:
        """Return config and names of tensors of a cut."""
        config = cut_config(self._adapter.config, self.cut, boundary, self._names)
        found = files.kept_names(self._tensors, self.cut.modules, boundary, self._adapter.path)
        return config, found
