"""Any cut: how it is written, and that the model with it equals PEFT by hand."""

from __future__ import annotations

import math
from typing import Any

import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_helpers import logits as lm_logits
from model_helpers import make
from peft.helpers import rescale_adapter_scale
from peft.tuners.lora import LoraLayer
from tiny_models import (
    ARCHITECTURES,
    LAYERS,
    lora_config,
    randomise,
    save_adapter,
    tiny_model,
)

from lm_eval_lora_boundary import apply_boundary, export
from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.keep import Cut, parse_keep
from lm_eval_lora_boundary.errors import AdapterError, BoundaryError

TOKENS = torch.arange(4, 20).reshape(2, 8)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def adapted(architecture: str = "llama", **config: Any) -> Any:
    base = tiny_model(architecture)
    return randomise(peft.get_peft_model(base, lora_config(architecture, **config))).eval()


def by_hand(model: Any, strengths: tuple[float, ...]) -> torch.Tensor:
    """Return logits with PEFT's own means: a scaling per layer, and adapters switched off."""
    cut = LoraCut(model)
    depth = {id(module.adapted): module.depth for module in cut.modules}
    del model._lora_boundary_cut
    layers = [
        (layer, strengths[depth[id(module)]])
        for module in model.modules()
        if id(module) in depth
        for layer in module.modules()
        if isinstance(layer, LoraLayer)
    ]
    saved = [(layer, dict(layer.scaling)) for layer, _ in layers]
    for layer, strength in layers:
        layer.enable_adapters(bool(strength))
        if strength:
            layer.scale_layer(strength)
    try:
        return logits(model)
    finally:
        for layer, scaling in saved:
            layer.scaling = scaling
            layer.enable_adapters(True)


@pytest.mark.parametrize(
    ("keep", "strengths"),
    [
        ("0-2", (1, 1, 1, 0)),
        ("0+2-3", (1, 0, 1, 1)),
        ("all@0.7", (0.7,) * 4),
        ("0-1+2@0.5", (1, 1, 0.5, 0)),
        ("3@-0.5+0", (1, 0, 0, -0.5)),
        ("all", (1,) * 4),
        ("none", (0,) * 4),
        (" 1 + 2-3@1.5 ", (0, 1, 1.5, 1.5)),
        (2, (0, 0, 1, 0)),
        ([0, 2], (1, 0, 1, 0)),
        ((1, 0.5, 0, 1), (1, 0.5, 0, 1)),
        ([1, 1, 0, 0], (1, 1, 0, 0)),
        ([], (0,) * 4),
    ],
    ids=str,
)
def test_what_a_user_may_write(keep: object, strengths: tuple[float, ...]) -> None:
    assert parse_keep(keep, 4).strengths == strengths


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("", r"keep='': '' is not a layer, a range, all or none"),
        ("0-9", r"this model has 4 layers, so expected layers from 0 to 3"),
        ("4", r"expected layers from 0 to 3"),
        ("2-1", r"the range 2-1 is empty"),
        ("0-2+1", r"layer 1 is named twice"),
        ("all+0", r"layer 0 is named twice"),
        ("0-1@x", r"the strength 'x' is not a finite number"),
        ("0-1@nan", r"the strength 'nan' is not a finite number"),
        ("0-1@inf", r"the strength 'inf' is not a finite number"),
        ("0,1", r"'0,1' is not a layer"),
        ("-1", r"'-1' is not a layer"),
        ("0-1+none", r"'none' is not a layer"),
        (0.5, r"keep=0.5; expected layers such as"),
        (True, r"keep=True; expected layers such as"),
        ([0.5, 1.0], r"a list of distinct layers or of 4 finite strengths"),
        ([1.0, 1.0, 1.0, math.inf], r"finite strengths"),
        (["0"], r"a list of distinct layers"),
        ([7], r"expected layers from 0 to 3"),
    ],
    ids=str,
)
def test_anything_else_is_refused_in_one_line(keep: object, message: str) -> None:
    with pytest.raises(BoundaryError, match=message) as caught:
        parse_keep(keep, 4)
    assert "\n" not in str(caught.value)


