"""The words of the page: headline, verdicts, commands, and what can be."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_sweeps import made_task, write_sweep

from lm_eval_lora_boundary.harness.key_values import read_key_values
from lm_eval_lora_boundary.report.command import DEFAULTS, WITHOUT_OPTION, sweep_command
from lm_eval_lora_boundary.report.conclusions import Answer
from lm_eval_lora_boundary.report.data import BASE, Confirmation, Row, SweepFound, TaskFound
from lm_eval_lora_boundary.report.formatting import clipped, limits, size, spread
from lm_eval_lora_boundary.report.headline import headline
from lm_eval_lora_boundary.report.next_steps import next_steps
from lm_eval_lora_boundary.report.read import read_sweep
from lm_eval_lora_boundary.report.verdicts import verdicts
from lm_eval_lora_boundary.sweeps.settings import SweepSettings

FULL = 5
KEEPS, BETTER = "keeps the gain", "better than the whole adapter"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SweepFound:
    folder = tmp_path_factory.mktemp("steps")
    task = made_task(folder, "words", documents=8, layers=FULL + 1)
    settings = {"pretrained": "p", "peft": "org/a b", "tasks": ["words"], "limit": 8}
    write_sweep(folder, {"words": task}, settings=settings, layers=FULL + 1)
    return replace(read_sweep(folder), folder="my sweep")


def changed(found: SweepFound, **more: Any) -> TaskFound:
    return replace(found.tasks[0], **more)


def answers(needed: int | None = None, *, helps: bool = True) -> tuple[Answer, ...]:
    return (
        Answer("adapter_helps", "?", "Yes.", helps),
        Answer("keeps_gain", "?", "No.", False, needed),
    )


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            {"choice": 2, "choice_basis": KEEPS},
            "Layers 0–2 keep what the adapter gained, with 3 of 6 layers.",
        ),
        (
            {"choice": 0, "choice_basis": BETTER},
            "Layer 0 scores better than the whole adapter, with 1 of 6 layers.",
        ),
        (
            {"choice": BASE, "choice_basis": "the adapter does harm"},
            "Use the base model alone: the adapter does harm.",
        ),
        (
            {"choice": FULL},
            "Keep the whole adapter: 8 documents cannot show that a cut is as good.",
        ),
        (
            {"choice": FULL, "answers": answers(5)},
            "Keep the whole adapter: no cut is shown to be as good on 8 documents.",
        ),
        (
            {"choice": FULL, "answers": answers(helps=False)},
            "Keep the whole adapter: 8 documents cannot even show that it helps.",
        ),
        ({"choice": FULL, "not_chosen": "all cuts score 0"}, "No verdict: all cuts score 0."),
        (
            {"choice": FULL, "answers": ()},
            "No verdict: another version wrote this sweep. Run it again to learn what it shows.",
        ),
    ],
)
def test_the_headline_is_a_plain_sentence(
    more: dict[str, Any], expected: str, found: SweepFound
) -> None:
    task = changed(found, **({"choice_basis": None, "answers": answers(100)} | more))
    assert headline(task, FULL) == expected
    assert next_steps(found, task, FULL)


def test_a_cut_is_exported_with_the_folder_as_it_was_given(found: SweepFound) -> None:
    task = changed(found, choice="0-1+3", choice_basis=KEEPS, answers=answers())
    (step,) = next_steps(found, task, FULL)
    assert step.command is not None
    line = " ".join(step.command)
    assert shlex.split(line)[1:] == ["export", "--from", "my sweep", "a b-0-1+3"]
    two = replace(found, tasks=(task, task))
    (step,) = next_steps(two, task, FULL)
    assert "--task words" in " ".join(step.command or ())


@pytest.mark.parametrize(("needed", "limit"), [(9, "9"), (123, "130"), (2345, "2400")])
def test_the_number_of_documents_that_would_settle_it(
    needed: int, limit: str, found: SweepFound
) -> None:
    task = changed(found, choice=FULL, choice_basis=None, answers=answers(needed))
    (step,) = next_steps(found, task, FULL)
    words = shlex.split(" ".join(step.command or ()))
    assert words[words.index("--limit") + 1] == limit
    assert words[-1] == f"my sweep-{limit}"
    assert f"{needed:,} documents" in step.text


# ---------------------------------------------------------------------------- commands


def test_every_setting_has_an_option_with_its_default() -> None:
    for field in fields(SweepSettings):
        if field.name in WITHOUT_OPTION:
            continue
        assert field.name in DEFAULTS, f"{field.name}: tell report/command.py about it"
    defaults = SweepSettings(pretrained="p", peft="a", tasks=("t",)).as_json()
    for name in DEFAULTS.keys() & defaults.keys() - {"pretrained", "peft", "tasks"}:
        assert DEFAULTS[name] == defaults[name], name


plain = st.dictionaries(
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
    st.integers() | st.from_regex(r"[a-zA-Z./\- ]{1,12}", fullmatch=True) | st.lists(st.text("ab")),
    max_size=3,
)


@given(plain)
def test_arguments_are_read_back_as_they_were(arguments: dict[str, Any]) -> None:
    command = sweep_command({"peft": "a", "tasks": ["t"], "gen_kwargs": arguments}, "out")
    assert command is not None
    words = shlex.split(" ".join(command))
    given_text = words[words.index("--gen-kwargs") + 1] if arguments else ""
    text_as = read_key_values(given_text, "--gen-kwargs")
    as_cli = read_key_values(",".join(f"{k}={v}" for k, v in arguments.items()), "")
    assert text_as in (arguments, as_cli)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"peft": "a", "tasks": ["t"], "fewshot_as_multiturn": True},
        {"peft": "a", "tasks": ["t"], "apply_chat_template": "name"},
        {"peft": "a", "tasks": ["t"], "of_another_version": 3},
        {"peft": "a\x1b[201~rm", "tasks": ["t"]},
    ],
)
def test_what_cannot_be_written_as_a_command_is_not(settings: dict[str, Any]) -> None:
    assert sweep_command(settings, "out") is None


# ---------------------------------------------------------------------------- what can be


@given(st.floats(-5, 5), st.floats(-5, 5), st.sampled_from(["exact_match,none", "my_score"]))
def test_intervals_end_where_values_end(low: float, high: float, metric: str) -> None:
    ends = limits(metric, [0.2, 0.9], 1.0)
    low, high = sorted((low, high))
    for possible in (ends, spread(ends)):
        assert possible is not None
        shown = clipped(low, high, possible)
        assert shown == (
            sorted((possible[0], low, possible[1]))[1],
            sorted((possible[0], high, possible[1]))[1],
        )


@pytest.mark.parametrize(
    ("metric", "values", "scale"),
    [
        ("length_ratio", [0.5, 0.9], 1.0),  # more is possible, whatever was seen
        ("word_perplexity", [0.9], 1.0),
        ("rougeL", [12.0, 40.0], 37.0),
        ("my_score", [0.1], 0.8),
        ("exact_match", [-0.5], 1.0),
        ("exact_match", [None], 1.0),
    ],
)
def test_where_the_range_is_not_known_nothing_is_clipped(
    metric: str, values: list[float | None], scale: float
) -> None:
    assert limits(metric, values, scale) is None
    assert clipped(-7.0, 9.0, spread(None)) == (-7.0, 9.0)


def test_sizes_share_their_unit() -> None:
    assert size(1_800_000, 2_400_000) == "1.8 of 2.4\u00a0MB"
    assert size(2_400_000, 2_400_000) == "2.4\u00a0MB"
    assert size(0, 900) == "0 of 900\u00a0bytes"


# ---------------------------------------------------------------------------- verdicts


def row(boundary: int, delta: float, p: float, **more: Any) -> Row:
    return Row(boundary, 0.5 + delta, delta_full=delta, p_value=p, p_simultaneous=p, **more)


def test_verdicts_are_what_the_tests_support(found: SweepFound) -> None:
    rows = (
        row(BASE, -0.4, 0.001),
        row(0, -0.3, 0.2),  # worse in the sequence from layer 0 up
        row(1, -0.2, 0.2),
        row(2, 0.2, 0.01),
        row(3, -0.01, 0.01),
        row(4, 0.0, 1.0),
        row(FULL, 0.0, 1.0),
    )
    task = changed(
        found, rows=rows, collapse=0, kept_here=(3, 4), noninferior=(3, 4), choice_basis=KEEPS
    )
    assert verdicts(task, rows, FULL) == {
        BASE: "worse",
        0: "worse",
        1: "not shown",
        2: "better",
        3: "keeps the gain",  # although it loses something for sure
        4: "keeps the gain",
    }
    lower = verdicts(replace(task, higher_is_better=False), rows, FULL)
    assert (lower[2], lower[BASE]) == ("worse", "better")
    assert verdicts(replace(task, not_chosen="why"), rows, FULL) == {}


def test_what_the_test_split_does_not_show_is_not_confirmed(found: SweepFound) -> None:
    rows = (row(BASE, -0.4, 0.001), row(3, 0.0, 1.0), row(4, 0.0, 1.0), row(FULL, 0.0, 1.0))
    task = changed(
        found,
        rows=rows,
        best=3,
        collapse=None,
        kept_here=(3, 4),
        noninferior=(4,),
        test=Confirmation("test", 9, (*rows,)),
    )
    assert verdicts(task, task.rows, FULL)[3] == "not confirmed"
    assert verdicts(task, task.rows, FULL)[4] == "keeps the gain"
