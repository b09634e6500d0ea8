"""The terminal's words about a sweep are true of what was scored."""

from __future__ import annotations

from lm_eval_lora_boundary.report.terminal import _caption


def test_the_caption_speaks_of_scored_boundaries_and_of_optimism_if_there_is_any() -> None:
    flattered = {"value": 0.03, "corrected": 0.57, "p_value": 0.2}
    found = {"smallest_equivalent": 10, "collapse": 11, "optimism": flattered}
    caption = _caption(found)
    assert "Smallest scored boundary not distinguishable from it: 10." in caption
    assert "Up to boundary 11, all that were scored are significantly worse" in caption
    assert "by about 0.030: 0.570 is fair" in caption
    nothing = {"value": 0.0, "corrected": 0.6, "p_value": 1.0}
    assert "better than it is" not in _caption(found | {"optimism": nothing})
