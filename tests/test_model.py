"""``LoraBoundaryLM`` against lm-eval's ``hf`` and PEFT by hand; facts it must not trip on."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from conftest import LAYERS, VOCABULARY, lora_config, randomise, tiny_model
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft.tuners.tuners_utils import BaseTunerLayer

from lm_eval_lora_boundary import LoraBoundaryLM, apply_boundary
from lm_eval_lora_boundary.adapter_folder import open_adapter
from lm_eval_lora_boundary.errors import AdapterError

TOKENS = torch.arange(4, 20).reshape(2, 8)


def make(base: Path, adapter: Path | None = None, cls: Any = LoraBoundaryLM, **kwargs: Any) -> Any:
    settings: dict[str, Any] = {"pretrained": str(base), "device": "cpu", "batch_size": 3}
    if adapter is not None:
        settings["peft"] = str(adapter)
    return cls(**(settings | {"dtype": "float32"} | kwargs))


def logits(lm: Any) -> torch.Tensor:
    return lm._model_call(TOKENS)


def requests(kind: str) -> list[Instance]:
    """Mixed lengths, shared contexts, one-token and longer continuations."""
    words = [f"w{i}" for i in range(40)]
    if kind == "generate_until":
        arguments: list[tuple[Any, ...]] = [
            (" ".join(words[:n]), {"until": ["w7 "], "max_gen_toks": 12}) for n in (3, 9, 5, 20, 4)
        ]
    elif kind == "loglikelihood_rolling":
        arguments = [(" ".join(words[:n]),) for n in (2, 30, 17)]
    else:
        arguments = [
            (" ".join(words[:n]), continuation)
            for n in (3, 12, 7)
            for continuation in (" w1", " w2", " w3 w4", " w3 w5", " w9 w8 w7 w6")
        ] + [("", " w1 w2")]
    return [
        Instance(request_type=kind, doc={}, arguments=argument, idx=i)
        for i, argument in enumerate(arguments)
    ]


@pytest.fixture(scope="module")
def llama(tiny: Any) -> tuple[Path, Path]:
    return tiny()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "gemma2", "mixtral"])
def test_bit_identical_to_hf_at_both_ends(tiny: Any, architecture: str) -> None:
    base, adapter = tiny(architecture)
    full = logits(make(base, adapter, HFLM))
    bare = logits(make(base, None, HFLM))
    assert not torch.equal(full, bare)
    assert torch.equal(logits(make(base, adapter)), full)
    assert torch.equal(logits(make(base, adapter, boundary=LAYERS - 1)), full)
    assert torch.equal(logits(make(base, adapter, boundary=-1)), bare)
    assert torch.equal(logits(make(base)), bare)


@pytest.mark.parametrize("boundary", range(-1, LAYERS))
def test_bit_identical_to_peft_by_hand(llama: tuple[Path, Path], boundary: int) -> None:
    base, adapter = llama
    by_hand = make(base, adapter, HFLM)
    for name, module in by_hand.model.named_modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(int(name.split("layers.")[1].split(".")[0]) <= boundary)
    ours = make(base, adapter, boundary=boundary)
    assert torch.equal(logits(ours), logits(by_hand))
    generation = requests("generate_until")
    answers = ours.generate_until(generation, disable_tqdm=True)
    assert answers == by_hand.generate_until(generation, disable_tqdm=True)
    assert any(answers)


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("settings", [{}, {"logits_cache": False}, {"max_length": 12}], ids=str)
def test_scores_equal_hf(tiny: Any, architecture: str, kind: str, settings: Any) -> None:
    """Only the head's matrix product has another shape: 1e-5 on sums of log-probabilities."""
    base, adapter = tiny(architecture)
    theirs = getattr(make(base, adapter, HFLM, **settings), kind)(requests(kind))
    ours = getattr(make(base, adapter, **settings), kind)(requests(kind))
    if kind == "loglikelihood":
        assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
        ours, theirs = ([value for value, _ in answers] for answers in (ours, theirs))
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_scoring_computes_logits_only_where_scored(llama: tuple[Path, Path]) -> None:
    lm = make(*llama, batch_size=64)
    seen = []
    lm.model.get_output_embeddings().register_forward_hook(lambda m, i, o: seen.append(o.shape))
    lm.loglikelihood(
        [
            Instance("loglikelihood", {}, ("w1 w2 w3 w4", " w5 w6"), 0),
            Instance("loglikelihood", {}, ("w1 w2 w3 w4 w9 w8", " w5"), 1),
        ],
        disable_tqdm=True,
    )
    assert seen == [(1, 3, VOCABULARY)]


