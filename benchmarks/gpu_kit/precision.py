"""In bf16: how many responses differ, beside how many of ``hf`` differ from batch to batch."""

from __future__ import annotations

from lm_eval_lora_boundary.harness.sweep_lm import SweepLM

from .answers import different, generations, loaded, swept
from .models import small
from .rows import Row
from .setting import Setting


def precision(setting: Setting) -> list[Row]:
    """Count responses that differ from those of ``hf`` in batches of one."""
    model = small(setting)
    lm = loaded(model, setting, "bfloat16", SweepLM)
    layers = model.layers
    boundaries = sorted({layers // 4, layers // 2, layers - 1})
    count, width = setting.pick((20, 80), (4, 8))
    work = generations(model.prompts(count, width), setting.pick(32, 6))
    one = swept(lm, boundaries, work, engine="toggle", rows=1)
    rows = [Row("model", model.name)]
    share = {}
    for name, engine, size in (
        ("the shared forward", "fork", None),
        ("hf in batches of 8", "toggle", 8),
    ):
        changed, all_ = different(swept(lm, boundaries, work, engine=engine, rows=size), one)
        share[name] = changed / all_
        rows.append(
            Row(f"responses of {name} unlike those of hf one by one, of {all_}", share[name])
        )
    # of about sixty responses, a share is known to several percent
    ours, theirs = share.values()
    most = theirs + 0.1
    rows.append(
        Row("the shared forward against hf itself", ours - theirs, "", "≤ 0.1", ours <= most)
    )
    return rows
