"""Which cuts a sweep scores: its boundaries, and the other families that were asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..cuts.boundaries import parse_boundaries
from ..cuts.families import DEFAULT, MEASURED, Adapted, Family, Importance, make_family
from ..cuts.keep import Cut
from ..errors import AdapterError
from ..harness.sweep_lm import SweepLM
from .settings import SweepSettings

logger = logging.getLogger("lm_eval.lora_boundary")

Measures = Mapping[str, Callable[[], Importance]]


@dataclass(frozen=True)
class CutsToScore:
    """The cuts of a sweep.

    Attributes:
        cuts: All of them, from the smallest to the largest; the base model and the whole adapter
            are among them, because the others are compared with these.
        families: The families that were asked for, other than ``upper``.
    """

    cuts: Sequence[Cut]
    families: Sequence[Family]


def adapted(lm: SweepLM, measures: Measures) -> Adapted:
    """Return what families may know of a model."""
    return Adapted(lm.layers, sorted({module.depth for module in lm.cut.modules}), measures)


def find_cuts(
    lm: SweepLM, settings: SweepSettings, traced: str | None, measures: Measures
) -> CutsToScore:
    """Return the cuts to score.

    Args:
        lm: The model.
        settings: The sweep.
        traced: The boundaries that a trace suggests; None for those of the settings.
        measures: How much each layer matters, by measure.

    Raises:
        BoundaryError: A cut is not one of the model's.
        AdapterError: A cut cannot be scored.
    """
    model = adapted(lm, measures)
    boundaries = boundaries_to_score(lm, settings, traced)
    names = [name for name in settings.family if name != DEFAULT]
    families: dict[str, Family] = {}
    # orders that need a measure come last: what cannot be scored is refused before long work
    for name in sorted(names, key=lambda name: name in MEASURED):
        families[name] = make_family(name, model)
        lm.check([cut for cut in families[name].cuts if not cut.keeps_none])
    others = {cut for family in families.values() for cut in family.cuts}
    cuts = usable(lm, {*boundaries, *others})
    # the base model may be left out
    return CutsToScore(cuts, [families[name].keep(set(cuts)) for name in names])


def boundaries_to_score(
    lm: SweepLM, settings: SweepSettings, traced: str | None = None
) -> list[Cut]:
    """Return the boundaries to score, ascending; of ``all``, without those that equal the base.

    The base model and the whole adapter are always among them: the others are compared with these.

    Raises:
        BoundaryError: A boundary is not one of the model's.
        AdapterError: A boundary was given that cannot be scored.
    """
    full = lm.layers - 1
    boundaries = parse_boundaries(traced or settings.boundaries, lm.layers)
    if DEFAULT not in settings.family:
        boundaries = [-1, full]
    elif settings.boundaries.strip() == "all":
        same = [b for b in boundaries if b >= 0 and not lm.cut.kept(b)]
        if same:
            logger.info("boundaries up to %d keep no module: they equal the base model", max(same))
        boundaries = [b for b in boundaries if b not in same]
    lm.check(boundaries)
    return usable(lm, {lm.cut.cut(boundary) for boundary in {*boundaries, -1, full}})


def usable(lm: SweepLM, cuts: Iterable[Cut]) -> list[Cut]:
    """Return cuts from small to large, without the base model if it lacks rows for some tokens.

    Raises:
        AdapterError: Another cut cannot be scored.
    """
    ascending = sorted(cuts, key=lambda cut: cut.size)
    others = [cut for cut in ascending if not cut.keeps_none]
    lm.check(others)
    try:
        lm.check([cut for cut in ascending if cut.keeps_none])
    except AdapterError as error:
        logger.info("the base model is left out: %s", error)
        return others
    return ascending