def test_answers_reach_the_cache_hook(llama: tuple[Path, Path]) -> None:
    lm = make(*llama)
    cached: dict[Any, Any] = {}
    lm.cache_hook.dbdict = {}
    lm.cache_hook.add_partial = lambda kind, key, value: cached.__setitem__((kind, key), value)
    answers = lm.loglikelihood(requests("loglikelihood"), disable_tqdm=True)
    assert [cached["loglikelihood", r.args] for r in requests("loglikelihood")] == answers


def test_automatic_batch_size(llama: tuple[Path, Path]) -> None:
    automatic = make(*llama, batch_size="auto", max_batch_size=4)
    fixed = make(*llama)
    for kind in ("loglikelihood", "generate_until", "loglikelihood_rolling"):
        ours = getattr(automatic, kind)(requests(kind), disable_tqdm=True)
        theirs = getattr(fixed, kind)(requests(kind), disable_tqdm=True)
        if kind != "generate_until":
            ours, theirs = (torch.tensor(x).flatten().tolist() for x in (ours, theirs))
            theirs = pytest.approx(theirs, abs=1e-5)
        assert ours == theirs


def test_a_loaded_model_can_be_passed(llama: tuple[Path, Path]) -> None:
    base, adapter = llama
    tokenizer = make(base).tokenizer
    lm = LoraBoundaryLM(tiny_model(), peft=str(adapter), boundary=2, tokenizer=tokenizer)
    assert torch.equal(logits(lm), logits(make(base, adapter, boundary=2)))


@pytest.mark.parametrize("boundary", [0, 2, LAYERS - 1])
def test_merge(llama: tuple[Path, Path], boundary: int) -> None:
    base, adapter = llama
    merged = make(base, adapter, boundary=boundary, merge=True)
    assert not any(isinstance(module, BaseTunerLayer) for module in merged.model.modules())
    assert not any("lora" in name for name in merged.model.state_dict())
    expected = peft.PeftModel.from_pretrained(tiny_model(), adapter)
    by_hand = apply_boundary(expected, boundary).finish().merge_and_unload()
    assert torch.equal(logits(merged), by_hand(TOKENS).logits)
    info = merged.get_model_info()
    assert (info["merge"], info["boundary"]) == (True, boundary)


def test_facts_are_logged_and_reported(llama: tuple[Path, Path], caplog: Any) -> None:
    base, adapter = llama
    logging.getLogger("lm_eval").propagate = True
    with caplog.at_level(logging.INFO, logger="lm_eval"):
        lm = make(base, adapter, boundary=1)
    lines = [r.getMessage() for r in caplog.records if r.name == "lm_eval.lora_boundary"]
    assert lines == [lm.signature]
    tensors = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
    low = sum(t.numel() for name, t in tensors.items() if int(name.split(".")[4]) <= 1)
    high = sum(t.numel() for t in tensors.values()) - low
    info = lm.get_model_info()
    modules = 7  # linear modules of a layer
    assert info["boundary"] == 1
    assert info["num_layers"] == LAYERS
    assert (info["kept_modules"], info["dropped_modules"]) == (2 * modules, 2 * modules)
    assert (info["kept_parameters"], info["dropped_parameters"]) == (low, high)
    assert info["adapter_sha256"] == open_adapter(adapter).sha256
    assert info["merge"] is False
    for part in ("boundary 1 of 4", f"{low:,}", f"{high:,}", "float32", "merge=False", "peft="):
        assert part in lm.signature
    assert info["adapter_sha256"][:12] in lm.signature


# Facts of the design, one test each.


