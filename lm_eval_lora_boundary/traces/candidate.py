"""A candidate boundary: the layer at which the probability of the gold answer rises sharply.

K is the layer whose output is the first to show the answer: the rise from the output of layer K-1
to that of layer K is the sharpest. Layers ``0..K`` find the answer and keep their LoRA; those above
only rework it. Resampled documents tell how sure that is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .curves import Array

DRAWS = 4_000
SEED = 1234
FLAT = 0.05  # a smaller rise from one layer to any later one does not count
SECOND = 0.5  # three other layers that rise by this share of the sharpest rise are a second step
AGREEING = 0.8  # share of draws that put the rise within one layer of where all documents do
_AT_ONCE = 500


@dataclass(frozen=True)
class Candidate:
    """A candidate boundary, or why there is none.

    Attributes:
        layer: The candidate K; None if the curves do not show a single boundary.
        low: 5 % quantile of the sharpest rise over resampled documents; None without draws.
        high: Its 95 % quantile.
        share: Share of draws whose sharpest rise is within one layer of that of all documents.
        verdict: One sentence.
    """

    layer: int | None
    low: int | None
    high: int | None
    share: float | None
    verdict: str


def find_candidate(curves: Array, draws: int = DRAWS) -> Candidate:
    """Find the sharpest rise of the mean curve, and check what speaks against it.

    Args:
        curves: Probability of the gold answer, ``(documents, layers)``.
        draws: How often to resample the documents.
    """
    documents, layers = curves.shape
    curve = curves.mean(axis=0)
    if documents < 2 or layers < 2:
        single = "document" if documents < 2 else "layer"
        return Candidate(None, None, None, None, f"no single boundary: there is one {single} only")
    layer = int(sharpest_rise(curve))
    places = _resampled(curves, draws)
    share = float((np.abs(places - layer) <= 1).mean())
    # these quantiles are layers, not values between two layers
    low, high = np.quantile(places, [0.05, 0.95], method="inverted_cdf").astype(int).tolist()
    obstacle = _obstacle(curve, layer)
    if not obstacle and share < AGREEING:
        obstacle = (
            f"uncertain: the sharpest rise is at layer {layer}, but resampled documents put it "
            f"there or one layer away in only {share:.0%} of draws, from layer {low} to {high}"
        )
    if obstacle:
        return Candidate(None, low, high, share, f"no single boundary, {obstacle}")
    return Candidate(
        layer,
        low,
        high,
        share,
        f"boundary {layer}: the probability of the gold answer rises most sharply at layer "
        f"{layer} (resampled documents: {low} to {high}, {share:.0%} within one layer)",
    )


def sharpest_rise(curves: Array) -> npt.NDArray[np.intp]:
    """Return the layer with the sharpest rise over the layer before, at least 1.

    Rises are averaged with their neighbours, with weights 1/4, 1/2, 1/4 (2/3 and 1/3 at the ends).
    A step keeps its place, and of two equal steps the one among other rises wins. In a tie, the
    first layer is returned.

    Args:
        curves: Probability at every layer, ``(…, layers)``, at least two layers.
    """
    rises = np.diff(curves, axis=-1)
    weights = np.full(rises.shape[-1], 2.0)
    smooth = 2 * rises
    for here, beside in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        smooth[..., here] += rises[..., beside]
        weights[here] += 1
    smooth /= weights
    # rounding must not break ties
    place: npt.NDArray[np.intp] = 1 + np.argmax(np.round(smooth, 12), axis=-1)
    return place


def _obstacle(curve: Array, layer: int) -> str:
    """Return why a curve does not have a single step, or ""."""
    total = float((curve - np.minimum.accumulate(curve)).max())
    if total < FLAT:
        return f"flat: the probability of the gold answer rises by {total:.3f}, less than {FLAT}"
    # the rises of three neighbouring layers together; the first three are around layer 2
    windows = np.convolve(np.diff(curve), np.ones(min(3, len(curve) - 1)), mode="valid")
    own = int(np.clip(layer - 2, 0, len(windows) - 1))
    apart = np.abs(np.arange(len(windows)) - own) >= 3  # no layer in common
    if not apart.any():
        return ""
    other = int(np.argmax(np.where(apart, windows, -np.inf)))
    if windows[other] < SECOND * windows[own]:
        return ""
    return (
        f"many steps: the probability of the gold answer rises by {windows[own]:.3f} around layer "
        f"{layer}, and by {windows[other]:.3f} around layer {other + 2}"
    )


def _resampled(curves: Array, draws: int) -> npt.NDArray[np.intp]:
    """Return the sharpest rise of the mean of resampled documents, ``(draws,)``."""
    documents = len(curves)
    generator = np.random.default_rng(SEED)
    equal = np.full(documents, 1 / documents)
    # counts of each document, some draws at a time
    return np.concatenate(
        [
            sharpest_rise(
                generator.multinomial(documents, equal, size=min(_AT_ONCE, draws - start))
                @ curves
                / documents
            )
            for start in range(0, draws, _AT_ONCE)
        ]
    )
