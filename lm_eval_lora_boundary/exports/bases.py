"""Fresh copies of a base model, one after another."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import transformers
from transformers import PreTrainedModel

from ..base import BaseLM
from ..boundaries import check_boundary
from ..checks import loaded_model, loading_base, refuse_adapted
from ..layers import number_of_layers
from ..placement import placed


class _Base(BaseLM):
    """The base model, which refuses a wrong boundary before it loads weights."""

    def __init__(self, pretrained: str, *, boundary: int, dense: bool, **kwargs: Any) -> None:
        self._boundary = boundary
        self._dense = dense
        super().__init__(pretrained, **kwargs)

    def _get_config(self, *args: Any, **kwargs: Any) -> None:
        super()._get_config(*args, **kwargs)
        check_boundary(self._boundary, number_of_layers(self._config))
        if self._dense and kwargs.get("gguf_file") and hasattr(transformers, "GgufConfig"):
            # packed weights cannot be merged into, nor saved
            self._config.quantization_config = transformers.GgufConfig(dequantize=True)


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
        boundary: int,
        dense: bool = False,
    ) -> None:
        """Check a loaded model; load nothing.

        Args:
            pretrained: Hub id, local folder, or a loaded model.
            model_args: Arguments of lm-eval's ``hf`` model, ``dtype`` and ``device`` among them.
            boundary: The boundary that will be asked for.
            dense: Unpack the weights of a GGUF file.

        Raises:
            BoundaryError: The boundary is not one of a loaded model's.
            ModelError: The loaded model carries an adapter, or is no decoder-only model.
        """
        self.model_args = dict(model_args)
        self._boundary = boundary
        self._dense = dense
        self._model = loaded_model(pretrained)
        self.name = str(pretrained) if self._model is None else self._model.config._name_or_path
        if self._model is not None:
            refuse_adapted(self._model)
            check_boundary(boundary, number_of_layers(self._model.config))

    def fresh(self) -> Any:
        """Return the base model in evaluation mode, for the caller to change.

        Raises:
            BoundaryError: The model has no such boundary.
            ModelError: It cannot be loaded, or is no decoder-only model.
        """
        if self._model is not None:
            copied: Any = copy.deepcopy(self._model)
            return copied.eval()
        arguments = placed(self.model_args)
        base = _Base(self.name, boundary=self._boundary, dense=self._dense, **arguments)
        model: Any = base.model
        quantizer = getattr(model, "hf_quantizer", None)
        if self._dense and quantizer is not None and self.model_args.get("gguf_file"):
            # the weights are plain tensors now, but the mark of a quantised model bars saving
            quantizer.remove_quantization_config(model)
        return model.eval()

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
