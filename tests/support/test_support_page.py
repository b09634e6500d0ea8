"""The page holds one line for every row, in order, and counts them right."""

from __future__ import annotations

from support_page import PAGE, ROWS, lines, page


def test_the_page_is_what_the_command_writes() -> None:
    assert len({each.title for each in ROWS}) == len(ROWS)
    assert lines().keys() >= {each.title for each in ROWS}
    assert PAGE.read_text(encoding="utf-8") == page(lines()), "run python tests/support/write.py"
