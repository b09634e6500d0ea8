"""``export()`` for Python, and the flow of an export."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.base_model import loaded_model
from ..cuts.keep import parse_keep
from ..cuts.recorded_choice import recorded_choice
from ..errors import AdapterError, BoundaryError, LoraBoundaryError
from ..harness.key_values import CUT_ARGUMENTS, read_key_values
from ..harness.model_args import AskedCut, open_cut
from ..harness.provenance.base_name import base_of
from .adapter import AdapterCut, cut_in_memory
from .atomic_folder import check_output, whole_folder, writing
from .card import model_card
from .checkpoint import MergedCut, merge_in_memory
from .engine_check import Engine
from .fresh_base import Bases
from .from_sweep import Sweep
from .refusals import refuse_base_rewriting
from .tokenizer import copy_tokenizer, has_tokenizer, save_tokenizer, tokenizer_folder
from .vllm_support import max_lora_rank, vllm_conditions, vllm_problems

FACTS = "lora_boundary_export.json"
CHECKS = ("vllm",)
LOGITS = "logits"

logger = logging.getLogger("lm_eval.lora_boundary")


def export(
    pretrained: str | PreTrainedModel | None,
    peft: str | Path | None,
    boundary: int | str | None,
    output: str | Path,
    *,
    sweep: str | Path | None = None,
    task: str | None = None,
    keep: object = None,
    merge: bool = False,
    force: bool = False,
    check: str | None = None,
    verify: Engine | str | None = None,
    model_args: str | Mapping[str, Any] = "",
    dtype: str = "auto",
    device: str | None = None,
) -> dict[str, Any]:
    """Write an adapter with some of its layers only, and verify it.

    >>> from lm_eval_lora_boundary import export  # doctest: +SKIP
    >>> facts = export("org/base", "org/adapter", 20, "adapter-20", check="vllm")  # doctest: +SKIP
    >>> facts["kept_parameters"], facts["max_difference"]  # doctest: +SKIP
    >>> export(None, None, None, "cut", sweep="my-sweep")  # doctest: +SKIP

    Config and tensors are written together, the tensors bit for bit. Then plain PEFT loads them.
    If the adapter is plain LoRA in the decoder layers, the base model's weights are not needed:
    every module must add exactly what it adds in the cut. Otherwise, PEFT loads the folder onto a
    fresh base model, which must give the same logits as the cut in memory. For that, the base model
    is loaded twice, but only one is in memory at a time; a loaded model is copied, so it needs
    memory for two.

    Args:
        pretrained: Base model: hub id, local folder, or a loaded model, which is left as it is;
            None for that of ``sweep``, or the one that the adapter's config names.
        peft: Adapter: hub id or local folder; None for that of ``sweep``.
        boundary: Last layer whose LoRA is kept, ``0..N-1``, or ``"auto"`` for the one that a
            sweep recorded in the adapter folder; None if ``keep`` or ``sweep`` is given.
        output: Folder to write. It appears complete or not at all.
        sweep: Folder of a finished sweep. What is not given is taken from it; its scores go into
            the model card.
        task: The task of that sweep whose choice is meant, if its tasks have different ones.
        keep: Any other cut, as in :func:`.parse_keep`.
        merge: Write a full checkpoint with the kept layers merged into the base weights instead.
        force: Replace an existing adapter or checkpoint.
        check: ``"vllm"``: write nothing unless vLLM will load the adapter, by its rules.
        verify: ``"logits"``: load the base model and compare logits in any case. Or an engine, such
            as :class:`.VllmEngine`: write nothing unless it computes what PEFT computes. Its rules
            are checked first.
        model_args: Further arguments of lm-eval's ``hf`` model, and ``peft_revision``.
        dtype: Precision to verify and merge in, as for lm-eval's ``hf``; a loaded model keeps its
        device: A torch device; None for the best available.

    Returns:
        The facts that were written: boundary, layers, kept and dropped modules and parameters,
        hashes of both adapters, and the largest difference that was found, which is 0.0.

    Raises:
        LoraBoundaryError: An argument cannot be used, or the cut cannot be written exactly; its
            subclass tells which.
    """
    _check_request(check, verify, merge=merge)
    arguments = _arguments(model_args, dtype, device)
    found = None if sweep is None else Sweep.read(sweep)
    if found is not None:
        pretrained, peft, arguments = found.named(pretrained, peft, arguments)
        if boundary is None and keep is None:
            keep = found.choice(task)
    elif task is not None:
        raise LoraBoundaryError(f"task={task} chooses from a sweep, and no sweep is given")
    if peft is None:
        raise LoraBoundaryError("no adapter is given; give --peft, or --from with a sweep")
    if boundary is None and keep is None:
        raise BoundaryError("no cut is given; give a boundary, or keep")
    revision = arguments.pop("peft_revision", None)
    output = Path(output).expanduser().absolute()
    asked = open_cut(str(peft), boundary, keep=keep, merge=merge, peft_revision=revision)
    adapter = asked.adapter
    assert adapter is not None  # an adapter was named
    if found is not None:
        found.check_adapter(adapter)
        asked = replace(asked, record=found.base(str(asked.keep), pretrained))
    pretrained, arguments = base_of(adapter, pretrained, arguments)
    named = [] if loaded_model(pretrained) is not None else [Path(str(pretrained))]
    sources = [path for path in (adapter.path, *named) if path.is_dir()]
    check_output(output, force=force, sources=sources)
    if not merge:
        refuse_base_rewriting(adapter.config)
    bases = Bases(
        pretrained, arguments, check_layers=partial(_refuse_nothing_kept, asked), dense=merge
    )
    engine = None if isinstance(verify, str) else verify
    if engine is not None:
        engine.check()
        if not merge:
            bases.served()  # refuses what no engine can load
    cut: AdapterCut | MergedCut
    if merge:
        cut = merge_in_memory(bases, adapter, asked)
    else:
        cut = cut_in_memory(bases, adapter, asked, by_logits=verify is not None)
    files = tokenizer_folder(peft, asked.peft_revision, adapter)
    facts = cut.facts | _names(peft, adapter, bases)
    if isinstance(cut, AdapterCut):
        facts |= _vllm(cut, required=check == "vllm" or engine is not None)
    with whole_folder(output, force=force) as folder:
        cut.write(folder, output)
        if merge and not has_tokenizer(files):
            save_tokenizer(bases, folder, output)
        facts["tokenizer_files"] = copy_tokenizer(files, folder, output)
        facts |= cut.verify(folder)
        if engine is not None:
            facts["engine"] = {"name": engine.name, "version": engine.version()}
            facts["engine"] |= cut.verify_in(engine, folder)
        if found is not None:
            cut_made = parse_keep(facts["cut"], facts["num_layers"])
            facts["scores"] = [asdict(score) for score in found.scores(cut_made, task)]
            facts["speed"] = found.speed(cut_made)
        card = model_card(facts, recorded_choice(adapter, facts["cut"], facts["boundary"]))
        with writing(output):
            (folder / "README.md").write_text(card, encoding="utf-8")
            text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
            (folder / FACTS).write_text(text, encoding="utf-8")
    logger.info("keep=%s written to %s", facts["cut"], output)
    return facts | {"output": str(output), "pretrained": bases.name}


def _check_request(check: str | None, verify: Engine | str | None, *, merge: bool) -> None:
    if isinstance(verify, str) and verify != LOGITS:
        raise LoraBoundaryError(f"verify={verify!r}; expected {LOGITS!r} or an engine")
    if check is not None and check not in CHECKS:
        raise LoraBoundaryError(f"check={check!r}; expected {' or '.join(CHECKS)}")
    if check is not None and merge:
        raise LoraBoundaryError(
            f"check={check} checks an adapter, and merge=True writes a checkpoint, which {check} "
            "loads as it loads the base model. Leave out one of them."
        )


def _arguments(
    model_args: str | Mapping[str, Any], dtype: str, device: str | None
) -> dict[str, Any]:
    """Return the arguments of lm-eval's ``hf`` model."""
    given = read_key_values(model_args, "model_args")
    wrong = sorted(CUT_ARGUMENTS & given.keys())
    if wrong:
        raise LoraBoundaryError(
            f"model_args holds {', '.join(wrong)}; give pretrained, peft, boundary, keep and merge "
            "as arguments of their own, and no delta"
        )
    arguments = {"dtype": dtype} | given
    return arguments if device is None else arguments | {"device": device}


