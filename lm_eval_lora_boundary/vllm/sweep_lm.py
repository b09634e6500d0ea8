"""The lm-eval side of a sweep in vLLM: prompts and scores are made here, answers are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import GenerationConfig

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.base_model import empty_model, load_config
from ..cuts.fingerprint import checkpoint_sample, files_fingerprint, weight_files
from ..errors import ModelError
from ..harness.settings import EvaluationSettings
from ..harness.sweep_lm import SweepLM
from .cut_folders import AdapterSlices
from .launch import require_vllm, vllm_version

# vLLM reads a whole text and must be able to write one more token; `hf` never reads the last one
_SPARE = 2
_LENGTHS = ("max_length", "max_model_len")
# of `hf`'s arguments, those that decide prompts and the cutting of responses
_PROMPTING = (
    *("tokenizer", "add_bos_token", "prefix_token_id", "think_end_token", "enable_thinking"),
    *("chat_template_args", "trust_remote_code", "revision"),
)


class VllmSweepLM(SweepLM):
    """A model without weights: it makes lm-eval's prompts, and vLLM answers them.

    Attributes:
        slices: The adapter, to be cut on disk.
        vllm_arguments: Arguments of lm-eval's ``vllm`` model.
    """

    def __init__(self, settings: EvaluationSettings) -> None:
        """Load tokenizer, configs and the adapter's structure.

        Raises:
            ModelError: vLLM is not installed, or the base model cannot be loaded.
            AdapterError: The adapter cannot be used.
        """
        require_vllm()
        given = dict(settings.model_args)
        adapter_revision = given.pop("peft_revision", None)
        _refuse_data_parallel(given)
        self.vllm_arguments = {"pretrained": settings.pretrained, "dtype": settings.dtype} | given
        self.slices: AdapterSlices
        self._source = settings.pretrained
        self._trust = bool(given.get("trust_remote_code"))
        self._revision: str | None = given.get("revision")
        config = load_config(settings.pretrained, self._revision, trust_remote_code=self._trust)
        model = empty_model(config, trust_remote_code=self._trust)
        _load_generation_config(model, settings.pretrained, self._revision)
        lengths = [int(given[name]) for name in _LENGTHS if given.get(name)]
        super().__init__(
            model,
            peft=settings.peft,
            peft_revision=adapter_revision,
            max_length=min(lengths, default=None),
            **{name: given[name] for name in _PROMPTING if name in given},
        )
        self._max_length = self.max_length - _SPARE

    def _attach(self, adapter: AdapterFolder) -> None:
        files = weight_files(self._source, self._revision)
        self.fingerprint = files_fingerprint(files)
        loading = {"revision": self._revision or "main", "trust_remote_code": self._trust}
        self.base_sample = checkpoint_sample(files, self._model, self._source, **loading)
        self.slices = AdapterSlices(adapter, self._model.config, trust_remote_code=self._trust)
        self.cut = self.slices.cut
        self.boundary = self.layers - 1

    def check(self, boundaries: Sequence[int]) -> None:
        """Refuse boundaries whose cut vLLM would not load, or that keep nothing.

        Raises:
            AdapterError: There is one.
        """
        for boundary in boundaries:
            self.slices.check(boundary)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Leave it to vLLM which generation arguments there are."""

    @property
    def engine_facts(self) -> dict[str, Any]:
        """What decides an answer besides model, adapter and prompts."""
        return {"dtype": str(self.vllm_arguments["dtype"]), "vllm": vllm_version()}


def _refuse_data_parallel(given: Mapping[str, Any]) -> None:
    """Refuse several vLLM engines: lm-eval starts them anew for every boundary."""
    if int(given.get("data_parallel_size") or 1) > 1:
        raise ModelError(
            f"data_parallel_size={given['data_parallel_size']}: a sweep runs in one vLLM engine. "
            "Use tensor_parallel_size for several GPUs, or leave data_parallel_size to "
            "`lm_eval --model lora_boundary_vllm`"
        )


def _load_generation_config(model: Any, pretrained: str, revision: str | None) -> None:
    """Give a model the generation config that is stored with it, if there is one."""
    try:
        config = GenerationConfig.from_pretrained(pretrained, revision=revision or "main")
    except OSError:
        return  # the one that follows from the model's config stays
    model.generation_config = config
