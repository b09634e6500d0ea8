"""Families of cuts, made from layers and measures alone."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.tuners.lora import LoraLayer
from tiny_models import ARCHITECTURES, LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.families import FAMILIES, Adapted, check_families, make_family
from lm_eval_lora_boundary.cuts.importance import output_norms, update_norms
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.errors import AdapterError, BoundaryError, LoraBoundaryError

N = 6
MEASURES = {
    name: lambda: {0: 3.0, 1: 1.0, 2: 2.0, 3: 1.0, 4: 0.0, 5: 5.0}
    for name in ("norm", "output", "map")
}
MODEL = Adapted(N, range(N), MEASURES)
PARTIAL = Adapted(N, (1, 2, 4), MEASURES)
ORDERS = ["upper", "lower", "random", "random:3", "norm", "output", "map"]


def notation(name: str, model: Adapted = MODEL) -> list[str]:
    return [cut.notation for cut in make_family(name, model).cuts]


def test_the_cuts_of_each_family() -> None:
    assert notation("upper") == ["all", "0-4", "0-3", "0-2", "0-1", "0", "none"]
    assert notation("lower") == ["all", "1-5", "2-5", "3-5", "4-5", "5", "none"]
    # the least important first; of equals, the upper one
    by_importance = ["all", "0-3+5", "0-2+5", "0+2+5", "0+5", "5", "none"]
    assert notation("norm") == notation("output") == notation("map") == by_importance
    assert notation("each") == ["1-5", "0+2-5", "0-1+3-5", "0-2+4-5", "0-3+5", "0-4"]
    assert notation("only") == ["0", "1", "2", "3", "4", "5"]
    assert notation("scale:0.5:1:-2") == ["all@0.5", "all", "all@-2"]
    assert notation("scale")[:2] == ["none", "all@0.1"]
    assert notation("scale")[-2:] == ["all", "all@1.1"]
    assert len(notation("scale")) == 12


def test_upper_is_the_boundaries() -> None:
    cuts = make_family("upper", MODEL).cuts
    assert [cut.boundary for cut in cuts] == list(range(N - 1, -2, -1))


@pytest.mark.parametrize("model", [MODEL, PARTIAL], ids=["all layers", "some layers"])
@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_a_nested_chain(name: str, model: Adapted) -> None:
    family = make_family(name, model)
    assert family.kind == "order"
    assert family.cuts[0].keeps_all
    assert family.cuts[-1].keeps_none
    assert len(family.cuts) == len(model.layers) + 1
    for larger, smaller in pairwise(family.cuts):
        kept, left = (
            {layer for layer in model.layers if cut.strengths[layer]} for cut in (larger, smaller)
        )
        assert left < kept
        assert len(kept - left) == 1
        assert set(smaller.strengths) <= {0.0, 1.0}


def test_layers_without_lora_are_not_counted() -> None:
    # what equals a boundary is one, and layers without LoRA are not named
    assert notation("each", PARTIAL) == ["2+4", "1+4", "0-2"]
    assert notation("only", PARTIAL) == ["0-1", "2", "4"]
    assert notation("lower", PARTIAL) == ["all", "2+4", "4", "none"]
    assert notation("upper", PARTIAL) == ["all", "0-2", "0-1", "none"]
    assert make_family("only", PARTIAL).layers == (1, 2, 4)


def test_each_model_has_one_cut() -> None:
    """Cuts that differ only in layers without LoRA would be scored and counted twice."""
    families = [make_family(name, PARTIAL) for name in (*ORDERS, "each", "only")]
    cuts = {cut for family in families for cut in family.cuts}
    kept = {tuple(cut.strengths[layer] for layer in PARTIAL.layers) for cut in cuts}
    assert len(kept) == len(cuts)


def test_cuts_that_are_not_scored_leave_a_family_with_their_layers() -> None:
    family = make_family("only", PARTIAL)
    left = family.keep({family.cuts[0], family.cuts[2]})
    assert [cut.notation for cut in left.cuts] == ["0-1", "4"]
    assert list(left.layers) == [1, 4]
    assert make_family("lower", MODEL).keep(set()).cuts == []


def test_random_orders_are_repeatable_and_differ() -> None:
    assert notation("random") == notation("random:0")
    assert notation("random:7") == notation("random:7")
    assert len({tuple(notation(f"random:{seed}")) for seed in range(20)}) > 15


def test_a_file_of_cuts(tmp_path: Path) -> None:
    file = tmp_path / "cuts.txt"
    file.write_text("# windows\n0-1\n\n1-2@0.5 + 4  # a comment\nall\n0-1\n")
    family = make_family(f"file:{file}", MODEL)
    assert (family.kind, family.name) == ("list", "file:cuts.txt")
    assert [cut.notation for cut in family.cuts] == ["0-1", "1-2@0.5+4", "all"]
    file.write_text("0-1\n0-9\n")
    with pytest.raises(BoundaryError, match=r"cuts.txt, line 2: keep=0-9: this model has 6 layers"):
        make_family(f"file:{file}", MODEL)
    file.write_text("# nothing\n")
    with pytest.raises(BoundaryError, match="holds no cut; expected one per line"):
        make_family(f"file:{file}", MODEL)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BoundaryError, match="cannot be read"):
        make_family(f"file:{file}", MODEL)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("uper", "there is no such family"),
        ("", "there is no such family"),
        ("random:x", "the seed is not a whole number"),
        ("random:", "the seed is not a whole number"),
        ("random:²", "the seed is not a whole number"),
        ("random:-1", "the seed is not a whole number"),
        ("scale:1:two", "a strength is not a finite number"),
        ("scale:inf", "a strength is not a finite number"),
        ("scale:", "a strength is not a finite number"),
        ("upper:3", "upper takes no argument"),
        ("file:", "there is no file ''"),
        ("file:/nowhere", "there is no file '/nowhere'"),
    ],
)
def test_families_that_do_not_exist_are_refused(name: str, message: str) -> None:
    with pytest.raises(LoraBoundaryError, match=f"family={name}: {message}; expected upper, lower"):
        check_families([name])


def test_every_family_is_accepted_and_named_in_the_message(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("all")
    with pytest.raises(LoraBoundaryError) as error:
        check_families(["?"])
    for name in FAMILIES:
        check_families([f"file:{tmp_path / 'f'}" if name == "file" else name])
        assert name in str(error.value)


def cut_model(architecture: str = "llama", **config: Any) -> LoraCut:
    config = ({"target_parameters": None} if architecture == "mixtral" else {}) | config
    model = peft.get_peft_model(tiny_model(architecture), lora_config(architecture, **config))
    return LoraCut(randomise(model).eval())


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "experts"])
def test_the_size_of_an_update_is_what_merging_changes(architecture: str) -> None:
    cut = cut_model() if architecture == "experts" else cut_model(architecture)
    if architecture == "experts":
        cut = LoraCut(
            randomise(peft.get_peft_model(tiny_model("mixtral"), lora_config("mixtral"))).eval()
        )
    found = update_norms(cut)
    before = {name: p.clone() for name, p in cut.model.named_parameters() if "base_layer" in name}
    depth = {module.name: module.depth for module in cut.modules}
    squares = dict.fromkeys(found, 0.0)
    cut.model.merge_adapter()
    for name, parameter in cut.model.named_parameters():
        if name in before:
            module = name.removeprefix("base_model.model.").partition(".base_layer")[0]
            square = (parameter.double() - before[name].double()).square().sum().item()
            squares[depth[module]] += square
    assert set(found) == set(range(LAYERS))
    for layer, square in squares.items():
        assert found[layer] == pytest.approx(square**0.5, rel=1e-4)


@torch.no_grad()
def test_the_size_of_lora_output_is_what_lora_adds() -> None:
    cut = cut_model(rank_pattern={"q_proj": 2}, alpha_pattern={"k_proj": 3})
    texts = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    found = output_norms(cut, texts, torch.device("cpu"))
    squares = dict.fromkeys(range(LAYERS), 0.0)

    def note(layer: int) -> Any:
        def hook(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            added = output.double() - module.base_layer(*inputs).double()
            squares[layer] += float(added.square().sum())

        return hook

    for name, module in cut.model.named_modules():
        if isinstance(module, LoraLayer):
            layer = next(int(part) for part in name.split(".") if part.isdigit())
            module.register_forward_hook(note(layer))
    for text in texts:
        cut.model(torch.tensor([text]))
    for layer, square in squares.items():
        assert found[layer] == pytest.approx((square / 9) ** 0.5, rel=1e-4)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(
    ("config", "family", "kind"),
    [
        ({"modules_to_save": ["lm_head"]}, "norm", "ModulesToSaveWrapper"),
        ({"modules_to_save": ["lm_head"]}, "output", "ModulesToSaveWrapper"),
        ({"use_dora": True}, "output", "DoraLinearVariant"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "output", "Embedding"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused(config: dict[str, Any], family: str, kind: str) -> None:
    cut = cut_model(**config)
    with pytest.raises(AdapterError, match=f"family={family} .* this adapter also has a {kind}"):
        if family == "norm":
            update_norms(cut)
        else:
            output_norms(cut, [[5, 6]], torch.device("cpu"))


def test_the_example_in_the_docs_works() -> None:
    text = (Path(__file__).parents[2] / "docs/architecture.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(def window.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {"Adapted": Adapted, "Cut": Cut}
    exec(code, names)
    cuts = names["window"](MODEL, "4")
    assert [cut.notation for cut in cuts] == ["0-3", "1-4", "2-5"]
