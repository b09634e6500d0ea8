"""A base model as lm-eval's ``hf`` loads it; what cannot be loaded is one clear line."""

from __future__ import annotations

from typing import Any, ClassVar

from lm_eval.models.huggingface import HFLM

from .checks import loading_base, refuse_adapter_folder, refuse_loaded_adapter


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
