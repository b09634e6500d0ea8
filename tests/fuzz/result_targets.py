"""What reads results: of lm-eval, of sweeps, of traces, of training runs, and stored answers."""

from __future__ import annotations

import io
import json
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import hostile
from compare_helpers import answers, scores, sweep_folder, write
from made_families import add_families
from made_sweeps import SIGNATURE, made_task, made_trace, write_sweep
from rich.console import Console
from spoilt_inputs import CONTROL, Fault, Target

from lm_eval_lora_boundary.compare import Comparison, compare
from lm_eval_lora_boundary.compare.terminal import parts
from lm_eval_lora_boundary.cuts.keep import Cut, parse_keep
from lm_eval_lora_boundary.errors import LoraBoundaryError
from lm_eval_lora_boundary.exports.from_sweep import Sweep
from lm_eval_lora_boundary.harness.run_folder import refuse_other_sweep, refuse_other_trace
from lm_eval_lora_boundary.report.page import Section, render
from lm_eval_lora_boundary.report.write import read_report, write_report
from lm_eval_lora_boundary.sweeps.resolution import seen_so_far
from lm_eval_lora_boundary.sweeps.settings import SweepSettings
from lm_eval_lora_boundary.sweeps.store import AnswerStore
from lm_eval_lora_boundary.traces.settings import TraceSettings
from lm_eval_lora_boundary.train.run_folder import RunFolder

_RARELY = 0.03
_LAYERS = 2
_CUTS = [Cut.up_to(boundary, _LAYERS) for boundary in range(-1, _LAYERS)]
_NAMED: Any = {"pretrained": "some/model", "peft": "some/adapter", "tasks": ("words",)}
_KEYS = [bytes([number]) * 32 for number in range(4)]


def spoil(source: random.Random | None, files: Sequence[Path]) -> None:
    """Spoil one of some files: JSON, or samples with a JSON object on each line."""
    if source is None:
        return
    path = source.choice(files)
    if source.random() < _RARELY:
        hostile.no_file(source, path)
        return
    if path.suffix != ".jsonl":
        found = hostile.changed(source, json.loads(path.read_text()))
        hostile.write(path, hostile.json_bytes(source, found))
        return
    lines = path.read_bytes().splitlines()
    for number in source.sample(range(len(lines)), source.choice((1, 1, 3))):
        found = hostile.changed(source, json.loads(lines[number]))
        lines[number] = hostile.json_bytes(source, found)
    if source.random() < 0.1:
        lines = [hostile.damaged(source, line) for line in lines]
    hostile.write(path, b"\n".join(lines) + b"\n")


def shown(text: str) -> None:
    """See that a text has nothing that a terminal obeys."""
    if found := CONTROL.search(text.replace("\n", "")):
        raise Fault(f"shows {found[0]!r} of {text[max(0, found.start() - 40) :][:90]!r}")


def printed(renderables: Any) -> None:
    console = Console(file=io.StringIO(), width=200, markup=False, emoji=False)
    for each in renderables:
        console.print(each)
    shown(console.file.getvalue())  # type: ignore[attr-defined]


def all_forms(comparison: Comparison) -> None:
    shown(comparison.to_markdown())
    printed(parts(comparison))
    page = comparison.to_html()
    inert_page(page)
    page.encode()


def two_models(folder: Path) -> None:
    tasks = {"first": {"acc,none": answers(8, 1, 0.5)}, "second": {"f1,none": scores(8, 2)}}
    for name in ("ours", "theirs"):
        write(folder, tasks, args={"pretrained": name}, groups={"group": {"acc,none": 0.5}})


def spoil_results(source: random.Random | None, folder: Path) -> None:
    spoil(source, sorted(folder.rglob("results_*.json")))
    all_forms(compare([folder / "ours", folder / "theirs"], baseline=folder / "ours"))


