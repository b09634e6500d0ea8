"""Draw ``shared-forward.svg``: python docs/images/draw_shared_forward.py."""

from __future__ import annotations

from pathlib import Path

LAYERS = 6
LEFT, BASELINE = 92, 374  # of the lowest layer's row of boxes: left edge and lower edge
STEP, RISE = 92, 52  # between columns and between layers
WIDTH, HEIGHT = 64, 30  # of a box
STYLE = """
  .panel { fill: #ffffff; stroke: #d5dae1; }
  text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2933; }
  .small { font-size: 12.5px; fill: #52606d; }
  .title { font-weight: 600; }
  .middle { text-anchor: middle; }
  .end { text-anchor: end; }
  .lora { fill: #2f6fde; stroke: #2f6fde; }
  .inlora { fill: #ffffff; text-anchor: middle; font-size: 12.5px; }
  .plain { fill: #eef1f5; stroke: #9aa5b1; }
  .flow { stroke: #2f6fde; stroke-width: 2.5; fill: none; }
  .copy { stroke: #7b8794; stroke-width: 1.6; fill: none; }
  .tip { fill: #7b8794; }
  .tiplora { fill: #2f6fde; }
  @media (prefers-color-scheme: dark) {
    .panel { fill: #1b2027; stroke: #3a434e; }
    text { fill: #e4e9f0; }
    .small { fill: #a9b4c0; }
    .lora { fill: #3b7bea; stroke: #3b7bea; }
    .plain { fill: #2c343e; stroke: #77828f; }
    .flow { stroke: #5b95f5; }
    .copy { stroke: #95a1ae; }
    .tip { fill: #95a1ae; }
    .tiplora { fill: #5b95f5; }
  }
"""


def top(layer: int) -> float:
    """Return the upper edge of a layer's boxes."""
    return BASELINE - layer * RISE - HEIGHT


def middle(column: int) -> float:
    """Return where the middle of a column is."""
    return LEFT + column * STEP + WIDTH / 2


def box(column: int, layer: int, kind: str) -> str:
    """Return the box of one layer in one column."""
    x, y = LEFT + column * STEP, top(layer)
    drawn = f'<rect class="{kind}" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
    if kind == "lora":
        drawn += f'<text class="inlora" x="{middle(column)}" y="{y + 20}">LoRA</text>'
    return drawn


def arrow(points: list[tuple[float, float]], kind: str) -> str:
    """Return a line through points with a tip that points up."""
    path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
    x, y = points[-1]
    tip = "tiplora" if kind == "flow" else "tip"
    return (
        f'<path class="{kind}" d="{path}"/><path class="{tip}" d="M{x:g} {y - 6:g} l-4.5 8 h9 z"/>'
    )


def column(number: int, boundary: int) -> list[str]:
    """Return what is drawn for a boundary: its layers without LoRA, and how it comes there."""
    first, x = boundary + 1, middle(number)
    enters = BASELINE + 14 if boundary == -1 else top(boundary) - 6
    parts = [arrow([(middle(0), enters), (x, enters), (x, top(first) + HEIGHT + 6)], "copy")]
    for layer in range(first, LAYERS):
        parts.append(box(number, layer, "plain"))
        if layer > first:
            parts.append(arrow([(x, top(layer - 1)), (x, top(layer) + HEIGHT + 6)], "copy"))
    return parts


def drawing() -> str:
    """Return the SVG."""
    width, height = LEFT + (LAYERS + 1) * STEP + 6, BASELINE + 92
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="title">',
        '<title id="title">One forward pass of six layers answers for seven cuts</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="panel" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="10"/>',
    ]
    for layer in range(LAYERS):
        y = top(layer) + 20
        parts.append(f'<text class="small end" x="{LEFT - 16}" y="{y}">layer {layer}</text>')
    for number, boundary in enumerate(range(LAYERS - 1, -2, -1)):
        x = middle(number)
        if number:
            parts += column(number, boundary)
        parts.append(
            arrow(
                [(x, top(LAYERS - 1)), (x, top(LAYERS) + HEIGHT + 2)], "copy" if number else "flow"
            )
        )
        parts.append(f'<text class="title middle" x="{x}" y="{top(LAYERS) + 12}">{boundary}</text>')
    notes = {0: "whole adapter", LAYERS: "base model"}
    for number, note in notes.items():
        parts.append(
            f'<text class="small middle" x="{middle(number)}" y="{top(LAYERS) - 6}">{note}</text>'
        )
    parts.append(f'<text class="small end" x="{LEFT - 16}" y="{top(LAYERS) + 12}">boundary</text>')
    # the rows that keep LoRA are drawn last, over the copies that leave them
    x = middle(0)
    parts.append(arrow([(x, BASELINE + 34), (x, BASELINE + 6)], "flow"))
    for layer in range(LAYERS):
        parts.append(box(0, layer, "lora"))
        if layer:
            parts.append(arrow([(x, top(layer - 1)), (x, top(layer) + HEIGHT + 6)], "flow"))
    parts.append(f'<text class="middle" x="{x}" y="{BASELINE + 52}">prompt</text>')
    separate, shared = LAYERS * (LAYERS + 1), LAYERS * (LAYERS + 3) // 2
    lines = (
        f"Each box runs once: {shared} layer passes for {LAYERS + 1} cuts, not {separate}.",
        "After layer K, a copy of the hidden states goes on without LoRA: boundary K.",
    )
    for number, (line, kind) in enumerate(zip(lines, ("title", "small"), strict=True)):
        y = BASELINE + 44 + 22 * number
        parts.append(f'<text class="{kind}" x="{middle(1) - 30}" y="{y}">{line}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    Path(__file__).with_name("shared-forward.svg").write_text(drawing(), encoding="utf-8")
