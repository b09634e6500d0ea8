"""What the page says where no cut was best, all tie, seeds disagree, or a trace names nothing."""

from __future__ import annotations

import json
import shutil

from made_up_records import LAYERS, write_records

from replication.cuts import NONE, WHOLE
from replication.page import QUESTIONS, write_page
from replication.plan import DATA
from replication.questions.choice import prediction
from replication.questions.claim import better_cut
from replication.questions.training import NO_GAIN, trained_below
from replication.readme import summary as readme_summary
from replication.study import Study
from replication.text import EQUAL, NO_CUT, NOT_SUPPORTED, OPEN, SUPPORTED


def change_choice(folder, data, change, seed=0):
    """Change the scores of a data set's first metric on the validation documents."""
    path = folder / data.name / f"seed={seed}/choose.json"
    content = json.loads(path.read_text("utf-8"))
    task = content["tasks"][data.task]
    cuts = task["metrics"][data.metrics[0]]["cuts"]
    task["decision"]["best_boundary"] = change(cuts)
    path.write_text(json.dumps(content), "utf-8")


def perfect(cuts):
    """Return scores that are right on every document."""
    return {"value": 1.0, "documents": [1.0] * len(cuts[WHOLE]["documents"])}


def whole_is_best(cuts):
    cuts[WHOLE] = perfect(cuts)
    return LAYERS - 1


def base_is_best(cuts):
    cuts[NONE] = perfect(cuts)
    return -1


def one_is_as_good_as_the_whole(cuts):
    cuts["0-1"] = cuts[WHOLE] = perfect(cuts)
    return 1


def all_are_equal(cuts):
    cuts.update(dict.fromkeys(cuts, cuts[WHOLE]))
    return -1


def test_where_no_cut_was_best_there_is_no_verdict_on_one(tmp_path):
    folder = tmp_path / "replication"
    write_records(folder, documents=20)
    hotpotqa, gsm8k, samsum, wmt23, json_data = DATA
    change_choice(folder, hotpotqa, whole_is_best)
    change_choice(folder, gsm8k, all_are_equal)
    change_choice(folder, samsum, base_is_best)
    change_choice(folder, json_data, one_is_as_good_as_the_whole)
    study = Study(folder)
    found = {question.__name__: question(study) for question in QUESTIONS}
    claim, predicted = (dict(found[name].outcomes) for name in ("better_cut", "prediction"))
    assert (claim["HotpotQA"], claim["GSM8K"], claim["JSON"]) == (NO_CUT, EQUAL, NO_CUT)
    assert {claim["SAMSum"], claim["WMT23"]} <= {SUPPORTED, NOT_SUPPORTED, OPEN}
    assert "The base model was best on the validation documents of SAMSum." in (
        found["better_cut"].verdict
    )
    assert "scored higher than the whole adapter on SAMSum (base model; " in found["luck"].verdict
    assert ", and none did on HotpotQA, GSM8K and JSON." in found["luck"].verdict
    assert predicted["GSM8K"] == EQUAL
    causes = dict(found["regularisation"].outcomes)
    assert causes["GSM8K", "dropout"] == causes["SAMSum", "epoch 1"] == NO_GAIN
    moves = next(row for row in found["stability"].rows if row[0] == "GSM8K")
    assert moves[1:3] == ["first metric", "all boundaries score the same"]
    assert "all boundaries score the same on GSM8K." in found["stability"].verdict
    # two thirds of six layers stand in for the best boundary
    rivals = [row[:3] for row in found["other_orders"].rows]
    names = ("lower, norm", "random:1", "random:2, random:3", "output")  # map: the boundaries
    assert [row for row in rivals if row[0] == "SAMSum"] == [
        ["SAMSum", "0–3", name] for name in names
    ]
    two_sizes = [row for row in rivals if row[0] == wmt23.title]
    assert [row[1] for row in two_sizes] == 3 * ["0–2"] + 4 * ["0–3"]
    text = readme_summary(study, "page.md", "pictures")
    assert "HotpotQA and JSON: none scored higher on validation documents" in text
    assert "GSM8K: all boundaries score the same" in text
    likelihood = "By log-likelihood, another boundary was best on the validation documents of "
    assert f"{likelihood}HotpotQA (0–3; +" in found["better_cut"].verdict
    path = folder / "samsum/seed=0/choose.json"
    content = json.loads(path.read_text("utf-8"))
    content["tasks"][samsum.gold_task]["decision"]["best_boundary"] = LAYERS - 1
    path.write_text(json.dumps(content), "utf-8")
    likelihood = better_cut(Study(folder)).verdict
    assert "the whole adapter was best on the validation documents of SAMSum, and ano" in likelihood


