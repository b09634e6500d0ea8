"""Gradients by the strengths of layers, against finite differences of PEFT's own scaling."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from command_line import command_line
from model_helpers import make
from peft.tuners.lora import LoraLayer
from tiny_models import ARCHITECTURES, LAYERS, lora_config, randomise, tiny_model
from torch.utils._python_dispatch import TorchDispatchMode

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.errors import AdapterError, LoraBoundaryError, ModelError
from lm_eval_lora_boundary.forward.loglikelihood import Batch, plain_score
from lm_eval_lora_boundary.traces import gates, gradient
from lm_eval_lora_boundary.traces.gold import Gold
from lm_eval_lora_boundary.traces.gradient import STRENGTHS, Differentiator, Gradient, measure
from lm_eval_lora_boundary.traces.layer_map import Measured, layer_map, summary
from lm_eval_lora_boundary.traces.lm import TraceLM

Tiny = Callable[..., tuple[Path, Path]]
Run = Callable[..., dict[str, Any]]
Folders = tuple[Path, Path]  # of the base model and the adapter
Score = Callable[[Gold, Sequence[float]], float]

PAIRS = [([5, 6, 7, 8, 9], [10, 11]), ([4, 5], [6]), ([9, 8, 7, 6, 5, 4, 3], [20, 21, 22])]
GOLD = [Gold(i, "", context, answer) for i, (context, answer) in enumerate(PAIRS)]
STEP = 1e-6  # smaller than the distance to a kink of OPT's ReLU


class AllDouble(TorchDispatchMode):
    """Computes in fp64 what a model does in fp32, such as norms, so that a small step is exact."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") == torch.float32:
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def load(folders: Folders, dtype: str = "float64", **arguments: Any) -> Any:
    return make(*folders, TraceLM, dtype=dtype, **arguments)


def second(folders: Folders, **arguments: Any) -> Score:
    """Return the gold log-probability of a document at strengths, in another way.

    PEFT's own model in fp64, with its scaling set by hand, one full forward pass.
    """
    base = transformers.AutoModelForCausalLM.from_pretrained(
        folders[0], dtype=torch.float64, **arguments
    )
    model = peft.PeftModel.from_pretrained(base, folders[1]).eval().double()
    layers: list[tuple[int, Any, float]] = []
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            side = LAYERS - 1 if name.endswith(("lm_head", "project_out")) else 0
            depth = next((int(part) for part in name.split(".") if part.isdigit()), side)
            layers.append((depth, module, module.scaling["default"]))

    def score(document: Gold, strengths: Sequence[float]) -> float:
        for depth, layer, scaling in layers:
            layer.scaling["default"] = scaling * strengths[depth]
        tokens = torch.tensor([document.context + document.answer])
        with torch.no_grad():
            log_probs = model(input_ids=tokens, use_cache=False).logits[0].log_softmax(dim=-1)
        first = len(document.context) - 1
        return sum(float(log_probs[first + i, token]) for i, token in enumerate(document.answer))

    return score


def finite_difference(score: Score, document: Gold, strength: float) -> list[float]:
    """Return the central differences of a score by the strength of each layer."""
    found = []
    for layer in range(LAYERS):
        ends = []
        for sign in (1, -1):
            strengths = [strength] * LAYERS
            strengths[layer] += sign * STEP
            ends.append(score(document, strengths))
        found.append((ends[0] - ends[1]) / (2 * STEP))
    return found


