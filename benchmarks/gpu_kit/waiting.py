"""How often the host waits for the device: while it waits, it prepares no further work."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.sweeps.engines import find_engines

from .answers import choices, generations, swept
from .models import texts
from .rows import Row, at_most
from .setting import Setting
from .work import APART, Large, Shared, random_tokens

# the operation that gives a value to Python; on a CPU, that is all that can be seen
_VALUES = {"aten::_local_scalar_dense"}
# what the driver is asked when the host waits; torch reads values through the first of them
_CALLS = {"cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy"}
_CALLS |= {"hipStreamSynchronize", "hipDeviceSynchronize", "hipEventSynchronize", "hipMemcpy"}


def waits(setting: Setting, work: Callable[[], object]) -> int:
    """Return how often the host waits during some work; on a CPU, how often it needs a value."""
    # the profiler itself waits as well
    return _events(setting, work) - _events(setting, lambda: None)


def _events(setting: Setting, work: Callable[[], object]) -> int:
    activities = [ProfilerActivity.CPU]
    if setting.on_gpu:
        activities.append(ProfilerActivity.CUDA)
    setting.wait()
    with profile(activities=activities, acc_events=True) as seen:
        work()
    names = _CALLS if setting.on_gpu else _VALUES
    return sum(event.count for event in seen.key_averages() if event.key in names)


def waiting(setting: Setting) -> list[Row]:
    """Count in passes, per written token, and while continuations are scored."""
    large = Large.of(setting, APART)
    shape = large.shape
    lm = large.sweep()
    cuts = [Cut.up_to(boundary, lm.layers) for boundary in range(lm.layers - 1, -2, -1)]
    shared = Shared(lm, cuts, setting)
    count, width = setting.pick((4, 300), (2, 6))
    equal = random_tokens(shape, count, width)
    shared.read(equal)
    rows = [at_most("reading prompts of one length", waits(setting, lambda: shared.read(equal)), 0)]
    read = shared.read(equal)
    shared.write(read)
    rows.append(at_most("a step of writing", waits(setting, lambda: shared.write(read)), 0))
    shared.part(read)
    shared.write(read)
    again = shared.read(equal)
    shared.write(again)

    def part() -> None:
        shared.part(again)
        shared.write(again)

    rows.append(at_most("a step in which all cuts part", waits(setting, part), 0))
    few, many = setting.pick((4, 36), (2, 6))
    prompts = list(texts(count, width, shape.vocabulary))
    uneven = [" ".join(text.split()[: width - number]) for number, text in enumerate(prompts)]
    boundaries = range(lm.layers - 1, -2, -1)
    engines = find_engines(lm, "fork")
    # at the first time, it is tried how responses end
    swept(lm, boundaries, generations(prompts, few), engines=engines)
    for name, asked in (("one length", prompts), ("mixed lengths", uneven)):
        least, most = (
            waits(setting, lambda: swept(lm, boundaries, generations(asked, length),  # noqa: B023
                                         engines=engines))
            for length in (few, many)
        )  # fmt: skip
        each = (most - least) / (many - few)
        rows.append(at_most(f"for each written token, prompts of {name}", each, 1))
    scored = choices(prompts, list(texts(2, 3, shape.vocabulary, seed=9)))
    found = waits(setting, lambda: swept(lm, boundaries, scored, engines=engines))
    rows.append(Row(f"scoring {len(scored)} continuations of {count} prompts", found))
    return rows