@pytest.mark.parametrize(
    "config",
    [
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [5, 6]},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*tied.*:UserWarning")
def test_fact_1_weights_are_not_tied_again_after_wrapping(tiny: Any, config: Any) -> None:
    base, adapter = tiny("llama", tied=True, target_modules=["q_proj"], **config)
    by_hand = peft.PeftModel.from_pretrained(tiny_model(tied=True), adapter).eval()
    with torch.no_grad():
        expected = by_hand(TOKENS).logits
    assert torch.equal(logits(make(base, adapter)), expected)
    assert torch.equal(logits(make(base, adapter, boundary=-1)), logits(make(base)))


def test_fact_2_padded_vocabularies_are_not_shrunk(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    padded = tmp_path / "padded"
    shutil.copytree(base, padded)
    tiny_model(vocab_size=VOCABULARY + 16).save_pretrained(padded)
    lm = make(padded, adapter, boundary=1)
    assert lm.model.get_input_embeddings().weight.shape[0] == VOCABULARY + 16
    assert logits(lm).shape[-1] == VOCABULARY + 16


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")
def test_fact_2_vocabularies_grow_when_the_adapter_says_so(
    tiny: Any, tmp_path: Path, tied: bool
) -> None:
    """PEFT saves resized embeddings whole; each side goes back to the base by the depth rule."""
    base, _ = tiny("llama", tied=tied)
    model = tiny_model(tied=tied)
    model.resize_token_embeddings(VOCABULARY + 3, mean_resizing=False)
    trained = randomise(peft.get_peft_model(model, lora_config()))
    trained.get_input_embeddings().weight.data += 0.1
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    with torch.no_grad():
        expected = trained.eval()(TOKENS).logits
    full = make(base, tmp_path / "adapter")
    assert torch.equal(logits(full), expected)
    cut = make(base, tmp_path / "adapter", boundary=1)
    assert cut.model.get_input_embeddings().weight.shape[0] == VOCABULARY + 3
    assert logits(cut).shape[-1] == VOCABULARY
    bare = make(base, tmp_path / "adapter", boundary=-1)
    assert torch.equal(logits(bare), logits(make(base)))


@pytest.mark.parametrize("init", ["pissa", "olora", "pissa_niter_4"])
def test_fact_3_base_weights_come_back_above_the_boundary(
    tiny: Any, tmp_path: Path, init: str
) -> None:
    base, _ = tiny()
    config = lora_config(target_modules=["q_proj"], init_lora_weights=init)
    trained = peft.get_peft_model(tiny_model(), config)
    randomise(trained, scale=0.01).save_pretrained(tmp_path)
    assert torch.equal(logits(make(base, tmp_path, boundary=-1)), logits(make(base)))
    original = dict(tiny_model().named_parameters())
    cut = make(base, tmp_path, boundary=1)
    for name, parameter in cut.model.get_base_model().named_parameters():
        if "lora_" not in name:
            layer = int(name.split(".")[2]) if ".layers." in name else -1
            same = torch.equal(parameter, original[name.replace(".base_layer", "")])
            assert same == (layer > 1 or "q_proj" not in name), name
    torch.manual_seed(5)  # pissa_niter draws random vectors
    full = logits(make(base, tmp_path))
    torch.manual_seed(5)
    assert torch.equal(full, logits(make(base, tmp_path, HFLM)))


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_fact_4_trained_biases_go_back_above_the_boundary(
    tiny: Any, tmp_path: Path, bias: str
) -> None:
    base, _ = tiny("gpt2")
    trained = randomise(peft.get_peft_model(tiny_model("gpt2"), lora_config("gpt2", bias=bias)))
    for name, parameter in trained.named_parameters():
        if name.endswith("bias"):
            parameter.data += 0.5
    trained.save_pretrained(tmp_path)
    saved = safetensors.torch.load_file(tmp_path / "adapter_model.safetensors")
    biases = {
        name.removeprefix("base_model.model.").replace(".base_layer", "")
        for name in saved
        if name.endswith("bias")
    }
    assert biases
    assert torch.equal(logits(make(base, tmp_path, boundary=-1)), logits(make(base)))
    original = dict(tiny_model("gpt2").named_parameters())
    cut = make(base, tmp_path, boundary=1)
    for name, parameter in cut.model.get_base_model().named_parameters():
        if name.endswith("bias"):
            plain = name.replace(".base_layer", "")
            layer = int(name.split(".")[2]) if ".h." in name else LAYERS - 1
            changed = plain in biases and layer <= 1
            assert torch.equal(parameter, original[plain]) != changed, name
    assert torch.equal(logits(make(base, tmp_path)), logits(make(base, tmp_path, HFLM)))


def test_fact_5_one_rule_for_modules_to_save(tiny: Any) -> None:
    base, adapter = tiny(target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"])
    bare = make(base)
    cut = make(base, adapter, boundary=LAYERS - 2)
    assert torch.equal(
        cut.model.get_output_embeddings().weight, bare.model.get_output_embeddings().weight
    )
    assert not torch.equal(
        cut.model.get_input_embeddings().weight, bare.model.get_input_embeddings().weight
    )
    assert cut.get_model_info()["dropped_modules"] == 2  # q_proj of the last layer, lm_head


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj"]},
        {"target_modules": [f"model.layers.{i}.mlp.up_proj" for i in range(LAYERS)]},
        {"target_modules": r".*\.layers\.\d+\.self_attn\.(q|o)_proj"},
        {"target_modules": ["q_proj"], "layers_to_transform": [0, 2]},
        {"exclude_modules": ["down_proj"]},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.0.self_attn.q_proj": 3}},
        {"use_rslora": True},
        {"use_dora": True},
    ],
    ids=str,
)
def test_fact_6_every_way_to_name_targets(tiny: Any, config: Any) -> None:
    base, adapter = tiny(**config)
    model = peft.PeftModel.from_pretrained(tiny_model(), adapter).eval()
    with torch.no_grad():
        expected = apply_boundary(model, 1).model(TOKENS).logits
    assert torch.equal(logits(make(base, adapter, boundary=1)), expected)


def test_fact_6_tensors_filtered_by_hand_are_refused(
    llama: tuple[Path, Path], tmp_path: Path
) -> None:
    base, adapter = llama
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    tensors = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
    low = {name: t for name, t in tensors.items() if ".layers.3." not in name}
    safetensors.torch.save_file(low, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="write config and tensors together"):
        make(base, tmp_path, boundary=1)


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")
def test_fact_7_adapters_of_single_experts(tiny: Any, tmp_path: Path) -> None:
    """Adapters from before experts were fused name them ``layers.3.…experts.1.w1``."""
    base, _ = tiny("mixtral")
    model = tiny_model("mixtral")
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for layer in range(LAYERS):
        for expert in range(2):
            for name, (rows, columns) in {"w1": (48, 32), "w2": (32, 48), "w3": (48, 32)}.items():
                path = f"base_model.model.model.layers.{layer}.block_sparse_moe.experts.{expert}"
                shapes = {"lora_A": (4, columns), "lora_B": (rows, 4)}
                for part, shape in shapes.items():
                    tensor = torch.randn(shape, generator=generator) * 0.3
                    tensors[f"{path}.{name}.{part}.weight"] = tensor
    config = lora_config(target_modules=["w1", "w2", "w3"])
    config.save_pretrained(tmp_path)
    safetensors.torch.save_file(tensors, tmp_path / "adapter_model.safetensors")
    lm = make(base, tmp_path, boundary=0)
    assert lm.get_model_info()["kept_modules"] == 1  # the experts of layer 0
    by_hand = peft.PeftModel.from_pretrained(model, tmp_path).eval()
    full = by_hand(TOKENS).logits
    assert torch.equal(logits(make(base, tmp_path)), full)
    with torch.no_grad():
        expected = apply_boundary(by_hand, 0).model(TOKENS).logits
    assert torch.equal(logits(lm), expected)
    assert not torch.equal(expected, full)


def test_fact_11_merge_mode_is_recorded(llama: tuple[Path, Path]) -> None:
    base, adapter = llama
    modes = [make(base, adapter, merge=m, dtype="bfloat16").signature for m in (False, True)]
    assert "bfloat16 | merge=False" in modes[0]
    assert "bfloat16 | merge=True" in modes[1]