def assert_agrees_with_second(folders: Folders, **arguments: Any) -> None:
    lm, score = load(folders, **arguments), second(folders, **arguments)
    with AllDouble():
        differentiator = Differentiator(lm)
        differentiator.check(GOLD)
        found = differentiator.read(GOLD)
        for document, each in zip(GOLD, found, strict=True):
            for number, strength in enumerate(STRENGTHS):
                value = score(document, [strength] * LAYERS)
                assert each.logprob[number] == pytest.approx(value, abs=1e-9)
                expected = finite_difference(score, document, strength)
                assert each.derivative[number] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_derivatives_are_those_of_finite_differences(architecture: str, tiny: Tiny) -> None:
    # torch's grouped product, which experts use by default, does not take fp64
    eager = {"experts_implementation": "eager"} if architecture == "mixtral" else {}
    assert_agrees_with_second(tiny(architecture), **eager)


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
# PEFT compares the bias with the shape of a matrix
@pytest.mark.filterwarnings("ignore:.*have invalid shape")
@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["embed_tokens", "v_proj"]},
        {"lora_bias": True, "target_modules": ["q_proj", "down_proj"]},
        {"target_modules": ["lm_head", "down_proj"]},
        {"use_rslora": True, "rank_pattern": {"q_proj": 2}},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1, 2]},
    ],
    ids=str,
)
def test_so_they_are_for_other_parts_and_scalings(
    config: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    base, _ = tiny()
    model = randomise(peft.get_peft_model(tiny_model(), lora_config(**config)))
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    assert_agrees_with_second((base, tmp_path))


def test_a_layer_without_lora_has_no_derivative(tiny: Tiny) -> None:
    folders = tiny(target_modules=["q_proj"], layers_to_transform=[1, 2])
    found = Differentiator(load(folders)).read(GOLD)
    derivatives = np.stack([each.derivative for each in found])
    assert (derivatives[..., [0, 3]] == 0).all() and (derivatives[..., [1, 2]] != 0).all()


@pytest.mark.parametrize("architecture", ["llama", "opt", "gpt2"])
def test_documents_in_a_batch_have_the_gradients_that_each_has_alone(
    architecture: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPT's feed-forward layers see the tokens of a batch in one long row."""
    sizes: list[int] = []
    at = Differentiator._at

    def note(self: Differentiator, documents: Sequence[Gold], strength: float) -> Any:
        sizes.append(len(documents))
        return at(self, documents, strength)

    monkeypatch.setattr(Differentiator, "_at", note)
    differentiator = Differentiator(load(tiny(architecture)))
    differentiator.check(GOLD)
    sizes.clear()
    together = differentiator.read(GOLD, rows=3)
    assert sizes == [3] * len(STRENGTHS)
    alone = differentiator.read(GOLD, rows=1)
    for one, other in zip(together, alone, strict=True):
        assert one.derivative == pytest.approx(other.derivative, rel=1e-5, abs=1e-6)
        assert one.logprob == pytest.approx(other.logprob, abs=1e-6)


def test_experts_get_a_batch_for_each_document(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    differentiator = Differentiator(load(tiny("mixtral"), "float32"))
    read: list[int] = []
    logprobs = gradient.gold_logprobs

    def note(lm: TraceLM, batch: Batch, gold: torch.Tensor) -> torch.Tensor:
        read.append(len(batch.inputs))
        return logprobs(lm, batch, gold)

    monkeypatch.setattr(gradient, "gold_logprobs", note)
    differentiator.check(GOLD)
    found = differentiator.read(GOLD, rows=3)
    assert set(read) == {1} and len(found) == 3


def test_a_model_that_mixes_the_rows_of_a_batch_is_noticed(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the gates of the rows are in the wrong order, as if a layer had turned them around."""
    differentiator = Differentiator(load(tiny()))
    factor = gates._as_factor
    monkeypatch.setattr(gates, "_as_factor", lambda gate, *rest: factor(gate.flip(0), *rest))
    differentiator.check(GOLD)
    mixed = differentiator.read(GOLD)
    monkeypatch.undo()
    for one, other in zip(mixed, Differentiator(load(tiny())).read(GOLD, rows=1), strict=True):
        assert one.derivative == pytest.approx(other.derivative, rel=1e-9)


def test_layers_that_show_their_rows_in_another_way_get_one_document_each(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in a later batch is no different from one in the check."""
    differentiator = Differentiator(load(tiny()))
    differentiator.check(GOLD)
    expected = differentiator.read(GOLD, rows=1)
    factor = gates._as_factor

    def refuse(gate: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(gate) > 1:
            raise gates.InseparableError
        return factor(gate, *rest)

    monkeypatch.setattr(gates, "_as_factor", refuse)
    for one, other in zip(differentiator.read(GOLD, rows=3), expected, strict=True):
        assert (one.derivative == other.derivative).all()


def test_the_model_is_as_before(tiny: Tiny) -> None:
    """Also the names and the order of its parameters, and whether they are trained."""
    for architecture in ("llama", "mixtral"):
        lm = load(tiny(architecture), "float32")
        trained = next(p for n, p in lm.cut.model.named_parameters() if "lora_A" in n)
        trained.requires_grad_()
        before = {n: (id(p), p.requires_grad) for n, p in lm.cut.model.named_parameters()}
        layers = [m for m in lm.cut.model.modules() if isinstance(m, LoraLayer)]
        scaling = [dict(layer.scaling) for layer in layers]
        score = plain_score(lm.cut.model, *PAIRS[0], lm.device)
        Differentiator(lm).read(GOLD)
        after = {n: (id(p), p.requires_grad) for n, p in lm.cut.model.named_parameters()}
        assert list(before.items()) == list(after.items())
        assert all(parameter.grad is None for parameter in lm.cut.model.parameters())
        assert [layer.scaling for layer in layers] == scaling
        assert plain_score(lm.cut.model, *PAIRS[0], lm.device) == score
        assert all("forward" not in vars(module) for module in lm.cut.model.modules())
        assert not any(module._forward_hooks for module in lm.cut.model.modules())


def test_checkpoints_change_no_number(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    differentiator = Differentiator(load(tiny()))
    found = differentiator.read(GOLD)
    monkeypatch.setattr(gradient, "checkpointed", lambda layers: nullcontext())
    for one, other in zip(found, differentiator.read(GOLD), strict=True):
        assert (one.derivative == other.derivative).all()


def test_checkpoints_keep_little_for_the_backward_pass(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    differentiator = Differentiator(load(tiny()))
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    def no_backward(value: torch.Tensor, by: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.zeros_like(by),)

    def after_forward() -> int:
        """Return how many numbers the forward pass keeps."""
        nonlocal kept
        kept = 0
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            differentiator._at(GOLD, 1.0)
        return kept

    monkeypatch.setattr(torch.autograd, "grad", no_backward)
    checkpoints = after_forward()
    monkeypatch.setattr(gradient, "checkpointed", lambda layers: nullcontext())
    assert 0 < checkpoints < after_forward() / 5


def test_dropout_stays_off(tiny: Tiny) -> None:
    differentiator = Differentiator(load(tiny("gpt2", lora_dropout=0.5)))
    first, second = differentiator.read(GOLD), differentiator.read(GOLD)
    for one, other in zip(first, second, strict=True):
        assert (one.derivative == other.derivative).all()


def test_half_precision_reads_the_adapter_as_it_is(tiny: Tiny) -> None:
    """At strength 1, a gate changes no bit: the value is that of the model without gates."""
    lm = load(tiny(), "bfloat16")
    differentiator = Differentiator(lm)
    differentiator.check(GOLD)
    found = differentiator.read(GOLD, rows=1)
    full = Cut.up_to(LAYERS - 1, LAYERS)
    measured = measure(lm, GOLD, [full], rows=1)[full]
    assert [each.logprob[-1] for each in found] == measured.tolist()


def test_fewer_documents_at_once_if_memory_runs_out(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    differentiator = Differentiator(load(tiny()))
    expected = differentiator.read(GOLD, rows=1)
    grad = torch.autograd.grad
    room = 2

    def limited(value: torch.Tensor, by: torch.Tensor) -> Any:
        if by.shape[1] > room:
            raise RuntimeError("CUDA out of memory.")
        return grad(value, by)

    monkeypatch.setattr(torch.autograd, "grad", limited)
    done: list[int] = []
    found = differentiator.read(GOLD, rows=3, done=done.append)
    assert sum(done) == 3 and len(done) > 1
    for one, other in zip(found, expected, strict=True):
        assert one.derivative == pytest.approx(other.derivative, rel=1e-5, abs=1e-6)
    room = 0
    with pytest.raises(ModelError, match="out of memory with a single document"):
        differentiator.read(GOLD)


def test_a_scaling_that_is_not_pefts_is_refused(tiny: Tiny) -> None:
    """As of a layer whose LoRA the gates do not reach."""
    differentiator = Differentiator(load(tiny()))
    differentiator._gates._parts.pop()
    with pytest.raises(ModelError, match=r"scaled by 0, it gives .* but PEFT's own model gives"):
        differentiator.check(GOLD)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "DoraLinearVariant, which does not scale linearly"),
        ({"modules_to_save": ["lm_head"]}, "lm_head: the adapter has a ModulesToSaveWrapper"),
        ({"bias": "lora_only", "architecture": "phi"}, "the adapter holds a whole tensor"),
        ({"init_lora_weights": "pissa"}, "rewrites the base weights under its LoRA"),
        ({"alora_invocation_tokens": [7, 8]}, "works only after certain tokens"),
    ],
    ids=str,
)
def test_what_cannot_be_scaled_is_refused(config: dict[str, Any], reason: str, tiny: Tiny) -> None:
    with pytest.raises(AdapterError, match=reason) as caught:
        Differentiator(load(tiny(**config), "float32"))
    assert "\n" not in str(caught.value)


def test_measured_cuts_are_those_of_a_second_implementation(tiny: Tiny) -> None:
    folders = tiny()
    without, upper = Measured.cuts(LAYERS)
    assert [cut.notation for cut in without] == ["1-3", "0+2-3", "0-1+3", "0-2"]
    assert [cut.boundary for cut in upper] == [-1, 0, 1, 2, 3]
    found = measure(load(folders), GOLD, [*without, *upper])
    score = second(folders)
    for cut, values in found.items():
        expected = [score(document, cut.strengths) for document in GOLD]
        assert values == pytest.approx(expected, abs=1e-6)


def test_cuts_that_keep_the_same_modules_are_measured_once(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = load(tiny(target_modules=["q_proj"], layers_to_transform=[1, 2]))
    moved: list[str] = []
    move = LoraCut.move

    def note(self: LoraCut, cut: Any) -> None:
        moved.append(self.cut(cut).notation)
        move(self, cut)

    monkeypatch.setattr(LoraCut, "move", note)
    without, upper = Measured.cuts(LAYERS)
    found = measure(lm, GOLD, [*without, *upper])
    # the last one goes back to the whole adapter
    assert moved == ["1-3", "0+2-3", "0-1+3", "none", "all"]
    assert set(found) == {*without, *upper}
    assert (found[without[0]] == found[upper[-1]]).all()


def test_integrals_add_up_to_the_gain_of_a_small_adapter(tiny: Tiny, tmp_path: Path) -> None:
    """Up to the error of the quadrature, which the size of the adapter decides."""
    base, _ = tiny()
    errors = []
    for scale in (0.03, 0.06):
        model = peft.get_peft_model(tiny_model(), lora_config())
        randomise(model, scale=scale).save_pretrained(tmp_path / str(scale))
        lm = load((base, tmp_path / str(scale)))
        found = layer_map(Differentiator(lm).read(GOLD))
        assert abs(found["gain"]) > 1e-3
        errors.append(abs(found["sum"] - found["gain"]) / abs(found["gain"]))
    assert errors[0] < 1e-4 and errors[1] < 1e-2


def test_a_trace_with_a_gradient(run: Run, tmp_path: Path) -> None:
    found = run("tiny_words,tiny_choices", gradient=True, measure=True)
    assert json.loads((tmp_path / "out/trace.json").read_text()) == found
    for task in ("tiny_words", "tiny_choices"):
        entry = found["tasks"][task]["gradient"]
        text = (tmp_path / f"out/trace_documents_{task}.jsonl").read_text()
        documents = [json.loads(line) for line in text.splitlines()]
        rows = [document["gradient"] for document in documents]
        again = layer_map(
            [Gradient(np.array(row["logprob"]), np.array(row["derivative"])) for row in rows],
            Measured(
                np.array([row["measured"]["without"] for row in rows]),
                np.array([row["measured"]["upper"] for row in rows]),
            ),
        )
        assert len(rows) == entry["documents"]
        for part, other in ((entry, again), (entry["measured"], again["measured"])):
            for layer, expected in zip(part["layers"], other["layers"], strict=True):
                assert layer == pytest.approx(expected, rel=1e-4, abs=1e-4)
        # the curves of the trace itself, at the last layer, are another way to the same numbers
        for document in documents:
            for name, place in (("base", 0), ("full", -1)):
                total = sum(document["models"][name]["logprob"][-1])
                assert document["gradient"]["logprob"][place] == pytest.approx(total, abs=1e-4)
                upper = document["gradient"]["measured"]["upper"]
                assert upper[place] == pytest.approx(total, abs=1e-4)
        plots = tmp_path / "out/plots" / task
        assert {"gradient.png", "gradient.svg"} <= {path.name for path in plots.iterdir()}


def test_without_a_gradient_there_is_none(run: Run, tmp_path: Path) -> None:
    plain = run("tiny_words")
    assert "gradient" not in plain["tasks"]["tiny_words"]
    found = run("tiny_words", gradient=True, output=tmp_path / "with")["tasks"]["tiny_words"]
    assert found.pop("gradient")["measured"] is None
    assert found == plain["tasks"]["tiny_words"]
    assert not (tmp_path / "out/plots/tiny_words/gradient.png").exists()
    # the plot of an earlier trace does not stay
    signed = run("tiny_words", gradient=True)["signature"]
    assert "gradient computed" in signed and "gradient" not in plain["signature"]
    assert (tmp_path / "out/plots/tiny_words/gradient.png").exists()
    run("tiny_words", force=True)
    assert not (tmp_path / "out/plots/tiny_words/gradient.png").exists()


def test_errors_come_before_any_work(
    run: Run, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task_folder: Path
) -> None:
    with pytest.raises(LoraBoundaryError, match="measure=True; expected gradient=True as well"):
        run("tiny_words", measure=True)
    base, adapter = map(str, tiny(use_dora=True))
    arguments = [
        *("trace", "--pretrained", base, "--peft", adapter, "--tasks", "tiny_words"),
        *("--output", str(tmp_path / "out"), "--include-path", str(task_folder)),
        *("--device", "cpu", "--gradient"),
    ]
    done = command_line(*arguments)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.strip().splitlines()[-1:]
    assert "a gradient needs an adapter that can be scaled in every layer" in line


def test_the_command_prints_what_the_gradient_says(
    tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    base, adapter = map(str, tiny())
    done = command_line(
        *("trace", "--pretrained", base, "--peft", adapter, "--tasks", "tiny_words"),
        *("--output", str(tmp_path / "out"), "--include-path", str(task_folder)),
        *("--device", "cpu", "--dtype", "float32", "--limit", "4", "--gradient", "--measure"),
    )
    assert done.code == 0, done.err
    entry = json.loads((tmp_path / "out/trace.json").read_text())["tasks"]["tiny_words"]
    assert entry["gradient"]["documents"] == 4
    lines = [f"  {line}" for line in summary(entry["gradient"])]
    assert len(lines) == 3
    assert done.out.splitlines()[:4] == [f"tiny_words: {entry['verdict']}", *lines]