strengths_of = st.lists(
    st.sampled_from([0.0, 1.0, 0.5, -0.25, 1e-9, 3.0]) | st.floats(-4, 4), min_size=1, max_size=12
).map(tuple)


@given(strengths_of)
def test_the_notation_reads_as_the_same_cut(strengths: tuple[float, ...]) -> None:
    cut = Cut(strengths)
    assert parse_keep(cut.notation, len(strengths)).strengths == strengths


@given(st.integers(1, 12), st.data())
def test_a_boundary_is_the_cut_up_to_it(layers: int, data: st.DataObject) -> None:
    boundary = data.draw(st.integers(-1, layers - 1))
    cut = Cut.up_to(boundary, layers)
    assert cut.boundary == boundary
    assert cut == parse_keep(f"0-{boundary}" if boundary >= 0 else "none", layers)
    assert (cut.keeps_none, cut.keeps_all) == (boundary == -1, boundary == layers - 1)
    assert cut.lowest_dropped == boundary + 1
    assert str(cut) == f"boundary={boundary}"


def test_other_cuts_have_no_boundary() -> None:
    for keep in ("1-3", "0+2", "all@0.5", "0-1+2@0.5"):
        assert parse_keep(keep, 4).boundary is None


CUTS = [(1, 0, 1, 1), (0, 0, 1, 1), (0, 1, 0, 0), (0.7,) * 4, (1, 0.5, 0, 2), (0, 0, 0, -1)]


@pytest.mark.parametrize("strengths", CUTS, ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_cut_equals_peft_by_hand(architecture: str, strengths: tuple[float, ...]) -> None:
    model = adapted(architecture)
    whole = logits(model)
    expected = by_hand(model, strengths)
    assert not torch.equal(expected, whole)
    with apply_boundary(model, keep=[float(each) for each in strengths]) as cut:
        assert torch.equal(logits(model), expected)
        assert cut.boundary is None
        cut.move(1)
        cut.move(Cut(tuple(map(float, strengths))))
        assert torch.equal(logits(model), expected), "scaling does not add up"
    assert torch.equal(logits(model), whole)


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
@pytest.mark.parametrize("config", [{}, {"use_rslora": True}, {"lora_bias": True}], ids=str)
def test_one_strength_for_all_equals_peft_rescaled(config: dict[str, Any]) -> None:
    model = adapted(**config)
    for strength in (0.3, 0.7, 1.1):
        with rescale_adapter_scale(model, strength):
            expected = logits(model)
        with apply_boundary(model, keep=f"all@{strength}"):
            assert torch.equal(logits(model), expected)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
def test_embeddings_and_head_follow_their_side(tmp_path: Any, tiny: Any) -> None:
    """Embedding side as layer 0, head side as layer N-1, whatever is kept between."""
    base, _ = tiny()
    model = tiny_model()
    adapter = save_adapter(
        tmp_path / "ends", model, target_modules=["q_proj", "embed_tokens", "lm_head"]
    )
    kept = make(base, adapter, keep="1-3")
    names = {name for name, m in kept.model.named_modules() if isinstance(m, LoraLayer)}
    assert any(name.endswith("lm_head") for name in names)
    assert not any(name.endswith("embed_tokens") for name in names)


def test_boundary_and_keep_are_the_same_model(tiny: Any) -> None:
    base, adapter = tiny()
    for boundary, keep in ((-1, "none"), (1, "0-1"), (LAYERS - 1, "all"), (0, 0)):
        ours, theirs = (
            make(base, adapter, **cut) for cut in ({"boundary": boundary}, {"keep": keep})
        )
        assert torch.equal(lm_logits(ours), lm_logits(theirs))
        assert ours.get_model_info() == theirs.get_model_info()


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("keep", ["0+2-3", "all@0.7", "0-1@0.5+3"])
def test_the_model_with_any_cut(tiny: Any, keep: str, merge: bool) -> None:
    base, adapter = tiny()
    lm = make(base, adapter, keep=keep, merge=merge)
    model = peft.PeftModel.from_pretrained(tiny_model(), adapter).eval()
    expected = by_hand(model, parse_keep(keep, LAYERS).strengths)
    with torch.no_grad():
        computed = lm.model(TOKENS).logits
    if merge:  # W + sBA is rounded once more than Wx + sB(Ax)
        torch.testing.assert_close(computed, expected, rtol=1e-4, atol=1e-5)
    else:
        assert torch.equal(computed, expected)
    info = lm.get_model_info()
    assert (info["boundary"], info["cut"], lm.boundary) == (None, keep, None)
    assert lm.signature.startswith(f"keep {keep} of {LAYERS} layers | kept ")


def test_bad_cuts_are_refused_before_weights_are_loaded(tiny: Any, tmp_path: Any) -> None:
    base, adapter = tiny()
    broken = tmp_path / "base"
    broken.mkdir()
    (broken / "config.json").write_text((base / "config.json").read_text())
    with pytest.raises(BoundaryError, match="this model has 4 layers"):
        make(broken, adapter, keep="0-9")
    with pytest.raises(BoundaryError, match="boundary=1 and keep=0-2 were both given"):
        make(base, adapter, keep="0-2", boundary=1)
    with pytest.raises(BoundaryError, match=r"keep='0-2'.* without peft="):
        make(base, keep="0-2")
    with pytest.raises(BoundaryError, match="boundary=None and keep=None; give one of them"):
        apply_boundary(adapted())


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "DoraLinearVariant, which does not scale linearly"),
        ({"modules_to_save": ["lm_head"]}, "ModulesToSaveWrapper and not LoRA"),
        ({"trainable_token_indices": [5, 6]}, "TrainableTokensWrapper and not LoRA"),
        ({"bias": "lora_only", "architecture": "phi"}, "the adapter holds a whole tensor"),
        ({"init_lora_weights": "pissa"}, "rewrites the base weights under its LoRA"),
    ],
    ids=str,
)
def test_what_cannot_be_scaled_is_refused(config: dict[str, Any], reason: str, tiny: Any) -> None:
    base, adapter = tiny(**config)
    with pytest.raises(AdapterError, match=f"scales layer .* by 0.5, but .*{reason}"):
        make(base, adapter, keep="all@0.5")
    kept = make(base, adapter, keep="0+3")  # keeping and dropping works
    assert kept.get_model_info()["cut"] == "0+3"


