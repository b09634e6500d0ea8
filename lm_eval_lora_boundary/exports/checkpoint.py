"""A full checkpoint with the kept layers merged into the base weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils.memory import clear_device_cache

from ..cuts.adapter_folder import AdapterFolder
from ..errors import ModelError, first_line
from ..harness.model_args import AskedCut
from ..harness.model_info import describe
from .atomic_folder import writing
from .engine_check import Comparison, Engine, Served, log_probabilities
from .fresh_base import Bases, load_cut
from .refusals import refuse_unequal_vocabulary
from .verify import check_equal, logits, prompts


@dataclass
class MergedCut:
    """A merged model, ready to be written.

    Attributes:
        model: The model; None once it is written.
        tokens: Prompts, ``(batch, seq)``.
        logits: The model's logits for them, ``(batch, seq, vocab)``.
        facts: The facts about the cut.
        loading: How to load the checkpoint again.
        device: Where the model was.
    """

    model: Any
    tokens: torch.Tensor
    logits: torch.Tensor
    facts: dict[str, Any]
    loading: dict[str, Any]
    device: torch.device

    def write(self, folder: Path, output: Path) -> None:
        """Write the checkpoint to a folder that will be called ``output``; release the model.

        Raises:
            ModelError: The model is quantised in a way that cannot be saved.
            OutputError: It cannot be written.
        """
        try:
            with writing(output):
                self.model.save_pretrained(str(folder))
        except (ValueError, NotImplementedError) as error:
            raise ModelError(
                f"the merged model cannot be saved ({first_line(error)}); load the base without "
                "quantisation"
            ) from error
        self.model = None

    def verify(self, folder: Path) -> dict[str, Any]:
        """Check that the checkpoint computes what the model did, and return facts about it.

        Raises:
            OutputError: It does not.
        """
        clear_device_cache(garbage_collection=True)
        load = transformers.AutoModelForCausalLM.from_pretrained
        model: Any = load(str(folder), **self.loading)
        computed = logits(model.to(self.device).eval(), self.tokens)
        return {
            "max_difference": check_equal(computed, self.logits, "the merged checkpoint"),
            "bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        }

    def verify_in(self, engine: Engine, folder: Path) -> dict[str, Any]:
        """Check what an engine computes with a written checkpoint, and return facts about it.

        Raises:
            OutputError: The engine cannot load it, or does not compute the merged model.
        """
        clear_device_cache(garbage_collection=True)  # the engine needs the memory
        trusted = self.loading["trust_remote_code"]
        trust = {"trust_remote_code": trusted} if trusted else {}
        served = Served(model=str(folder), dtype=self.facts["dtype"], loading=trust)
        (found,) = engine.log_probabilities(served, self.tokens)
        peft = log_probabilities(self.logits, self.tokens)
        return Comparison(engine.name, served.dtype, peft, found).check()


def merge_in_memory(bases: Bases, adapter: AdapterFolder, asked: AskedCut) -> MergedCut:
    """Merge the kept layers of an adapter into its base model.

    Raises:
        LoraBoundaryError: It cannot be cut or merged.
    """
    loaded, cut, rows, _, _ = load_cut(bases, adapter, asked)
    facts = describe(loaded, cut, adapter, merge=True)
    loaded.move(cut)
    model = loaded.finish(merge=True).eval()
    refuse_unequal_vocabulary(model, cut)
    _untie(model)
    facts |= {"kind": adapter.kind.name, "buys": [], "verified": "logits"}
    facts |= {"grown_rows": rows, "dtype": str(model.dtype).removeprefix("torch.")}
    tokens = prompts(model)
    loading = {
        "dtype": model.dtype,
        "trust_remote_code": bool(bases.model_args.get("trust_remote_code")),
        "attn_implementation": model.config._attn_implementation,
    }
    return MergedCut(model, tokens, logits(model, tokens), facts, loading, model.device)


def _untie(model: Any) -> None:
    """Say in the config that embeddings and head are two tensors, if the cut separated them."""
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        model.config.tie_word_embeddings = False
