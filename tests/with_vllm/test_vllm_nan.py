"""vLLM writes on after NaN; a sweep in it ends with the name of the document instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

SMALL = "enforce_eager=True,max_model_len=100"
BAD = "w0"  # in some prompts of the tasks
TASKS = ("tiny_words", "tiny_choices")

ALONE = """
import sys
from vllm import LLM, SamplingParams
base, bad = sys.argv[1], int(sys.argv[2])
llm = LLM(model=base, enforce_eager=True, dtype="float32", max_model_len=64)
parameters = SamplingParams(temperature=0, max_tokens=3, logprobs=0, ignore_eos=True)
prompts = [{"prompt_token_ids": [9, last, 7]} for last in (11, bad)]
for found in llm.generate(prompts, parameters, use_tqdm=False):
    written = found.outputs[0]
    rows = zip(written.token_ids, written.logprobs, strict=True)
    print("FOUND", *[str(len(row)) + ":" + str(row[token].logprob) for token, row in rows])
"""


@pytest.fixture(scope="module")
def broken(models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a base model that cannot read one token, an adapter, and the token."""
    base, adapter = models
    folder = tmp_path_factory.mktemp("broken")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    number = tokenizer.convert_tokens_to_ids(BAD)
    # its own weight: the head is tied to it
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    model.config.tie_word_embeddings = False
    with torch.no_grad():
        model.get_input_embeddings().weight[number] = torch.nan
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, adapter, number


def test_vllm_says_nothing_and_the_log_probabilities_tell(run: Any, broken: Any) -> None:
    base, _, number = broken
    done = run("-c", ALONE, str(base), str(number))
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    sound, wrong = (line.split()[1:] for line in lines)
    # of no other tokens than the chosen ones
    assert len(sound) == len(wrong) == 3
    assert all(each.startswith("1:-") for each in sound)
    assert wrong == ["1:nan"] * 3


@pytest.mark.parametrize("task", TASKS)
def test_a_sweep_names_the_document(
    task: str, run: Any, broken: Any, task_folder: Path, tmp_path: Path
) -> None:
    base, adapter, _ = broken
    done = run(
        *("-m", "lm_eval_lora_boundary", "sweep", "--pretrained", str(base)),
        *("--peft", str(adapter), "--tasks", task, "--include-path", str(task_folder)),
        *("--dtype", "float32", "--output", str(tmp_path), "--boundaries", "1"),
        *("--engine", "vllm", "--model-args", SMALL),
        status=2,
    )
    (line,) = [each for each in done.stderr.splitlines() if "error" in each.lower()]
    assert line.startswith(f"lora-boundary: error: {task}, document ")
    assert "are NaN or infinite in float32; give --dtype" in line


@pytest.mark.parametrize("task", TASKS)
def test_the_model_of_lm_eval_names_the_request(
    task: str, run: Any, broken: Any, task_folder: Path
) -> None:
    base, adapter, _ = broken
    done = run(
        *("-m", "lm_eval", "--model", "lora_boundary_vllm", "--model_args"),
        f"pretrained={base},peft={adapter},boundary=1,dtype=float32,{SMALL}",
        *("--tasks", task, "--include_path", str(task_folder)),
        status=2,
    )
    (line,) = [each for each in done.stderr.splitlines() if "lora_boundary: error:" in each]
    assert "its logits are NaN or infinite in float32; give --dtype" in line
