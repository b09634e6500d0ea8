"""What a sweep would do: ``--dry-run``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..forward.memory import row_bytes
from ..forward.requests import Answer, Generate, Request, common_beginning
from ..harness.sweep_lm import SweepLM, made_up_answers
from .engines import Engines
from .settings import SweepSettings


def before(settings: SweepSettings) -> list[str]:
    """Return what a sweep does before it sweeps, and so cannot be planned for."""
    if settings.candidates != "trace":
        return []
    return [
        "first traces the gold answers, and then scores only boundaries around the one that the "
        "trace suggests, if there is one; at most:"
    ]


@dataclass
class Plan:
    """Counts what lm-eval asks for, and answers nothing.

    Attributes:
        requests: Distinct requests of every task.
    """

    requests: dict[str, list[Request]] = field(default_factory=dict)

    def note(self, requests: Sequence[Request], task: str) -> list[Answer]:
        """Take note of requests and return made-up answers."""
        known = self.requests.setdefault(task, [])
        known += [request for request in dict.fromkeys(requests) if request not in set(known)]
        return made_up_answers(requests, task)

    def describe(
        self, lm: SweepLM, engines: Engines, boundaries: Sequence[int], rows: int | None
    ) -> str:
        """Return the plan as text.

        Args:
            lm: The model.
            engines: Its engines.
            boundaries: The boundaries.
            rows: Rows in a batch, if given.
        """
        layers, count = lm.layers, len(boundaries)
        why = f" ({engines.reason})" if engines.reason else ""
        lines = [f"{count} boundaries of {layers} layers, engine {engines.name}{why}"]
        # blocks of rows in every layer of a shared pass, against one pass per boundary
        widths = sum(1 + sum(b < layer for b in sorted(boundaries)[:-1]) for layer in range(layers))
        if engines.name != "fork":
            widths = layers * count
        share = widths / (layers * count)
        for task, requests in self.requests.items():
            longest = max(request.length for request in requests)
            size = row_bytes(lm.model.config, lm.model.dtype, longest)
            batch = rows or engines.rows_that_fit(longest)
            shared = len(common_beginning(requests)) if engines.name == "fork" else 0
            read = sum(len(request.beginning) + 1 - shared for request in requests) + shared
            written = sum(r.max_new_tokens for r in requests if isinstance(r, Generate))
            passes = widths * read + written * count * layers
            lines += [
                f"{task}: {len(requests)} requests × {count} boundaries, longest {longest} tokens",
                f"  reads {read:,} tokens in {share:.2f} of the layer passes of {count} runs; the "
                f"first {shared} tokens of all requests are read once",
                f"  writes at most {written * count:,} tokens",
                f"  passes tokens through a layer at most {passes:,} times",
                f"  batches of {batch} rows, keys and values of a batch up to "
                f"{batch * size / 1e9:.1f} GB",
            ]
        return "\n".join(lines)