def spoil_samples(source: random.Random | None, folder: Path) -> None:
    spoil(source, sorted(folder.rglob("samples_*.jsonl")))
    all_forms(compare([folder / "ours", folder / "theirs"], baseline=folder / "theirs"))


def two_sweeps(folder: Path) -> None:
    for seed in range(2):
        sweep_folder(
            folder / f"sweep-{seed}", {"task": seed}, layers=_LAYERS, documents=8, seed=seed
        )


def spoil_sweeps(source: random.Random | None, folder: Path) -> None:
    sweeps = sorted(folder.glob("sweep-*"))
    spoil(source, sorted(folder.rglob("*.json")))
    all_forms(compare([sweeps[0]]))
    all_forms(compare(sweeps))


def report(folder: Path) -> None:
    task = made_task(folder, "words", documents=5, layers=_LAYERS)
    # in every family there is, but with few cuts
    task = add_families(task, _LAYERS, documents=20)
    write_sweep(folder, {"words": task}, layers=_LAYERS)
    trace = {"signature": SIGNATURE, "tasks": {"words": made_trace(_LAYERS)}}
    (folder / "trace.json").write_text(json.dumps(trace))


def spoil_report(source: random.Random | None, folder: Path) -> None:
    """Read all, and make the page without plots, which take most of the time."""
    spoil_sweep(source, folder)
    found = read_report(folder)
    sections = [
        Section(task, found.full, (), sets)
        for task, sets in zip(found.sweep.tasks, found.documents, strict=True)
    ]
    inert_page(render(found.sweep, sections))


def spoil_plots(source: random.Random | None, folder: Path) -> None:
    spoil_sweep(source, folder)
    outside = sorted(path.name for path in folder.parent.iterdir())
    inert_page(write_report(folder).read_text(encoding="utf-8"))
    if outside != sorted(path.name for path in folder.parent.iterdir()):
        raise Fault("wrote outside the folder")


def spoil_sweep(source: random.Random | None, folder: Path) -> None:
    files = [folder / "sweep.json"] * 6 + [folder / "trace.json"] * 2
    spoil(source, [*files, *folder.rglob("results_*.json"), *folder.rglob("samples_*.jsonl")])
    seen_so_far(folder, "words")


def inert_page(page: str) -> None:
    if "<script>alert" in page or "<img src=x" in page:
        raise Fault("the page holds markup of a file")


def training(folder: Path) -> None:
    record = {"settings": {"rank": 8}, "base": {"name": "x"}, "rows": {"n": 1}, "finished": False}
    (folder / "training.json").write_text(json.dumps({**record, "adapter_sha256": "0"}))


def spoil_training(source: random.Random | None, folder: Path) -> None:
    spoil(source, [folder / "training.json"])
    run = RunFolder(folder, {"rank": 8})
    if not run.finished:
        with closing(run):
            run.begin({"settings": {"rank": 8}, "base": {"name": "x"}, "rows": {"n": 1}})


def answered(folder: Path) -> None:
    with closing(AnswerStore(folder)) as store:
        store.put(_CUTS, [(key, ["text"] * 3) for key in _KEYS[:2]])
        store.put(_CUTS, [(_KEYS[2], [(-1.5, True)] * 3)])
        store.note("name", "value")


FOREIGN = [
    "DROP TABLE notes; CREATE TABLE notes (a)",
    "DROP TABLE answers_by_cut; CREATE TABLE answers_by_cut (request, cut, response)",
    "DROP TABLE answers_by_cut; CREATE VIEW answers_by_cut AS WITH RECURSIVE n(x) AS (SELECT 1 "
    "UNION ALL SELECT x + 1 FROM n) SELECT x'00' request, '0' cut, 'x' response, 1 loglikelihood, "
    "1 is_greedy FROM n",
    "CREATE TRIGGER t AFTER INSERT ON answers_by_cut BEGIN INSERT INTO notes WITH RECURSIVE n(x) "
    "AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x, x FROM n; END",
    "UPDATE answers_by_cut SET response = x'ff00'",
    "UPDATE answers_by_cut SET response = 5",
    "UPDATE answers_by_cut SET response = CAST(x'ff' AS TEXT)",
    "UPDATE answers_by_cut SET response = NULL, loglikelihood = 'text', is_greedy = 'text'",
    "UPDATE answers_by_cut SET response = NULL, loglikelihood = x'00'",
    "UPDATE answers_by_cut SET cut = cut || x'00ff'",
    "UPDATE notes SET value = x'ff'",
    "PRAGMA user_version = 77; PRAGMA application_id = 5",
    "DROP TABLE notes; CREATE TABLE unrelated (x)",
]


