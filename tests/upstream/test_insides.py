"""What ``upstream`` finds, in the installed releases and in stand-ins for other ones."""

from __future__ import annotations

import inspect
import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import peft
import pytest
import torch
import transformers
from lm_eval import evaluator_utils
from lm_eval.api import metrics, registry, task
from torch import nn

from lm_eval_lora_boundary.upstream import lm_eval as upstream
from lm_eval_lora_boundary.upstream.peft import (
    BaseTunerLayer,
    LoraLayer,
    ModulesToSaveWrapper,
    TrainableTokensWrapper,
)
from lm_eval_lora_boundary.upstream.transformers import cache_name

TEXTS = ["", "a", "a ", " a", "\na", "a\n"]


@pytest.fixture(params=["installed", "0.4", "0.5"])
def release(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The installed lm-eval, and the places of another release, with its functions in them."""
    if request.param == "installed":
        return "installed"
    old = request.param == "0.4"
    private = getattr(evaluator_utils, "_get_sample_size", None)
    count = private or evaluator_utils.get_sample_size
    for name in ("get_sample_size", "_get_sample_size"):
        monkeypatch.delattr(evaluator_utils, name, raising=False)
    monkeypatch.setattr(
        evaluator_utils, "get_sample_size" if old else "_get_sample_size", count, raising=False
    )
    there, gone = ("utils", "_utils") if old else ("_utils", "utils")
    stand_in: Any = ModuleType(f"lm_eval.api.{there}")
    stand_in.maybe_delimit = upstream.maybe_delimit
    monkeypatch.setitem(sys.modules, f"lm_eval.api.{there}", stand_in)
    monkeypatch.setitem(sys.modules, f"lm_eval.api.{gone}", None)  # type: ignore[arg-type]
    # in 0.4, a class for tasks in YAML; in 0.5, one for each kind of task
    configured = type("ConfigurableTask", (task.Task,), {}) if old else task.Task
    monkeypatch.setattr(task, "ConfigurableTask", configured)
    monkeypatch.delattr(task, "LoglikelihoodRollingTask", raising=False)
    if not old:
        monkeypatch.setattr(task, "LoglikelihoodRollingTask", object, raising=False)
    own = {"acc": metrics.mean}
    if old:
        monkeypatch.setattr(registry, "METRIC_AGGREGATION_REGISTRY", own, raising=False)
    else:
        monkeypatch.delattr(registry, "METRIC_AGGREGATION_REGISTRY", raising=False)
        known = {name: SimpleNamespace(aggregation=function) for name, function in own.items()}
        monkeypatch.setattr(registry, "metric_registry", known)
    return str(request.param)


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("limit", [None, 1, 7, 0.01, 0.25, 0.999])
def test_the_limit_is_a_number_or_a_share_rounded_up(limit: float | None) -> None:
    task = SimpleNamespace(eval_docs=range(10))
    expected = None if limit is None else math.ceil(10 * limit) if limit < 1 else limit
    assert upstream.sample_size(task, limit) == expected


def test_texts_are_joined_by_one_space_at_most(release: str) -> None:
    if release != "installed":
        module = "utils" if release == "0.4" else "_utils"
        sys.modules[f"lm_eval.api.{module}"].maybe_delimit = lambda *texts: release + "".join(texts)  # type: ignore[attr-defined]
        assert upstream.maybe_delimit("a", "b") == f"{release}ab"
        return
    for prefix in TEXTS:
        for suffix in TEXTS:
            joint = prefix[-1:].isspace() or suffix[:1].isspace() or not prefix or not suffix
            assert upstream.maybe_delimit(prefix, suffix) == prefix + " " * (not joint) + suffix


def is_old(release: str) -> bool:
    return release == "0.4" or (release == "installed" and task.ConfigurableTask is not task.Task)


@pytest.mark.parametrize("prompts", [False, True])
def test_the_right_choice_is_a_continuation_or_a_prompt(release: str, prompts: bool) -> None:
    old = is_old(release)
    chooses = mock.Mock(spec=task.ConfigurableTask)
    chooses.multiple_input = chooses._multiple_inputs = int(prompts)
    chooses.doc_to_choice = lambda _: ["x", "y"]
    chooses.doc_to_text = lambda _: 1 if old else ["one", "two"]
    chooses.doc_to_target = lambda _: "end" if old and prompts else 1
    choices = ["one", "two"] if prompts and not old else ["x", "y"]
    assert upstream.named_choice(chooses, {}) == (1, choices)


@pytest.mark.usefixtures("release")
def test_a_task_in_python_names_no_choices() -> None:
    in_python = mock.Mock(spec=task.Task)
    in_python._multiple_inputs = False
    in_python.doc_to_target = lambda _: " y"
    in_python.doc_to_choice = lambda _: None
    assert upstream.named_choice(in_python, {}) == (" y", None)


def test_the_text_of_a_rolling_request(release: str) -> None:
    made = upstream.request("loglikelihood_rolling", ("a text",), 3)
    assert upstream.rolling_text(made) == "a text"
    assert made.args == (("a text",) if is_old(release) else ("", "a text"))
    assert upstream.request("loglikelihood", ("a", "b"), 3).args == ("a", "b")


def test_what_matches_nothing_is_unknown() -> None:
    known = ["one", "other", "group"]
    given = {"o*": ["one", "other"], "group::inner": ["group::inner"], "one@short": ["one@short"]}
    manager = SimpleNamespace(
        all_tasks=known, match_tasks=lambda patterns: given.get(patterns[0], patterns)
    )
    for pattern, found in given.items():
        assert upstream.matching_tasks(manager, pattern) == found
    assert upstream.matching_tasks(manager, "onne") == []
    manager.match_tasks = lambda _: []  # 0.4
    assert upstream.matching_tasks(manager, "onne") == []


@pytest.mark.parametrize(
    ("attributes", "runs"),
    [
        ({"UNSAFE_CODE": True}, True),
        ({"config": SimpleNamespace(unsafe_code=True)}, True),
        ({"config": SimpleNamespace(unsafe_code=False)}, False),
        ({}, False),
    ],
)
def test_tasks_that_run_code_say_so(attributes: dict[str, Any], runs: bool) -> None:
    assert upstream.runs_code(SimpleNamespace(**attributes)) == runs


def test_the_beginning_of_a_response_is_found() -> None:
    old = SimpleNamespace(doc_to_prefix=lambda doc: doc["x"], fewshot_cfg="examples")
    new = SimpleNamespace(
        _resolve_field=lambda doc, field: field and doc[field],
        config=SimpleNamespace(gen_prefix="x"),
        _fewshot_cfg="examples",
    )
    for each in (old, new):
        assert upstream.response_prefix(each, {"x": "It"}) == "It"
        assert upstream.example_format(each) == "examples"


@pytest.mark.usefixtures("release")
def test_aggregations_are_found_by_name_and_by_metric(caplog: pytest.LogCaptureFixture) -> None:
    for function in (upstream.own_aggregation("acc", None), upstream.own_aggregation("?", "mean")):
        assert upstream.is_lm_eval_mean(function)
    assert upstream.own_aggregation("?", None) is None
    assert upstream.own_aggregation("acc", "def mean(items): ...") is None
    assert not upstream.is_lm_eval_mean(None) and not caplog.records


def test_a_request_is_one_that_a_task_could_have_built() -> None:
    made = upstream.request("loglikelihood", ("a", " b"), 3)
    assert (made.request_type, made.args) == ("loglikelihood", ("a", " b"))
    assert (made.idx, made.doc_id, made.repeats, made.resps) == (3, 3, 1, [])


@pytest.mark.parametrize("name", ["_filters", "scorers"])
def test_filters_have_names(name: str) -> None:
    task = SimpleNamespace(**{name: [SimpleNamespace(name="strict"), SimpleNamespace(name="none")]})
    assert upstream.filter_names(task) == ["strict", "none"]


def test_a_metric_of_a_tasks_own_is_named_or_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def f1() -> None: ...

    def mine() -> None: ...

    def exact_match() -> None: ...

    known = {
        "f1": SimpleNamespace(output_type={"multiple_choice"}),
        "exact_match": SimpleNamespace(output_type={"generate_until"}),
    }
    monkeypatch.setattr(registry, "metric_registry", known, raising=False)
    assert upstream.computed_metric(f1) is f1
    assert upstream.computed_metric(mine) == "mine"
    assert upstream.computed_metric(exact_match) == "exact_match"
    monkeypatch.setattr(registry, "metric_registry", {"f1": f1})  # 0.4
    assert upstream.computed_metric(f1) == "f1"
    monkeypatch.delattr(registry, "metric_registry")
    assert upstream.computed_metric(f1) == "f1"


def test_a_direction_is_unknown_if_the_task_says_null() -> None:
    def f1() -> None: ...

    listed = [
        {"metric": f1, "higher_is_better": None},
        {"metric": "ratio", "higher_is_better": None},
        {"metric": "loss", "higher_is_better": False},
        {"metric": "acc"},
    ]
    known = {"f1": True, "ratio": True, "loss": False, "acc": True}
    stated = SimpleNamespace(
        higher_is_better=lambda: known, config=SimpleNamespace(metric_list=listed)
    )
    expected = {"f1": None, "ratio": None, "loss": False, "acc": True}
    assert upstream.directions(stated) == expected
    for config in (None, SimpleNamespace(), SimpleNamespace(metric_list=None)):
        unstated = SimpleNamespace(higher_is_better=lambda: known, config=config)
        assert upstream.directions(unstated) == known


def test_a_filter_gives_back_what_the_installed_lm_eval_takes() -> None:
    found = upstream.filtered(["a", "bc"])
    assert found == (["a", "bc"] if is_old("installed") else [["a"], ["bc"]])


def test_a_task_of_a_group_has_two_names() -> None:
    assert upstream.full_name(SimpleNamespace(task_name="t")) == "t"
    assert upstream.full_name(SimpleNamespace(task_name="t", _qualified_name="g::t")) == "g::t"


@pytest.mark.parametrize(
    ("splits", "read"), [((), False), (("test",), True), (("validation",), True)]
)
def test_documents_are_read_when_tasks_are_loaded(splits: tuple[str, ...], read: bool) -> None:
    task = mock.MagicMock(spec=["has_test_docs", "has_validation_docs"])
    task.has_test_docs.return_value = "test" in splits
    task.has_validation_docs.return_value = "validation" in splits
    docs = mock.PropertyMock(return_value=[])
    type(task).eval_docs = docs
    upstream.load_data([task])
    assert docs.called == read
    docs.reset_mock()
    task.task_docs = []  # 0.4 has read them
    upstream.load_data([task])
    assert not docs.called


def test_exact_match_is_one_or_zero() -> None:
    assert upstream.exact_match("The 5.", "the 5.", ignore_case=True) == 1
    assert upstream.exact_match("The 5.", "the 5.", ignore_case=False) == 0
    assert upstream.exact_match("#### 5", "5", regexes_to_ignore=["#### "]) == 1


def test_the_cache_of_a_decoder_is_found() -> None:
    arguments = inspect.signature(transformers.LlamaModel.forward).parameters
    assert cache_name(arguments) in arguments
    assert cache_name(["input_ids"]) is None


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.tokens = nn.Embedding(4, 3), nn.Embedding(4, 3)
        self.linear, self.whole = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.linear(self.embedding(ids) + self.tokens(ids))
        return states + self.whole(states)


def test_the_modules_of_peft_have_the_attributes_that_we_use() -> None:
    config = peft.LoraConfig(
        r=2,
        target_modules=["embedding", "linear"],
        modules_to_save=["whole"],
        trainable_token_indices={"tokens": [1]},
    )
    model: Any = peft.PeftModel(_Model(), config).base_model.model
    for layer in (model.linear, model.embedding):
        assert isinstance(layer, LoraLayer) and isinstance(layer, BaseTunerLayer)
        assert isinstance(layer.get_base_layer(), (nn.Linear, nn.Embedding))
        assert layer.base_layer is layer.get_base_layer()
        assert layer.active_adapters == ["default"] and layer.scaling == {"default": 4.0}
        assert not layer.lora_variant and not layer.lora_magnitude_vector
    assert [
        model.linear.lora_A["default"].weight.shape[0],
        model.linear.lora_B["default"].bias,
    ] == [
        2,
        None,
    ]
    rows = [model.embedding.lora_embedding_A, model.embedding.lora_embedding_B]
    assert [tuple(each["default"].shape) for each in rows] == [(2, 4), (3, 2)]
    assert isinstance(model.whole, ModulesToSaveWrapper)
    assert isinstance(model.whole.original_module, nn.Linear)
    assert isinstance(model.tokens, TrainableTokensWrapper)
    assert model.tokens.token_adapter.token_indices == {"default": [1]}
