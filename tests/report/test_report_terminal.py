"""The captions in the terminal hold for the scored boundaries."""

from __future__ import annotations

from lm_eval_lora_boundary.report.terminal import _caption


def test_the_caption_names_scored_boundaries_and_optimism_if_there_is_any() -> None:
    flattered = {"value": 0.03, "corrected": 0.57, "p_value": 0.2}
    found = {"smallest_equivalent": 10, "collapse": 11, "optimism": flattered}
    caption = _caption(found)
    assert "Smallest scored boundary that is not significantly worse: 10." in caption
    assert "All scored boundaries up to 11 are significantly worse" in caption
    assert "Expect about 0.570 on new documents: choosing the best on these inflates" in caption
    nothing = {"value": 0.0, "corrected": 0.6, "p_value": 1.0}
    assert "inflates" not in _caption(found | {"optimism": nothing})