def spoil_store(source: random.Random | None, folder: Path) -> None:
    path = folder / "answers.sqlite"
    if source is not None:
        if source.random() < _RARELY:
            hostile.no_file(source, source.choice([path, folder / ".lock"]))
        elif source.random() < 0.4:
            with closing(sqlite3.connect(path)) as connection:
                connection.executescript(source.choice(FOREIGN))
        else:
            for name in folder.glob("answers.sqlite-*"):
                name.unlink()
            hostile.write(path, hostile.damaged(source, path.read_bytes()))
    with closing(AnswerStore(folder)) as store:
        for cut in _CUTS:
            for found in store.get(_KEYS, cut).values():
                if not isinstance(found, str):
                    value, greedy = found
                    assert isinstance(value, float) and isinstance(greedy, bool)
        for cuts in store.cuts(_KEYS).values():
            assert all(isinstance(cut, str) for cut in cuts)
        store.note("name", "other")
        store.put(_CUTS, [(_KEYS[3], ["new"] * 3)])


def to_export(folder: Path) -> None:
    """Write a sweep that an export takes its cut from, with a trace and a trial of its speed."""
    task = add_families(
        made_task(folder, "words", documents=5, layers=_LAYERS), _LAYERS, documents=20
    )
    settings = SweepSettings(**_NAMED)
    hashes = ("base_sha256", "adapter_sha256", "adapter_config_sha256", "base_weights_sample")
    write_sweep(
        folder,
        {"words": task | {"choice": 0}},
        layers=_LAYERS,
        settings=settings.as_json(),
        **dict.fromkeys(hashes, "0" * 64),
    )
    trace = {"settings": TraceSettings(**_NAMED).as_json()}
    (folder / "trace.json").write_text(json.dumps(trace))
    said = [{"cut": 0, "kind": "writing", "text": "It is quick."}]
    speed = {"adapter_sha256": "0" * 64, "sentences": said}
    (folder / "speed.json").write_text(json.dumps(speed))


def spoil_to_export(source: random.Random | None, folder: Path) -> None:
    """Read what an export takes from a sweep, and ask whether another one may use the folder."""
    files = [folder / name for name in ("sweep.json", "sweep.json", "speed.json", "trace.json")]
    spoil(source, files)
    settings = SweepSettings(**_NAMED).as_json()
    with suppress(LoraBoundaryError):
        refuse_other_sweep(folder, settings)
    with suppress(LoraBoundaryError):
        refuse_other_trace(folder, settings)
    sweep = Sweep.read(folder)
    sweep.named(None, None, {})
    cut = parse_keep(sweep.choice(None), sweep.content["layers"])
    assert all(isinstance(score.value, float) for score in sweep.scores(cut, None))
    assert all(isinstance(line, str) for line in sweep.speed(cut))


TARGETS: dict[str, Target] = {
    "results": Target(two_models, spoil_results),
    "samples": Target(two_models, spoil_samples),
    "sweeps": Target(two_sweeps, spoil_sweeps),
    "report": Target(report, spoil_report),
    "plots": Target(report, spoil_plots),
    "training": Target(training, spoil_training),
    "store": Target(answered, spoil_store),
    "to export": Target(to_export, spoil_to_export),
}
