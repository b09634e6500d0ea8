"""lm-eval's `--use_cache` answers for one model with what another one said."""

import tempfile

from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.dummy import DummyLM


class Says(DummyLM):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def generate_until(self, requests, disable_tqdm=False):
        return [self.answer] * len(requests)


cache = f"{tempfile.mkdtemp()}/cache.db"
request = Instance("generate_until", {}, ("What is 1 + 1?", {"until": []}), 0)
answers = [CachingLM(Says(answer), cache).generate_until([request])[0] for answer in ("2", "3")]
print(f"the first model says {answers[0]}; the second one would say 3, and gets {answers[1]}")
assert answers == ["2", "2"]
