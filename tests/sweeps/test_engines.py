"""A sweep gives the same answers as separate runs at each boundary."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from model_helpers import requests
from sweep_helpers import Answering, answering, close, separately, undecided
from tiny_models import ARCHITECTURES, LAYERS, OTHERS, save_adapter, tiny_model, tiny_tokenizer

from lm_eval_lora_boundary.errors import LoraBoundaryError, ModelError
from lm_eval_lora_boundary.sweeps.store import AnswerStore
from lm_eval_lora_boundary.upstream.lm_eval import request

KINDS = ("generate_until", "loglikelihood", "loglikelihood_rolling")
EVERY = list(range(-1, LAYERS))
Tiny = Callable[..., tuple[Path, Path]]


def check(
    sweep: Answering,
    base: Path,
    adapter: Path,
    work: list[Instance],
    *,
    ties: bool = False,
    **settings: Any,
) -> None:
    """Check that answers equal those of separate runs; ``ties``: or that rounding decides."""
    for cut in sweep.names:
        ours = sweep.at(cut, work)
        theirs = separately(base, adapter, cut, work, **settings)
        assert len(ours) == len(theirs)
        for i, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
            same = close(mine, yours)
            if not same and ties and isinstance(mine, str):
                same = undecided(base, adapter, cut, work[i], (mine, yours), **settings)
            assert same, (cut, i, mine, yours)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_equal_those_of_separate_runs(
    architecture: str, kind: str, tiny: Tiny, store: AnswerStore
) -> None:
    config = {"target_parameters": None} if architecture == "mixtral" else {}
    base, adapter = tiny(architecture, **config)
    # transformers would load a different kind of tokenizer for some architectures
    same = {"tokenizer": tiny_tokenizer()}
    sweep = answering(base, adapter, store, cuts=EVERY, **same)
    # OPT has LoRA on its input projection as well, outside of the layers
    expected = "toggle" if architecture == "opt" else "fork"
    assert sweep.engines.name == expected
    check(sweep, base, adapter, requests(kind), **same)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("boundaries", [[1], [0, 2], [-1, 3], [2, 3]], ids=str)
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_any_boundaries_in_any_batch(
    rows: int, boundaries: list[int], kind: str, tiny: Tiny, store: AnswerStore
) -> None:
    base, adapter = tiny()
    sweep = answering(base, adapter, store, cuts=boundaries, rows=rows, engine="fork")
    check(sweep, base, adapter, requests(kind))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", OTHERS)
def test_any_cuts_of_other_architectures(architecture: str, tiny: Tiny, store: AnswerStore) -> None:
    base, adapter = tiny(architecture)
    cuts = [-1, LAYERS - 1, 1, "1-3", "2", "0+2-3", "all@0.7", "0-1@0.5+3", "0-1@0.5+2-3@-1"]
    same = {"tokenizer": tiny_tokenizer()}
    # so many rows that continuations of one context are read together
    sweep = answering(base, adapter, store, cuts=cuts, rows=90, engine="fork", **same)
    for kind in KINDS:
        check(sweep, base, adapter, requests(kind), ties=True, **same)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["fork", "toggle"])
def test_any_cuts_equal_separate_runs(
    engine: str, kind: str, tiny: Tiny, store: AnswerStore
) -> None:
    base, adapter = tiny(rank_pattern={"q_proj": 2}, alpha_pattern={"k_proj": 3})
    cuts = [-1, LAYERS - 1, 1, "1-3", "2", "0+2-3", "all@0.7", "0-1@0.5+3", "0-1@0.5+2-3@-1"]
    sweep = answering(base, adapter, store, cuts=cuts, rows=20, engine=engine)
    check(sweep, base, adapter, requests(kind))


def test_lora_on_flattened_rows_forks(tiny: Tiny, store: AnswerStore) -> None:
    """OPT's feed-forward sees the tokens of all rows in one dimension."""
    base, adapter = tiny("opt", target_modules=["q_proj", "fc1", "fc2"])
    same = {"tokenizer": tiny_tokenizer()}
    cuts = [*EVERY, "1-3", "all@0.5"]
    sweep = answering(base, adapter, store, cuts=cuts, engine="fork", **same)
    for kind in KINDS:
        check(sweep, base, adapter, requests(kind), ties=True, **same)


