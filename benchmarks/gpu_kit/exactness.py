"""In fp32 without TF32, the same operations give the same numbers as plain PEFT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peft
import torch
import transformers

from lm_eval_lora_boundary import export
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM
from lm_eval_lora_boundary.traces.gold import Gold
from lm_eval_lora_boundary.traces.lm import TraceLM
from lm_eval_lora_boundary.traces.reader import Reader

from .answers import by_hand, choices, different, gap, generations, loaded, swept
from .models import Small, small
from .rows import Row, at_most
from .setting import Setting

_CLOSE = 1e-4  # relative; sums of other lengths round differently


def exactness(setting: Setting) -> list[Row]:
    """Compare models at boundaries, the shared forward, merging, traces and exports with PEFT."""
    model = small(setting)
    layers = model.layers
    boundaries = sorted({-1, layers // 3, 2 * layers // 3, layers - 1})
    with without_tf32():
        rows = [Row("model", model.name)]
        rows += _against_peft(model, setting, boundaries)
        rows += _shared(model, setting, boundaries)
        rows += _merged(model, setting, layers // 2)
        rows += _traced(model, setting)
        rows += _exported(model, setting, layers // 2)
    return rows


@contextmanager
def without_tf32() -> Iterator[None]:
    """Multiply fp32 matrices in fp32."""
    before = torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions


def tokens(lm: Any, model: Small, setting: Setting) -> torch.Tensor:
    """Return the token ids of some texts of equal length, shape (texts, seq)."""
    width = setting.pick(64, 9)
    texts = model.prompts(3, 4 * width)
    rows = [lm.tok_encode(text)[:width] for text in texts]
    return torch.tensor(rows, device=setting.device)


@torch.no_grad()
def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=ids).logits
    return logits


def _difference(what: str, ours: torch.Tensor, theirs: torch.Tensor) -> Row:
    """Return a row that says whether logits are the same bit by bit."""
    same = torch.equal(ours, theirs)
    largest = float((ours - theirs).abs().max())
    found = "the same bits" if same else f"differs by up to {largest:.1e}"
    return Row(what, found, "", "the same bits", same)


def _against_peft(model: Small, setting: Setting, boundaries: list[int]) -> list[Row]:
    rows = []
    for boundary in boundaries:
        lm = loaded(model, setting, "float32", boundary=boundary)
        ids = tokens(lm, model, setting)
        ours = _logits(lm.model, ids)
        theirs = _logits(by_hand(model, setting, boundary), ids)
        rows.append(_difference(f"lora_boundary at {boundary} and PEFT by hand", ours, theirs))
        del lm
        setting.free()
    return rows


def _shared(model: Small, setting: Setting, boundaries: list[int]) -> list[Row]:
    lm = loaded(model, setting, "float32", SweepLM)
    count, width = setting.pick((8, 60), (3, 8))
    prompts = model.prompts(count, width)
    work = generations(prompts, setting.pick(24, 6))
    fork = swept(lm, boundaries, work)
    separate = swept(lm, boundaries, work, engine="toggle", rows=1)
    changed, all_ = different(fork, separate)
    options = [f" {word}" for word in model.words[5:8]] + [" " + " ".join(model.words[8:11])]
    scored = choices(prompts, options)
    apart = gap(
        swept(lm, boundaries, scored), swept(lm, boundaries, scored, engine="toggle", rows=1)
    )
    return [
        at_most(f"responses of the shared forward that differ from separate runs, of {all_}",
                changed, 0),
        at_most("log-likelihoods of the shared forward and of separate runs, relative", apart,
                _CLOSE),
    ]  # fmt: skip


def _merged(model: Small, setting: Setting, boundary: int) -> list[Row]:
    lm = loaded(model, setting, "float32", boundary=boundary, merge=True)
    ids = tokens(lm, model, setting)
    ours, theirs = _logits(lm.model, ids), _logits(by_hand(model, setting, boundary), ids)
    apart = float((ours - theirs).norm() / theirs.norm())
    return [at_most(f"logits merged at {boundary} and unmerged, relative", apart, _CLOSE)]


@torch.no_grad()
def _traced(model: Small, setting: Setting) -> list[Row]:
    """Compare a trace with the states that transformers returns, and norm and head by hand."""
    lm = loaded(model, setting, "float32", TraceLM)
    ids = tokens(lm, model, setting)[0].tolist()
    document = Gold(0, "", ids[:-3], ids[-3:])
    (reading,) = Reader(lm).read([document], 1)
    base = lm.cut.model.get_base_model()
    given = torch.tensor([ids[:-1]], device=setting.device)
    states = base(input_ids=given, output_hidden_states=True).hidden_states[1:]
    worst = 0.0
    for layer, state in enumerate(states):
        last = layer == len(states) - 1  # transformers returns this one after the norm
        logits = base.lm_head(state if last else base.model.norm(state))[0, -3:]
        gold = torch.tensor(document.answer, device=logits.device).unsqueeze(1)
        expected = torch.log_softmax(logits, -1).gather(1, gold)[:, 0].cpu().double()
        worst = max(worst, float((expected - torch.from_numpy(reading.logprob[layer])).abs().max()))
    return [at_most("log-probabilities of a trace and of norm and head by hand", worst, 1e-3)]


def _exported(model: Small, setting: Setting, boundary: int) -> list[Row]:
    lm = loaded(model, setting, "float32", boundary=boundary)
    ids = tokens(lm, model, setting)
    ours = _logits(lm.model, ids)
    del lm
    folder = setting.folder / "exported"
    export(
        *(model.pretrained, model.peft, boundary, folder),
        model_args=dict(model.arguments),
        dtype="float32",
        device=str(setting.device),
        force=folder.exists(),
    )
    base = transformers.AutoModelForCausalLM.from_pretrained(
        model.pretrained, dtype=torch.float32, **model.arguments
    )
    plain = peft.PeftModel.from_pretrained(base.to(setting.device), folder).eval()
    return [_difference(f"exported cut at {boundary} in plain PEFT", _logits(plain, ids), ours)]
