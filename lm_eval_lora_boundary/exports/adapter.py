"""An adapter folder that holds the kept layers only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from peft import PeftConfig, PeftModel

from ..cuts.activated import special_tokens
from ..cuts.adapter_folder import WEIGHTS, AdapterFolder, open_adapter
from ..cuts.cut import LoraCut
from ..cuts.kept_tensors import kept_names
from ..cuts.loading import other_shapes
from ..errors import AdapterError, OutputError
from ..harness.model_args import AskedCut
from ..harness.model_info import describe
from . import tensors as files
from .atomic_folder import writing
from .config import cut_config
from .engine_check import Comparison, Engine, Served, log_probabilities
from .fresh_base import Bases, load_cut
from .refusals import refuse_base_rewriting, refuse_untied
from .verify import check_equal, logits, prompts
from .vllm_support import max_lora_rank


@dataclass(frozen=True)
class AdapterCut:
    """A cut adapter, ready to be written.

    Attributes:
        config: The config of what is kept.
        kept: The kept tensors, by their names in the file.
        modules: Paths of the modules that PEFT will adapt.
        grown_rows: Rows of the vocabulary if the adapter grew it, or 0.
        tokens: Prompts, ``(batch, seq)``.
        logits: The cut's logits for them, ``(batch, seq, vocab)``.
        facts: The facts about the cut.
        bases: Where a fresh base model comes from.
    """

    config: PeftConfig
    kept: dict[str, torch.Tensor]
    modules: frozenset[str]
    grown_rows: int
    tokens: torch.Tensor
    logits: torch.Tensor
    facts: dict[str, Any]
    bases: Bases

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor, by its name in the file."""
        return {name: tuple(tensor.shape) for name, tensor in self.kept.items()}

    def write(self, folder: Path, output: Path) -> None:
        """Write config and tensors to a folder that will be called ``output``.

        Raises:
            OutputError: They cannot be written.
        """
        with writing(output):
            self.config.save_pretrained(str(folder))
            files.write(folder / WEIGHTS, self.kept)

    def verify(self, folder: Path) -> dict[str, Any]:
        """Check a written folder, its tensors and its logits in PEFT, and return facts about it.

        Raises:
            AdapterError: PEFT cannot load it.
            OutputError: It is not the cut.
        """
        written = files.read(folder)
        if not files.same(written, self.kept):
            raise OutputError("nothing was written: the tensors read back are different")
        clear_device_cache(garbage_collection=True)
        model = self._load(folder)
        computed = logits(model, self.tokens)
        adapted = {module.name for module in LoraCut(model, ()).modules}
        if adapted != self.modules:
            raise OutputError(
                f"nothing was written: after reloading, PEFT adapts {len(adapted)} modules instead "
                f"of {len(self.modules)} (first difference: {min(adapted ^ self.modules)})"
            )
        what = "the adapter (PEFT cannot express this cut; merge it with --merge)"
        return {
            "max_difference": check_equal(computed, self.logits, what),
            "tensors": len(written),
            "bytes": files.size(written),
            "exported_sha256": open_adapter(folder).sha256,
        }

    def verify_in(self, engine: Engine, folder: Path) -> dict[str, Any]:
        """Check what an engine computes with a written folder, and return facts about it.

        Raises:
            OutputError: The engine cannot load it, or does not compute the cut.
        """
        clear_device_cache(garbage_collection=True)
        base_logits = logits(self.bases.fresh(), self.tokens)
        clear_device_cache(garbage_collection=True)  # the engine needs the memory
        served = Served(
            model=self.bases.name,
            dtype=self.facts["dtype"],
            loading=self.bases.served(),
            adapter=str(folder),
            rank=max_lora_rank(self.config) or 0,
        )
        found_base, found = engine.log_probabilities(served, self.tokens)
        return Comparison(
            engine.name,
            served.dtype,
            log_probabilities(self.logits, self.tokens),
            found,
            log_probabilities(base_logits, self.tokens),
            found_base,
            _hint(self.config),
        ).check()

    def _load(self, folder: Path) -> PeftModel:
        """Load the folder as any user of PEFT would."""
        base = self.bases.fresh()
        if self.grown_rows:
            base.resize_token_embeddings(self.grown_rows, mean_resizing=False)
        try:
            return PeftModel.from_pretrained(base, str(folder)).eval()
        except (RuntimeError, ValueError, KeyError) as error:
            reason = other_shapes(error) or " ".join(str(error).split())
            raise AdapterError(
                f"PEFT cannot load the cut adapter onto its base ({type(error).__name__}: "
                f"{reason[:300]}); nothing was written. Merge it into a checkpoint (--merge)."
            ) from error


def _hint(config: PeftConfig) -> str:
    """Return what engines are known to read differently, a sentence, or ""."""
    if getattr(config, "target_parameters", None):
        return "Most likely it lays out the LoRA of fused experts differently; merge it (--merge)"
    if any(getattr(config, name, None) for name in ("rank_pattern", "alpha_pattern")):
        return (
            "Most likely it does not read the ranks or alphas of single modules (rank_pattern, "
            "alpha_pattern); merge it (--merge)"
        )
    return ""


def cut_in_memory(bases: Bases, adapter: AdapterFolder, asked: AskedCut) -> AdapterCut:
    """Cut the adapter in memory; this releases the base model and the adapter.

    Raises:
        LoraBoundaryError: It cannot be cut, or what is kept cannot be written.
    """
    model, cut, rows, names, tied = load_cut(bases, adapter, asked)
    refuse_base_rewriting(adapter.config, model.rewritten)
    refuse_untied(model, cut, tied=tied)
    model.move(cut)  # refuses strengths that have no meaning
    config = cut_config(adapter.config, model, cut, names)
    config.base_model_name_or_path = config.base_model_name_or_path or bases.name or None
    found = files.read(adapter.path)
    kept = kept_names(found, model, cut, adapter.path)
    facts = describe(model, cut, adapter, merge=False)
    base = model.model.get_base_model()
    facts |= {
        "grown_rows": rows,
        "dtype": str(base.dtype).removeprefix("torch."),
        "source_bytes": files.size(found),
    }
    tokens = prompts(base, special_tokens(config))
    return AdapterCut(
        config=config,
        kept={name: found[name] for name in kept},
        modules=frozenset(m.name for m in model.kept(cut) if m.adapted is not None),
        grown_rows=rows,
        tokens=tokens,
        logits=logits(model.model, tokens),
        facts=facts,
        bases=bases,
    )