@pytest.mark.parametrize("kind", KINDS)
def test_toggle_gives_the_same(kind: str, tiny: Tiny, store: AnswerStore) -> None:
    base, adapter = tiny()
    sweep = answering(base, adapter, store, cuts=EVERY, engine="toggle")
    check(sweep, base, adapter, requests(kind))


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(
    "config",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "lora_only", "architecture": "phi"},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"trainable_token_indices": [5, 6]},
        {"init_lora_weights": "pissa"},
        {"kasa_config": {"beta": 1e-4, "gamma": 1e-3}},
    ],
    ids=str,
)
def test_adapters_that_cannot_fork_are_toggled(
    config: dict[str, Any], tiny: Tiny, store: AnswerStore
) -> None:
    base, adapter = tiny(**config)
    sweep = answering(base, adapter, store, cuts=EVERY)
    assert sweep.engines.name == "toggle"
    assert sweep.engines.reason
    check(sweep, base, adapter, requests("loglikelihood"))
    with pytest.raises(ModelError, match=r"engine=fork cannot be used: .*; use toggle or auto"):
        answering(base, adapter, store, cuts=EVERY, engine="fork")


def test_a_variant_that_computes_as_lora_forks(tiny: Tiny, store: AnswerStore) -> None:
    base, adapter = tiny(init_lora_weights="mica")
    sweep = answering(base, adapter, store, cuts=[*EVERY, "0+3@0.5"], engine="fork")
    check(sweep, base, adapter, requests("generate_until"))


def test_expert_adapters_fork(tiny: Tiny, store: AnswerStore) -> None:
    base, adapter = tiny("mixtral")
    sweep = answering(base, adapter, store, cuts=EVERY, engine="fork")
    check(sweep, base, adapter, requests("generate_until"))


def test_rank_and_alpha_patterns_and_rslora_fork(tiny: Tiny, store: AnswerStore) -> None:
    base, adapter = tiny(rank_pattern={"q_proj": 2}, alpha_pattern={"k_proj": 3}, use_rslora=True)
    sweep = answering(base, adapter, store, cuts=EVERY, engine="fork")
    check(sweep, base, adapter, requests("generate_until"))


def generations(arguments: dict[str, Any], count: int = 3) -> list[Instance]:
    text = "w5 w6 w7 w8 w9 w10 w11 w12"
    return [
        request("generate_until", (f"{text} w{i} w{2 * i}", arguments), i) for i in range(count)
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"repetition_penalty": 1.5},
        {"num_beams": 2},
        {"no_repeat_ngram_size": 2},
        {"min_new_tokens": 5},
    ],
    ids=str,
)
def test_anything_but_greedy_decoding_is_toggled(
    arguments: dict[str, Any], tiny: Tiny, store: AnswerStore
) -> None:
    base, adapter = tiny()
    work = generations({"until": [], "max_gen_toks": 8} | arguments)
    sweep = answering(base, adapter, store, cuts=EVERY)
    assert sweep.engines.name == "fork"
    check(sweep, base, adapter, work, batch_size=len(work))
    refusing = answering(base, adapter, store, cuts=EVERY, engine="fork")
    with pytest.raises(ModelError, match=f"engine=fork cannot be used: .*{next(iter(arguments))}"):
        refusing.at(0, work)


def test_penalties_in_the_models_own_config_are_toggled(
    tiny: Tiny, store: AnswerStore, tmp_path: Path
) -> None:
    base, adapter = tiny()
    sweep = answering(base, adapter, store, cuts=EVERY)
    sweep.lm.model.generation_config.repetition_penalty = 1.3
    (work,) = generations({"until": [], "max_gen_toks": 8}, 1)
    assert sweep.engines.engine(sweep.lm._as_prompt(*work.args)).name == "toggle"


