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
asked = ("What is 1 + 1?", {"until": []})
# 0.4 reads the names of task and document from metadata
names = {"task_name": "", "doc_id": 0, "metadata": ("", 0, 1)}
request = Instance("generate_until", {}, asked, idx=0, **names)
answers = [CachingLM(Says(answer), cache).generate_until([request])[0] for answer in ("2", "3")]
print(f"the first model says {answers[0]}; the second one would say 3, and gets {answers[1]}")
assert answers == ["2", "2"]
