"""Records in prose, to be returned as JSON objects, and how the responses are scored.

All of it is made up, by a fixed rule. The splits share no name of a person, town or thing, and no
order number, so no fact of one split is in another.
"""

from __future__ import annotations

import json
import random
from typing import Any

import datasets

from lm_eval_lora_boundary.harness.task_metrics import length_metrics

_SIZES = {"train": 1200, "validation": 200, "test": 300}
_WORDS = {
    "train": {
        "first": "Ada Ben Cora Dan Eva Finn Gwen Hugo Ida Jon Kate Leo Mia Ned Olga Paul",
        "last": "Abbot Barlow Carver Dalton Eccles Fenton Garner Hollis Ingram Jessop Kirby",
        "town": "Ashford Brigg Corby Dover Exeter Filey Goole Hexham Ilkley Jarrow Kendal Luton",
        "thing": "lamp chair kettle jacket basket ladder mirror carpet bucket guitar wallet",
        "day": "Monday Tuesday Wednesday",
    },
    "validation": {
        "first": "Quentin Rosa Sven Tara Umar Vera Will Yara",
        "last": "Quayle Rowley Sutton Tanner Underhill Vickers Walsh Yardley",
        "town": "Quorn Ripon Selby Truro Upton Ventnor Whitby Yarm",
        "thing": "blanket hammer pillow teapot vase drum",
        "day": "Thursday Sunday",
    },
    "test": {
        "first": "Alma Boris Clive Della Enzo Flora Gus Hanna Ivor Joan Karl Lena",
        "last": "Archer Bolton Crowe Draper Emery Foster Gibbs Hardy Irwin Joyce Keane Lamb",
        "town": "Alton Bodmin Crewe Derby Epsom Frome Grays Hove Kelso Leek Malton Oban",
        "thing": "barrel clock curtain helmet kite oven rug saddle tent trumpet",
        "day": "Friday Saturday",
    },
}
# numbers of a split leave this rest when divided by three
_REST = {"train": 0, "validation": 1, "test": 2}
_CUSTOMER = (
    "{name} from {town} ordered {quantity} {item} on {day}.",
    "On {day}, {name} from {town} ordered {quantity} {item}.",
    "{quantity} {item} were ordered on {day} by {name}, who lives in {town}.",
)
_ORDER = (
    "The order has the number {order}.",
    "It is order number {order}.",
    "The number of this order is {order}.",
)
_PAID = {
    True: ("It has been paid.", "The bill is paid.", "Payment has arrived."),
    False: ("It has not been paid.", "The bill is still open.", "Payment has not arrived yet."),
}
# the order of the keys in the object, and the type of each value
_TYPES = {
    "name": str,
    "town": str,
    "item": str,
    "quantity": int,
    "day": str,
    "order": int,
    "paid": bool,
}


def load(**_: Any) -> datasets.DatasetDict:
    """Return the three splits, the same at every call."""
    return datasets.DatasetDict(
        {
            split: datasets.Dataset.from_list([document(split, i) for i in range(size)])
            for split, size in _SIZES.items()
        }
    )


def document(split: str, index: int) -> dict[str, str]:
    """Return one document: a record, and the object that holds its facts.

    Args:
        split: ``train``, ``validation`` or ``test``.
        index: Number of the document; it seeds the generator.
    """
    # a string gives the same random numbers on every platform and Python version
    rng = random.Random(f"json {split} {index}")
    words = {kind: rng.choice(text.split()) for kind, text in _WORDS[split].items()}
    facts: dict[str, Any] = {
        "name": f"{words['first']} {words['last']}",
        "town": words["town"],
        "item": f"{words['thing']}s",
        "quantity": rng.randrange(2, 40),
        "day": words["day"],
        # no number twice in a split
        "order": 1000 + 3 * (index * 5 + rng.randrange(5)) + _REST[split],
        "paid": rng.random() < 0.5,
    }
    sentences = [rng.choice(_CUSTOMER).format(**facts)]
    more = [rng.choice(_ORDER).format(**facts), rng.choice(_PAID[facts["paid"]])]
    rng.shuffle(more)
    return {
        "record": " ".join(sentences + more),
        "answer": json.dumps({key: facts[key] for key in _TYPES}),
    }


def process_results(doc: dict[str, str], results: list[str]) -> dict[str, Any]:
    """Return the metrics of one document.

    ``valid_json`` is 1 for an object with exactly the keys, each with a value of the right type.
    ``exact_match`` is 1 for the right object, in any order and with any whitespace. Both are 0 if
    there is anything beside the object. ``field_accuracy`` is the share of the keys that have the
    right value.
    """
    response, gold = results[0], json.loads(doc["answer"])
    found = read_object(response)
    right = [key in found and _same(found[key], value) for key, value in gold.items()]
    valid = found.keys() == gold.keys() and all(
        type(found[key]) is kind for key, kind in _TYPES.items()
    )
    return {
        "exact_match": float(valid and all(right)),
        "valid_json": float(valid),
        "field_accuracy": sum(right) / len(right),
        **length_metrics(response, doc["answer"]),
    }


def read_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a text is; an empty one if it is anything else.

    An object with a key twice is none: which value counts would depend on the reader.
    """
    try:
        value = json.loads(text.strip(), object_pairs_hook=_pairs)
    # a long run of brackets ends in a RecursionError, and a number of thousands of digits in a
    # ValueError
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _same(found: Any, gold: Any) -> bool:
    return type(found) is type(gold) and found == gold  # to Python, 1 equals True and 1.0