def test_seeds_that_disagree(tmp_path):
    folder = tmp_path / "replication"
    write_records(folder, seeds=(0, 1, 2), documents=20)
    hotpotqa, gsm8k = DATA[:2]
    change_choice(folder, hotpotqa, whole_is_best, seed=1)
    change_choice(folder, gsm8k, base_is_best, seed=1)
    (folder / "samsum/seed=2/test.json").unlink()
    path = folder / "wmt23/seed=1/trace.json"
    content = json.loads(path.read_text("utf-8"))
    content["tasks"][DATA[3].task]["candidate"] = None
    path.write_text(json.dumps(content), "utf-8")
    shutil.rmtree(folder / "json/seed=2")
    study = Study(folder)
    assert study.conditions() == (
        "the base model made-up and 2 training seeds (3 for HotpotQA, 3 for GSM8K, 3 for SAMSum "
        "and 3 for WMT23)"
    )
    found = {question.__name__: question(study) for question in QUESTIONS}
    claim = dict(found["better_cut"].outcomes)
    assert set(claim.values()) <= {SUPPORTED, NOT_SUPPORTED, OPEN}
    assert "base model was best" not in found["better_cut"].verdict
    assert found["better_cut"].rows[0][1] == "0–3, whole adapter"
    assert "not tested yet" not in found["luck"].verdict
    predicted = next(row for row in found["prediction"].rows if row[:2] == ["WMT23", "trace"])
    assert predicted[2] == "0–3, none for 1 of 3 seeds"
    write_page(study, tmp_path / "page.md")
    assert "nan" not in (tmp_path / "page.md").read_text()


def test_a_trace_without_a_candidate_is_shown(tmp_path):
    folder = tmp_path / "replication"
    write_records(folder, documents=20)
    path = folder / "wmt23/seed=0/trace.json"
    content = json.loads(path.read_text("utf-8"))
    content["tasks"][DATA[3].task]["candidate"] = None
    path.write_text(json.dumps(content), "utf-8")
    finding = prediction(Study(folder))
    assert dict(finding.outcomes)["WMT23"] == "the trace names no boundary"
    assert ["WMT23", "trace", "none named", "", "", ""] in finding.rows


def test_training_the_lower_layers_only_may_win(tmp_path):
    write_records(tmp_path, documents=20)
    cutting = "By log-likelihood, training everywhere and cutting is better on GSM8K and SAMSum."
    assert trained_below(Study(tmp_path)).remark == cutting
    path = tmp_path / "gsm8k/seed=0/lower-layers-test.json"
    content = json.loads(path.read_text("utf-8"))
    (gsm8k,) = (data for data in DATA if data.name == "gsm8k")
    metric = content["tasks"][gsm8k.gold_task]["metrics"]["loglikelihood,none"]
    for scored in metric["cuts"].values():
        scored["documents"] = [value + 10 for value in scored["documents"]]
    path.write_text(json.dumps(content), "utf-8")
    for step, score in (("test", 0.0), ("lower-layers-test", 1.0)):
        path = tmp_path / f"gsm8k/seed=0/{step}.json"
        content = json.loads(path.read_text("utf-8"))
        metric = content["tasks"][gsm8k.task]["metrics"][gsm8k.metrics[0]]
        for i, scored in enumerate(metric["cuts"].values()):
            scored["documents"] = [score] * 19 + [
                float(i % 2)
            ]  # without a spread there is no interval
        path.write_text(json.dumps(content), "utf-8")
    found = trained_below(Study(tmp_path))
    assert dict(found.outcomes)["GSM8K"] == NOT_SUPPORTED
    assert found.remark == (
        "By the first metric, training the lower layers only is better on GSM8K. "
        "By log-likelihood, training everywhere and cutting is better on SAMSum. "
        "By log-likelihood, training the lower layers only is better on GSM8K."
    )