def _refuse_nothing_kept(asked: AskedCut, layers: int) -> None:
    cut = asked.cut(layers)
    if cut.keeps_none:
        raise BoundaryError(
            f"{cut} keeps no layer, so there is no adapter to write; use the base model"
        )


def _names(peft: str | Path, adapter: AdapterFolder, bases: Bases) -> dict[str, Any]:
    """Return the names of the adapter and its base model, and how to load the base model."""
    local = Path(peft).expanduser().is_dir()
    return {
        "source": adapter.path.resolve().name if local else str(peft),
        "base_model": str(adapter.config.base_model_name_or_path or bases.name),
        "loading": {
            name: bases.model_args[name]
            for name in ("revision", "subfolder", "gguf_file", "trust_remote_code")
            if name in bases.model_args
        },
    }


def _vllm(cut: AdapterCut, *, required: bool) -> dict[str, Any]:
    """Return the facts about vLLM.

    Raises:
        AdapterError: vLLM is ``required`` to load the adapter, and it will not.
    """
    problems = vllm_problems(cut.config, cut.shapes)
    if problems and required:
        raise AdapterError(
            f"vLLM cannot load this adapter: {' '.join(problems)} Nothing was written; leave out "
            "--check and --verify to use it with PEFT, or merge it into a checkpoint (--merge)."
        )
    return {
        "vllm_problems": problems,
        "vllm_conditions": vllm_conditions(cut.config, cut.shapes),
        "vllm_max_lora_rank": None if problems else max_lora_rank(cut.config),
    }
