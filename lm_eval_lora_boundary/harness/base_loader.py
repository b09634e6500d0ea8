"""A base model as lm-eval's ``hf`` loads it; what cannot be loaded is one clear line."""

from __future__ import annotations

from typing import Any, ClassVar

import transformers
from lm_eval.models.huggingface import HFLM

from ..cuts.base_model import (
    loading_base,
    refuse_adapter_folder,
    refuse_loaded_adapter,
)
from ..cuts.boundaries import check_boundary
from ..cuts.layers import number_of_layers


class BaseLM(HFLM):  # type: ignore[misc]
    """lm-eval's ``hf`` model, with nothing but the base model in it.

    Attributes:
        takes_adapter: Whether an adapter can be given beside the base model.
    """

    takes_adapter: ClassVar[bool] = True

    def __init__(self, pretrained: Any, **kwargs: Any) -> None:
        """Load the base model and its tokenizer.

        Args:
            pretrained: Hub id, local folder, or a loaded model.
            **kwargs: Everything else that lm-eval's ``hf`` model takes.

        Raises:
            ModelError: It cannot be loaded, or an adapter comes with it.
        """
        loaded = not isinstance(pretrained, str)
        with loading_base(pretrained.config._name_or_path if loaded else pretrained):
            super().__init__(pretrained, **kwargs)

    def _get_config(
        self, pretrained: str, *, revision: str = "main", subfolder: str = "", **kwargs: Any
    ) -> None:
        # the config of an adapter is none of a model, and would fail without a word about it
        refuse_adapter_folder(pretrained, revision, subfolder, takes_adapter=self.takes_adapter)
        super()._get_config(pretrained, revision=revision, subfolder=subfolder, **kwargs)

    def _create_model(self, pretrained: str, *args: Any, **kwargs: Any) -> None:
        super()._create_model(pretrained, *args, **kwargs)
        refuse_loaded_adapter(self._model, pretrained)


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
