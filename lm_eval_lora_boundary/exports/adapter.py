"""An adapter folder that holds the kept layers only."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from peft import PeftConfig, PeftModel

from ..cuts.activated import special_tokens
from ..cuts.adapter_folder import WEIGHTS, AdapterFolder, open_adapter
from ..cuts.cut import LoraCut
from ..cuts.effect import refuse_no_effect
from ..cuts.keep import Cut
from ..cuts.kept_tensors import kept_names
from ..cuts.layers import number_of_layers
from ..cuts.loading import load_adapter, other_shapes
from ..cuts.size import size_of, what_it_buys
from ..errors import AdapterError, ModelError, OutputError
from ..harness.model_args import AskedCut
from ..harness.model_info import describe
from . import tensors as files
from .atomic_folder import writing
from .by_logits import ByLogits
from .by_modules import ByModules, has_plain_layers, is_plain
from .config import cut_config
from .engine_check import Comparison, Engine, Served, log_probabilities
from .fresh_base import Bases, load_cut
from .refusals import refuse_base_rewriting, refuse_untied
from .verify import logits, prompts
from .vllm_support import max_lora_rank


@dataclass(frozen=True)
class AdapterCut:
    """A cut adapter, ready to be written.

    Attributes:
        config: The config of what is kept.
        kept: The kept tensors, by their names in the file.
        facts: The facts about the cut.
        check: What a written folder is compared with.
    """

    config: PeftConfig
    kept: dict[str, torch.Tensor]
    facts: dict[str, Any]
    check: ByLogits | ByModules

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
        """Check a written folder, its tensors and what PEFT makes of it; return facts about it.

        Raises:
            AdapterError: PEFT cannot load it.
            OutputError: It is not the cut.
        """
        written = files.read(folder)
        if not files.same(written, self.kept):
            raise OutputError("nothing was written: the tensors read back are different")
        clear_device_cache(garbage_collection=True)
        return {
            "verified": self.check.name,
            "max_difference": self.check.compare(self._load(folder)),
            "tensors": len(written),
            "bytes": files.size(written),
            "exported_sha256": open_adapter(folder).sha256,
        }

    def verify_in(self, engine: Engine, folder: Path) -> dict[str, Any]:
        """Check what an engine computes with a written folder, and return facts about it.

        Raises:
            OutputError: The engine cannot load it, or does not compute the cut.
        """
        check = self.check
        assert isinstance(check, ByLogits)  # with an engine, the base model was loaded
        clear_device_cache(garbage_collection=True)
        base_logits = logits(check.bases.fresh(), check.tokens)
        clear_device_cache(garbage_collection=True)  # the engine needs the memory
        served = Served(
            model=check.bases.name,
            dtype=self.facts["dtype"],
            loading=check.bases.served(),
            adapter=str(folder),
            rank=max_lora_rank(self.config) or 0,
        )
        found_base, found = engine.log_probabilities(served, check.tokens)
        return Comparison(
            engine.name,
            served.dtype,
            log_probabilities(check.logits, check.tokens),
            found,
            log_probabilities(base_logits, check.tokens),
            found_base,
            _hint(self.config),
        ).check()

    def _load(self, folder: Path) -> PeftModel:
        """Load the folder as any user of PEFT would."""
        base = self.check.base()
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


def cut_in_memory(
    bases: Bases, adapter: AdapterFolder, asked: AskedCut, *, by_logits: bool = False
) -> AdapterCut:
    """Cut the adapter; this releases the base model and the adapter.

    The base model's weights are not loaded if its structure is enough to verify the cut.

    Args:
        bases: Where the base model comes from.
        adapter: The whole adapter.
        asked: The cut that the user asks for.
        by_logits: Verify it by its logits in any case.

    Raises:
        LoraBoundaryError: It cannot be cut, or what is kept cannot be written.
    """
    if not by_logits and (found := _without_weights(bases, adapter, asked)) is not None:
        return found
    model, cut, rows, names, tied = load_cut(bases, adapter, asked)
    refuse_base_rewriting(adapter.config, model.rewritten)
    refuse_untied(model, cut, tied=tied)
    model.move(cut)  # refuses strengths that have no meaning
    config, kept, facts = _content(bases, adapter, model, cut, names)
    base = model.model.get_base_model()
    tokens = prompts(base, special_tokens(config))
    modules = {m.name for m in model.kept(cut) if m.adapted is not None}
    facts |= {"grown_rows": rows, "dtype": str(base.dtype).removeprefix("torch.")}
    check = ByLogits(bases, modules, rows, tokens, logits(model.model, tokens))
    return AdapterCut(config, kept, facts, check)


def _without_weights(bases: Bases, adapter: AdapterFolder, asked: AskedCut) -> AdapterCut | None:
    """Cut the adapter on the structure of its base model; None if that does not show enough."""
    if not is_plain(adapter.config) or adapter.whole_tensors():
        return None
    structure = bases.structure()
    if structure is None:
        return None
    if asked.record is not None:
        sample = bases.sample(structure)
        if sample is not None:
            asked.record.check_base(sample)
        elif not asked.record.same_name:
            return None
    cut = asked.cut(number_of_layers(structure.config))
    try:
        model = load_adapter(copy.deepcopy(structure), adapter, lowest_dropped=None)
    except ModelError:  # the depth of a module shows only when the model runs
        return None
    if not has_plain_layers(model):
        return None
    refuse_no_effect(model, cut)
    model.refuse_meaningless(cut)
    names = [name for name, _ in structure.named_modules()]
    config, kept, facts = _content(bases, adapter, model, cut, names)
    facts |= {"grown_rows": 0, "dtype": bases.dtype(structure)}
    return AdapterCut(config, kept, facts, ByModules.of(structure, model, cut))


def _content(
    bases: Bases, adapter: AdapterFolder, model: LoraCut, cut: Cut, names: Iterable[str]
) -> tuple[PeftConfig, dict[str, torch.Tensor], dict[str, Any]]:
    """Return the config and the tensors of a cut, and facts about it."""
    config = cut_config(adapter.config, model, cut, names)
    config.base_model_name_or_path = config.base_model_name_or_path or bases.name or None
    found = files.read(adapter.path)
    kept = {name: found[name] for name in kept_names(found, model, cut, adapter.path)}
    facts = describe(model, cut, adapter, merge=False) | {"source_bytes": files.size(found)}
    facts["kind"] = model.kind.name
    facts["size"] = size_of(model, adapter, cut)
    facts["buys"] = what_it_buys(model, adapter, cut)
    return config, kept, facts
