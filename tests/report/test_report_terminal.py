"""The captions in the terminal hold for the scored boundaries."""

from __future__ import annotations

from lm_eval_lora_boundary.report.terminal import _caption


def test_the_caption_names_scored_boundaries_and_optimism_if_there_is_any() -> None:
    flattered = {"value": 0.03, "corrected": 0.57, "p_value": 0.2}
    rows = [{"boundary": 10, "selection_share": 0.25}, {"boundary": 29, "selection_share": 0.1}]
    found = {
        "best": 10,
        "not_chosen": None,
        "boundaries": rows,
        "collapse": 11,
        "optimism": flattered,
    }
    caption = _caption(found).replace("\u00a0", " ")
    assert "it is the best on the other half in 25 % of the cases." in caption
    assert "All scored boundaries up to 11 are significantly worse" in caption
    assert "About 0.570 is to be expected on other documents: choosing the best on these" in caption
    nothing = {"value": 0.0, "corrected": 0.6, "p_value": 1.0}
    assert "inflates" not in _caption(found | {"optimism": nothing})
