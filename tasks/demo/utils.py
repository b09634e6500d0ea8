"""Questions about a fictional world, so that no model can know the answers.

A document says where each of four people works, and in which town each workplace is. The question
asks for the town in which one of them works, so the answer combines two facts. The splits share no
name of a person, workplace or town.
"""

from __future__ import annotations

import random
from typing import Any

import datasets

_SYLLABLES = {
    "train": "bra den fol gar hin jor kel lum mor nes",
    "validation": "pra quin ros sel tam und vor wex yan zel",
    "test": "ost fen cla dru eri gos hul ick kra lod",
}
_WORKPLACES = {
    "train": ["Mill", "School", "Bakery", "Garage"],
    "validation": ["Library", "Brewery", "Clinic", "Harbour"],
    "test": ["Theatre", "Foundry", "Museum", "Nursery"],
}
_SIZES = {"train": 2000, "validation": 200, "test": 200}
_PEOPLE = 4


def load(**_: Any) -> datasets.DatasetDict:
    """Return the three splits, the same at every call."""
    return datasets.DatasetDict(
        {
            split: datasets.Dataset.from_list([document(split, i) for i in range(size)])
            for split, size in _SIZES.items()
        }
    )


def document(split: str, index: int) -> dict[str, str]:
    """Return one document: facts, a question and its answer.

    Args:
        split: ``train``, ``validation`` or ``test``.
        index: Number of the document; it seeds the generator.
    """
    # a string gives the same random numbers on every platform and Python version
    rng = random.Random(f"{split} {index}")
    syllables = _SYLLABLES[split].split()
    names = _distinct(rng, syllables, 4 * _PEOPLE)
    people, families, towns, places = (names[i::4] for i in range(4))
    rows = [
        (f"{person} {family}", f"the {place} {rng.choice(_WORKPLACES[split])}", town)
        for person, family, town, place in zip(people, families, towns, places, strict=True)
    ]
    facts = []
    for person, place, town in rows:
        pair = [f"{person} works at {place}.", f"{place[0].upper()}{place[1:]} is in {town}."]
        rng.shuffle(pair)
        facts += pair
    person, _, town = rng.choice(rows)
    return {
        "facts": " ".join(facts),
        "question": f"In which town does {person} work?",
        "answer": town,
    }


def _distinct(rng: random.Random, syllables: list[str], count: int) -> list[str]:
    """Draw distinct names of two syllables."""
    pairs = [f"{a}{b}".capitalize() for a in syllables for b in syllables if a != b]
    return rng.sample(pairs, count)