@pytest.mark.parametrize("config", [{}, {"use_rslora": True, "rank_pattern": {"q_proj": 3}}])
@pytest.mark.parametrize("keep", ["1-3", "0+2", "all@0.7", "0-1+2-3@0.3", "0@0.1+3@-2"])
def test_an_exported_cut_is_that_cut_in_plain_peft(
    config: dict[str, Any], keep: str, tiny: Any, tmp_path: Any
) -> None:
    base, adapter = tiny(**config)
    facts = export(str(base), adapter, None, tmp_path / "out", keep=keep, dtype="float32")
    assert (facts["cut"], facts["boundary"], facts["max_difference"]) == (keep, None, 0.0)
    card = (tmp_path / "out/README.md").read_text()
    assert f"# LoRA adapter, keep={keep}\n" in card and f"| cut | `keep={keep}` |" in card
    assert "None" not in card
    loaded = peft.PeftModel.from_pretrained(tiny_model(), tmp_path / "out").eval()
    assert torch.equal(logits(loaded), lm_logits_of(base, adapter, keep))


def lm_logits_of(base: Any, adapter: Any, keep: str) -> torch.Tensor:
    with torch.no_grad():
        return make(base, adapter, keep=keep).model(TOKENS).logits


def test_an_export_needs_a_cut_that_keeps_something(tiny: Any, tmp_path: Any) -> None:
    base, adapter = tiny()
    with pytest.raises(BoundaryError, match="no cut is given; give a boundary, or keep"):
        export(str(base), adapter, None, tmp_path / "out")
    with pytest.raises(BoundaryError, match="keeps no layer, so there is no adapter to write"):
        export(str(base), adapter, None, tmp_path / "out", keep="none")
