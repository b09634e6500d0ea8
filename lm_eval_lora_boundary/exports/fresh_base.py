"""Fresh copies of a base model, one after another."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import transformers
from transformers import PreTrainedModel

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.base_model import empty_model, load_config, loading_base
from ..cuts.cut import LoraCut
from ..cuts.effect import refuse_no_effect
from ..cuts.fingerprint import checkpoint_sample, weight_files, weights_sample
from ..cuts.keep import Cut
from ..cuts.layers import number_of_layers
from ..cuts.loading import load_adapter
from ..cuts.vocabulary import growing
from ..errors import ModelError, first_line
from ..harness.base_loader import BaseLM, DenseLM, usable_base
from ..harness.device import with_device
from ..harness.model_args import AskedCut
from .refusals import refuse_grown_head

# arguments that say where the base model is and how to run it, and not what it is made of
_OF_STRUCTURE = {
    *("dtype", "device", "revision", "subfolder", "gguf_file", "trust_remote_code", "tokenizer"),
    *("parallelize", "attn_implementation", "max_length"),
}


class Bases:
    """Where fresh copies of the base model come from.

    A model that is given by name is loaded anew each time, so that only one is in memory if the
    caller lets go of the one before. A loaded model is copied, and itself left as it is.

    Attributes:
        name: What the user named, or where the loaded model says it is from.
        model_args: Arguments of lm-eval's ``hf`` model.
    """

    def __init__(
        self,
        pretrained: str | PreTrainedModel,
        model_args: Mapping[str, Any],
        *,
        check_layers: Callable[[int], object],
        dense: bool = False,
    ) -> None:
        """Check a loaded model; load nothing.

        Args:
            pretrained: Hub id, local folder, or a loaded model.
            model_args: Arguments of lm-eval's ``hf`` model, ``dtype`` and ``device`` among them.
            check_layers: As for :class:`.BaseLM`.
            dense: Unpack the weights of a GGUF file.

        Raises:
            BoundaryError: As ``check_layers``, for a loaded model.
            ModelError: The loaded model carries an adapter, or is not decoder-only.
        """
        self.model_args = dict(model_args)
        self._check = check_layers
        self._dense = dense
        self._model = usable_base(pretrained, check_layers)
        self.name = str(pretrained) if self._model is None else self._model.config._name_or_path

    def fresh(self) -> Any:
        """Return the base model in evaluation mode, for the caller to change.

        Raises:
            BoundaryError: As ``check_layers``.
            ModelError: It cannot be loaded or copied, or is not decoder-only.
        """
        if self._model is not None:
            try:
                copied: Any = copy.deepcopy(self._model)
            except (RuntimeError, NotImplementedError) as error:  # some quantized tensors
                raise ModelError(
                    f"the loaded base model cannot be copied ({first_line(error)}); give its name "
                    "or folder instead"
                ) from error
            return copied.eval()
        kind = DenseLM if self._dense else BaseLM
        return kind(self.name, check_layers=self._check, **self.model_args).model.eval()

    def structure(self) -> Any:
        """Return the base model without its weights, or None if only loading it shows what it is.

        Raises:
            BoundaryError: As ``check_layers``.
            ModelError: Its config cannot be loaded, or is not that of a decoder-only model; or
                the device or the precision does not exist.
        """
        if self._model is not None or self.model_args.keys() - _OF_STRUCTURE:
            return None
        with_device(self.model_args)
        arguments = {name: self.model_args.get(name) for name in ("subfolder", "gguf_file")}
        trusted = bool(self.model_args.get("trust_remote_code"))
        config = load_config(
            self.name,
            self.model_args.get("revision"),
            trust_remote_code=trusted,
            **{name: value for name, value in arguments.items() if value},
        )
        self._check(number_of_layers(config))
        packed = getattr(config, "quantization_config", None) is not None
        if packed and not arguments["gguf_file"]:
            return None  # its layers are of other classes
        return empty_model(config, trust_remote_code=trusted)

    def dtype(self, structure: Any) -> str:
        """Return the precision that the base model is loaded in."""
        asked = self.model_args.get("dtype") or "auto"
        stored = getattr(structure.config, "dtype", None) or "float32"
        return str(stored if asked == "auto" else asked).removeprefix("torch.")

    def sample(self, structure: Any) -> str | None:
        """Return what :func:`.weights_sample` returns, without loading all weights.

        None if that is not possible.
        """
        if self.model_args.get("gguf_file") or self.model_args.get("subfolder"):
            return None
        revision = self.model_args.get("revision")
        files = weight_files(self.name, revision)
        if any(file.suffix != ".safetensors" for file in files):
            return None
        loading = {
            "revision": revision or "main",
            "trust_remote_code": bool(self.model_args.get("trust_remote_code")),
        }
        return checkpoint_sample(files, structure, self.name, **loading)

    def served(self) -> dict[str, Any]:
        """Return the arguments with which an engine loads the same base model.

        Raises:
            ModelError: An engine cannot load it: it is in a GGUF file or a subfolder, or was
                passed as a loaded model.
        """
        gguf = self.model_args.get("gguf_file")
        if self._model is not None or gguf or self.model_args.get("subfolder"):
            what = "is read from a GGUF file" if gguf else "is in a subfolder"
            raise ModelError(
                f"the base model {'was passed as a loaded model' if self._model else what}, but an "
                "engine needs a checkpoint by its name or folder to verify an adapter. Write the "
                "base model to a folder and give that, merge (--merge), or leave out --verify."
            )
        names = ("revision", "trust_remote_code")
        return {name: self.model_args[name] for name in names if name in self.model_args}

    def tokenizer(self) -> Any:
        """Return the tokenizer as it is stored, or None if a loaded model does not lead to one.

        lm-eval gives the one it evaluates with a padding token, which is not to be shipped.

        Raises:
            ModelError: It cannot be loaded.
        """
        names = ("revision", "trust_remote_code", "subfolder", "gguf_file")
        arguments = {name: self.model_args[name] for name in names if name in self.model_args}
        load = transformers.AutoTokenizer.from_pretrained
        if self._model is None:
            with loading_base(self.name):
                return load(self.model_args.get("tokenizer") or self.name, **arguments)
        try:
            return load(self.name) if self.name else None
        except (OSError, ValueError):
            return None


def load_cut(
    bases: Bases, adapter: AdapterFolder, asked: AskedCut
) -> tuple[LoraCut, Cut, int, list[str], bool]:
    """Load base model and adapter, and check that there is something to export.

    Args:
        bases: Where the base model comes from.
        adapter: The whole adapter.
        asked: The cut that the user asks for.

    Returns:
        The model with the whole adapter; the cut to apply; rows of a grown vocabulary, or 0; the
        paths of all modules of the base model; whether its head is tied to its embeddings.

    Raises:
        BoundaryError: The cut was recorded for another base model.
        AdapterError: The adapter does not fit, or nothing of it would be left.
    """
    base = bases.fresh()
    if asked.record is not None:
        asked.record.check_base(weights_sample(base))
    names = [name for name, _ in base.named_modules()]
    rows = max((rows for _, _, rows in growing(base, adapter)), default=0)
    tied = _tied(base)
    cut = asked.cut(number_of_layers(base.config))
    model = load_adapter(base, adapter, lowest_dropped=cut.lowest_dropped)
    refuse_no_effect(model, cut)
    refuse_grown_head(cut, rows)
    return model, cut, rows, names, tied


def _tied(model: Any) -> bool:
    """Return whether embeddings and head are one tensor."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight
