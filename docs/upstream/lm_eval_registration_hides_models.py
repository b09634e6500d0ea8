"""A model that is registered before `lm_eval.models` is imported hides lm-eval's own models."""

from lm_eval.api.model import LM
from lm_eval.api.registry import get_model, register_model


@register_model("mine")
class Mine(LM):
    pass


try:
    get_model("hf")
except ValueError as error:
    print(error)
else:
    raise AssertionError("hf is found")
