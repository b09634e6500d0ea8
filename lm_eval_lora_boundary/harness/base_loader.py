"""Base models as lm-eval's ``hf`` loads them; bad input is reported before weights are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import transformers
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from ..cuts.base_model import (
    loaded_model,
    loading_base,
    refuse_adapted,
    refuse_adapter_folder,
    refuse_loaded_adapter,
)
from ..cuts.layers import number_of_layers
from ..errors import require_package
from .device import with_device


class BaseLM(HFLM):  # type: ignore[misc]
    """lm-eval's ``hf`` model around a base model without an adapter.

    Attributes:
        dense: Whether to unpack the weights of a GGUF file, so that they can be changed and saved.
        takes_adapter: Whether the user can name an adapter as well; for messages.
    """

    dense: ClassVar[bool] = False
    takes_adapter: ClassVar[bool] = True

    def __init__(
        self,
        pretrained: str | PreTrainedModel,
        *,
        check_layers: Callable[[int], object] | None = None,
        **kwargs: Any,
    ) -> None:
        """Load the base model and its tokenizer.

        Args:
            pretrained: Hub id, local folder, or a loaded model.
            check_layers: Is called with the number of decoder layers before weights are loaded,
                and raises if the model cannot be used.
            **kwargs: Further arguments of lm-eval's ``hf``. Without ``device``, the best one is
                used.

        Raises:
            BoundaryError: As ``check_layers``.
            MissingPackageError: A package that reads such a model is not installed.
            ModelError: The model cannot be loaded, carries an adapter, or is not decoder-only; or
                the device is not available.
        """
        _require_packages(kwargs)
        self._check = check_layers
        model = usable_base(pretrained, check_layers)
        # lm-eval turns names of digits into numbers.
        name = str(pretrained) if model is None else model.config._name_or_path
        if model is None:
            kwargs = with_device(kwargs)
        with loading_base(name):
            super().__init__(name if model is None else model, **kwargs)
        quantizer = getattr(self.model, "hf_quantizer", None)
        if self.dense and quantizer is not None and kwargs.get("gguf_file"):
            # The weights are plain tensors now, but this mark bars training and saving.
            quantizer.remove_quantization_config(self.model)

    def _get_config(
        self, pretrained: str, *, revision: str = "main", subfolder: str = "", **kwargs: Any
    ) -> None:
        # The config of an adapter is not that of a model, and would fail without a clear message.
        refuse_adapter_folder(pretrained, revision, subfolder, takes_adapter=self.takes_adapter)
        super()._get_config(pretrained, revision=revision, subfolder=subfolder, **kwargs)
        _check_layers(self._config, self._check)
        if self.dense and kwargs.get("gguf_file") and hasattr(transformers, "GgufConfig"):
            # Newer versions of transformers would keep the weights packed.
            self._config.quantization_config = transformers.GgufConfig(dequantize=True)

    def _create_model(self, pretrained: str, *args: Any, **kwargs: Any) -> None:
        super()._create_model(pretrained, *args, **kwargs)
        refuse_loaded_adapter(self._model, pretrained)


class DenseLM(BaseLM):
    """The same with plain weights, whatever the file holds."""

    dense = True


def usable_base(
    pretrained: Any, check_layers: Callable[[int], object] | None = None
) -> PreTrainedModel | None:
    """Return the model that was passed instead of a name, or None if it is a name.

    Raises:
        BoundaryError: As ``check_layers``.
        ModelError: The model carries an adapter, or is not a decoder-only model of transformers.
    """
    model = loaded_model(pretrained)
    if model is not None:
        _check_layers(model.config, check_layers)
        refuse_adapted(model)
    return model


def _require_packages(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of ``hf`` that need a package which is not installed."""
    if arguments.get("gguf_file"):
        require_package("gguf", extra="gguf", what="gguf_file=")
    for name in ("load_in_4bit", "load_in_8bit"):
        if arguments.get(name):
            require_package("bitsandbytes", extra="quantized", what=f"{name}=")


def _check_layers(config: Any, check: Callable[[int], object] | None) -> None:
    layers = number_of_layers(config)
    if check is not None:
        check(layers)