def test_sampling_is_repeatable_and_repeats_differ(
    tiny: Tiny, store: AnswerStore, tmp_path: Path
) -> None:
    base, adapter = tiny()
    sampled = {"until": [], "max_gen_toks": 12, "do_sample": True, "temperature": 2.0}
    work = generations(sampled, 1) * 4
    sweep = answering(base, adapter, store, cuts=EVERY)
    answers = sweep.at(LAYERS - 1, work)
    assert len(set(answers)) == 4
    with closing(AnswerStore(tmp_path / "other")) as other:
        again = answering(base, adapter, other, cuts=EVERY)
        assert again.at(LAYERS - 1, work) == answers


def test_shared_prompts_and_long_ones(tiny: Tiny, store: AnswerStore) -> None:
    """Some prompts share their beginning, are equal, or are cut from the left."""
    base, adapter = tiny()
    words = [f"w{i % 60}" for i in range(200)]
    arguments = {"until": ["w3 w4"], "max_gen_toks": 9}
    texts = [" ".join(words[:n]) for n in (20, 20, 31, 24, 200, 150)]
    work = [request("generate_until", (text, arguments), i) for i, text in enumerate(texts)]
    sweep = answering(base, adapter, store, cuts=EVERY, engine="fork")
    check(sweep, base, adapter, work)
    check(sweep, base, adapter, work[:4])


@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "qwen2"])
def test_sliding_windows(architecture: str, store: AnswerStore, tmp_path: Path) -> None:
    extra: dict[str, Any] = {"sliding_window": 6}
    if architecture == "qwen2":
        extra |= {"use_sliding_window": True, "max_window_layers": 1}
    model = tiny_model(architecture, **extra)
    model.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", model)
    same = {"tokenizer": tiny_tokenizer()}
    sweep = answering(tmp_path / "base", adapter, store, cuts=EVERY, engine="fork", **same)
    # equal lengths, because padding changes transformers' own window from batch to batch
    arguments = {"until": [], "max_gen_toks": 12}
    work = [
        request("generate_until", (" ".join(f"w{(i + j) % 50}" for j in range(9)), arguments), i)
        for i in range(4)
    ]
    check(sweep, tmp_path / "base", adapter, work, **same)


def test_bfloat16_differs_in_few_answers(tiny: Tiny, store: AnswerStore) -> None:
    base, adapter = tiny()
    sweep = answering(base, adapter, store, cuts=EVERY, dtype="bfloat16")
    work = requests("loglikelihood")
    for boundary in EVERY:
        for (ours, _), (theirs, _) in zip(
            sweep.at(boundary, work),
            separately(base, adapter, boundary, work, dtype="bfloat16"),
            strict=True,
        ):
            # 8 bits of mantissa through four layers
            assert ours == pytest.approx(theirs, rel=0.1)


def test_out_of_memory_halves_the_batch(
    tiny: Tiny, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = tiny()
    sweep = answering(base, adapter, store, cuts=EVERY, rows=20, engine="fork")
    engine = sweep.engines._fork
    prepare = engine.prepare
    sizes = []

    def limited(requests: list[Any], cuts: list[Any]) -> Any:
        answer = prepare(requests, cuts)

        def answered(batch: list[Any]) -> Any:
            sizes.append(len(batch) * len(cuts))
            if sizes[-1] > 3:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
            return answer(batch)

        return answered

    monkeypatch.setattr(engine, "prepare", limited)
    check(sweep, base, adapter, requests("generate_until"))
    assert sizes[:4] == [20, 10, 5, 2]
    assert max(sizes[4:]) == 2


def test_errors_other_than_memory_are_not_hidden(
    tiny: Tiny, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = tiny()
    sweep = answering(base, adapter, store, cuts=EVERY, engine="fork")

    def broken(batch: list[Any]) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(sweep.engines._fork, "prepare", lambda *_: broken)
    with pytest.raises(RuntimeError, match="a bug"):
        sweep.at(0, requests("loglikelihood"))


def test_an_unknown_engine_is_refused(tiny: Tiny, store: AnswerStore) -> None:
    with pytest.raises(LoraBoundaryError, match="engine='spoon'; expected one of auto, fork"):
        answering(*tiny(), store, cuts=EVERY, engine="spoon")
