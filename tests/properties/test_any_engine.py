"""The shared forward, one cut after another, and separate runs answer alike, for any adapter."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from model_helpers import requests
from random_adapters import SHARED, Several, few, many
from sweep_helpers import answering, close, separately

from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.sweeps.store import AnswerStore

pytestmark = pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")


def engines_answer_alike(drawn: Several) -> None:
    case, others = drawn
    cuts = {Cut(strengths).name: strengths for strengths in (case.cut, *others)}
    names = list(cuts)
    # a run by itself refuses a cut that keeps nothing but is not called the base model
    by_itself = [name if case.keeps_modules(cuts[name]) else -1 for name in names]
    with tempfile.TemporaryDirectory() as folder:
        base, adapter = case.save(Path(folder))
        sweeps = []
        for engine in ("fork", "toggle"):
            with closing(AnswerStore(Path(folder) / f"{engine}.sqlite")) as store:
                sweep = answering(base, adapter, store, cuts=names, rows=9, engine=engine)
                assert sweep.engines.name == engine
                work = [requests(kind) for kind in ("loglikelihood", "generate_until")]
                sweeps.append([sweep.at(name, kind) for name in names for kind in work])
        alone = [separately(base, adapter, name, kind) for name in by_itself for kind in work]
    for fork, toggle, separate in zip(*sweeps, alone, strict=True):
        for ours, theirs, expected in zip(fork, toggle, separate, strict=True):
            assert close(ours, expected) and close(theirs, expected)


test_engines_answer_alike = few(SHARED, examples=3)(engines_answer_alike)
test_engines_answer_alike_often = many(SHARED, examples=40)(engines_answer_alike)
