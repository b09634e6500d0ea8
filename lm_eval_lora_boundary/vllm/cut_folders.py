"""Cut adapters on disk for vLLM, which reads adapters from folders.

They are made without a base model: its structure is enough to know which tensors a boundary keeps.
These are written bit for bit, with the config that :func:`.export` would write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..cuts.adapter_folder import WEIGHTS, AdapterFolder
from ..cuts.base_model import empty_model
from ..cuts.cut import LoraCut
from ..cuts.effect import refuse_no_effect
from ..cuts.keep import Cut
from ..cuts.kept_tensors import kept_names
from ..cuts.loading import load_adapter
from ..errors import AdapterError
from ..exports import tensors as files
from ..exports.atomic_folder import writing
from ..exports.config import cut_config
from ..exports.refusals import refuse_base_rewriting
from ..exports.vllm_support import max_lora_rank, refuse_for_vllm, vllm_problems
from ..files import cut_folder


class CutFolders:
    """Writes cuts of an adapter.

    Attributes:
        cut: The whole adapter on a base model without weights.
    """

    def __init__(self, adapter: AdapterFolder, config: Any, *, trust_remote_code: bool) -> None:
        """Find what the adapter changes in a base model with this config; write nothing.

        Raises:
            AdapterError: The adapter does not fit the base model.
            ModelError: The decoder layers cannot be found.
        """
        refuse_for_vllm(adapter.config)
        self._adapter = adapter
        base = empty_model(config, trust_remote_code=trust_remote_code)
        self._names = [name for name, _ in base.named_modules()]
        self.cut: LoraCut = load_adapter(base, adapter, lowest_dropped=None)
        self._tensors = files.read(adapter.path)

    def check(self, cut: Cut | int) -> None:
        """Raise an AdapterError if a cut has no effect, or vLLM would not load it."""
        cut = self.cut.cut(cut)
        if not cut.keeps_none:
            refuse_base_rewriting(self._adapter.config)
            config, names = self._content(cut)
            shapes = {name: tuple(self._tensors[name].shape) for name in names}
            if problems := vllm_problems(config, shapes):
                raise AdapterError(
                    f"vLLM cannot load this adapter with {cut}: {' '.join(problems)} "
                    "Use --model lora_boundary (a sweep: --engine auto), or merge=True."
                )
        refuse_no_effect(self.cut, cut)
        self.cut.refuse_meaningless(cut)

    def vllm_arguments(self) -> dict[str, Any]:
        """Return the arguments that vLLM needs to load any of the cuts."""
        # The smallest rank that every cut fits, of those that all versions of vLLM take.
        rank = max_lora_rank(self._adapter.config, least=8)
        assert rank is not None  # `check` has refused what fits no rank
        # Without targets, vLLM wraps the output head as well. On CPU that fails for
        # log-likelihoods: it expects one row of logits per request
        # (vllm/lora/layers/logits_processor.py).
        targets = sorted({module.name.rpartition(".")[2] for module in self.cut.modules})
        return {"max_lora_rank": rank, "lora_target_modules": targets}

    def write(self, cut: Cut | int, parent: Path) -> Path:
        """Write a cut that keeps something, and return its folder.

        This is a new folder in ``parent``, or that of the whole adapter if nothing is dropped.

        Raises:
            AdapterError: The cut cannot be written.
            OutputError: The folder cannot be written.
        """
        cut = self.cut.cut(cut)
        if cut.keeps_all:
            return self._adapter.path.absolute()
        config, names = self._content(cut)
        folder = cut_folder(parent, cut.name)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            config.save_pretrained(str(folder))
            files.write(folder / WEIGHTS, {name: self._tensors[name] for name in names})
        return folder.absolute()

    def _content(self, cut: Cut) -> tuple[Any, list[str]]:
        """Return the config of a cut and the names of its tensors."""
        config = cut_config(self._adapter.config, self.cut, cut, self._names)
        names = kept_names(self._tensors, self.cut, cut, self._adapter.path)
        return config, names
