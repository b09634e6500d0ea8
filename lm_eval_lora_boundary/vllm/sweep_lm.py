"""The lm-eval model of a sweep in vLLM: it makes prompts and scores, and vLLM answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from transformers import GenerationConfig

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.base_model import empty_model, load_config
from ..cuts.fingerprint import checkpoint_sample, files_fingerprint, weight_files
from ..cuts.keep import Cut
from ..errors import ModelError
from ..harness.provenance.facts import InUse
from ..harness.provenance.in_use import in_use
from ..harness.settings import EvaluationSettings
from ..harness.sweep_lm import SweepLM
from .cut_folders import CutFolders
from .launch import require_vllm, vllm_version

# vLLM reads a whole text and needs room for one more token. `hf` never reads the last token.
_SPARE = 2
_LENGTHS = ("max_length", "max_model_len")
# Those of `hf`'s arguments that decide prompts and where responses are cut.
_PROMPTING = (
    *("tokenizer", "add_bos_token", "prefix_token_id", "think_end_token", "enable_thinking"),
    *("chat_template_args", "trust_remote_code", "revision"),
)


class VllmSweepLM(SweepLM):
    """A model without weights: it makes lm-eval's prompts, and vLLM answers them.

    Attributes:
        cut_folders: Writes the cut adapters.
        vllm_arguments: Arguments of lm-eval's ``vllm`` model.
    """

    cut_folders: CutFolders

    def __init__(self, settings: EvaluationSettings) -> None:
        """Load tokenizer, configs and the adapter's structure.

        Raises:
            MissingPackageError: vLLM is not installed.
            ModelError: The base model cannot be loaded.
            AdapterError: The adapter cannot be used.
        """
        require_vllm("--engine vllm", "use another engine")
        given = dict(settings.model_args)
        adapter_revision = given.pop("peft_revision", None)
        if int(given.get("data_parallel_size") or 1) > 1:
            # lm-eval would start these engines again for every boundary.
            raise ModelError(
                f"data_parallel_size={given['data_parallel_size']}, but a sweep runs in one vLLM "
                "engine; give tensor_parallel_size to use several GPUs, or evaluate one boundary "
                "with `lm_eval --model lora_boundary_vllm`"
            )
        self.vllm_arguments = {"pretrained": settings.pretrained, "dtype": settings.dtype} | given
        self._source = settings.pretrained
        self._trust = bool(given.get("trust_remote_code"))
        self._revision: str | None = given.get("revision")
        config = load_config(settings.pretrained, self._revision, trust_remote_code=self._trust)
        model = empty_model(config, trust_remote_code=self._trust)
        with suppress(OSError):  # without a stored one, the one in the model's config stays
            stored = GenerationConfig.from_pretrained(
                self._source, revision=self._revision or "main"
            )
            model.generation_config = stored
        lengths = [int(given[name]) for name in _LENGTHS if given.get(name)]
        super().__init__(
            model,
            peft=settings.peft,
            peft_revision=adapter_revision,
            max_length=min(lengths, default=None),
            **{name: given[name] for name in _PROMPTING if name in given},
        )
        self._max_length = self.max_length - _SPARE
        self.quotes_prompts = not settings.no_texts

    def _attach(self, adapter: AdapterFolder) -> None:
        files = weight_files(self._source, self._revision)
        self.fingerprint = files_fingerprint(files)
        loading = {"revision": self._revision or "main", "trust_remote_code": self._trust}
        self.base_sample = checkpoint_sample(files, self._model, self._source, **loading)
        config = self._model.config
        self.cut_folders = CutFolders(adapter, config, trust_remote_code=self._trust)
        self.cut = self.cut_folders.cut
        self.boundary = self.layers - 1

    def check(self, cuts: Sequence[Cut | int]) -> None:
        """Raise an AdapterError if a cut has no effect, or vLLM would not load it."""
        for cut in cuts:
            self.cut_folders.check(cut)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Do nothing: vLLM itself refuses unknown generation arguments."""

    def _in_use(self) -> InUse:
        revision, dtype = self._revision or "main", str(self.vllm_arguments["dtype"])
        # vLLM can quantise what it loads
        unpacked = self.vllm_arguments.get("quantization") is not None
        return in_use(self._source, revision, self._model.config, dtype, unpacked=unpacked)

    @property
    def dtype_name(self) -> str:
        """The precision that vLLM was asked for, which is the stored one by default."""
        asked = str(self.vllm_arguments["dtype"])
        return super().dtype_name if asked == "auto" else asked

    @property
    def engine_facts(self) -> dict[str, Any]:
        """What decides an answer besides model, adapter and prompts."""
        return {"dtype": str(self.vllm_arguments["dtype"]), "vllm": vllm_version()}
