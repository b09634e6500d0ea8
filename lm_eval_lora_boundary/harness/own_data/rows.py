"""One row of a user's file: checked, and as prompt and gold answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import TaskError

ROLES = ("system", "user", "assistant")
TURNS = "messages"
SPLIT = "split"
_ANSWERS = ("response", "completion")
_OURS = ("prompt", TURNS, *_ANSWERS, SPLIT, "target")
_EXPECTED = "expected `prompt` and `response` (or `completion`), or `messages`"
# other names of the splits
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        place: File, line or number of the row, for messages.
        prompt: The prompt; None for a chat.
        turns: The turns of a chat before the gold answer, each with role and content.
        gold: The gold answer, without spaces at the ends.
        joint: What stands between prompt and gold answer if there is no chat template.
        split: The split that the file names; None if it names none.
        more: Its other fields, as text.
    """

    place: str
    prompt: str | None
    turns: tuple[Mapping[str, str], ...]
    gold: str
    joint: str = ""
    split: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> bytes:
        """A hash of the prompt: the same for a prompt as for a chat of this one turn.

        White space does not count, so that near copies have the same.
        """
        turns = self.turns or ({"role": "user", "content": self.prompt or ""},)
        words = [[turn["role"], " ".join(turn["content"].split())] for turn in turns]
        return hashlib.sha256(json.dumps(words).encode()).digest()

    @property
    def has_system_turn(self) -> bool:
        """Whether a system turn is among the turns of a chat."""
        return any(turn["role"] == "system" for turn in self.turns)


def check_row(place: str, found: Any) -> Row:
    """Return a row of a file.

    Args:
        place: Where it stands.
        found: The fields and their values.

    Raises:
        TaskError: It is not a row with a prompt and a gold answer.
    """
    if not isinstance(found, dict):
        raise TaskError(f"{place}: holds {_kind(found)}; {_EXPECTED}")
    given = {name: value for name, value in found.items() if value is not None}
    answers = [name for name in _ANSWERS if name in given]
    if TURNS in given:
        if "prompt" in given or answers:
            both = "prompt" if "prompt" in given else answers[0]
            raise TaskError(f"{place}: has both {TURNS} and {both}; {_EXPECTED}")
        turns, gold = _turns(place, given[TURNS])
        prompt, joint = None, ""
    else:
        if "prompt" not in given or len(answers) != 1:
            names = ", ".join(map(str, found)) or "none"
            raise TaskError(f"{place}: its fields are {names}; {_EXPECTED}")
        turns, prompt = (), _text(place, "prompt", given["prompt"])
        answer = _text(place, answers[0], given[answers[0]])
        gold = answer.strip()
        joint = _joint(answers[0], prompt, answer)
    return Row(place, prompt, turns, gold, joint, _split(place, given), _more(place, given))


def split_named(name: str) -> str | None:
    """Return the split that a name means; None if it means none."""
    return _SPLITS.get(name.strip().lower())


def _joint(name: str, prompt: str, answer: str) -> str:
    """Return what stands between a prompt and its answer.

    A ``completion`` follows as it is, as in TRL. Before a ``response`` there is a space, as in
    lm-eval, unless there is white space already.
    """
    space = answer[: len(answer) - len(answer.lstrip())]
    apart = space or prompt[-1:].isspace() or name == "completion"
    return space if apart else " "


def _turns(place: str, found: Any) -> tuple[tuple[dict[str, str], ...], str]:
    """Return the turns before the last answer of a chat, and that answer."""
    if not isinstance(found, list) or not found:
        raise TaskError(f"{place}: {TURNS} is {_kind(found)}; expected a list of turns")
    turns = [_turn(f"{place}, turn {number}", each) for number, each in enumerate(found, 1)]
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "assistant"), default=None)
    if not last or turns[last - 1]["role"] == "assistant":
        roles = ", ".join(turn["role"] for turn in turns)
        raise TaskError(
            f"{place}: the roles of its turns are {roles}; expected an assistant turn, whose last "
            "is the gold answer, after a user turn"
        )
    return tuple(turns[:last]), turns[last]["content"].strip()


def _turn(place: str, found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not isinstance(found.get("role"), str):
        raise TaskError(f"{place}: expected an object with `role` and `content`")
    if found["role"] not in ROLES or found.get("tool_calls"):
        what = "tool_calls" if found["role"] in ROLES else f"role {found['role']!r}"
        raise TaskError(f"{place}: has {what}; expected a text by one of {', '.join(ROLES)}")
    return {"role": found["role"], "content": _text(place, "content", found.get("content"))}


def _text(place: str, name: str, value: Any) -> str:
    """Return a text that is not empty; a whole number, such as a label, is one too."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise TaskError(f"{place}: {name} is {_kind(value)}; expected a text")
    if not value.strip():
        raise TaskError(f"{place}: {name} is empty; expected a text")
    return _whole(place, name, value)


def _whole(place: str, name: str, text: str) -> str:
    """Return a text that can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TaskError(f"{place}: {name} holds half a character; expected Unicode text") from error
    return text


def _split(place: str, given: Mapping[str, Any]) -> str | None:
    if SPLIT not in given:
        return None
    split = split_named(str(given[SPLIT]))
    if split is None:
        raise TaskError(
            f"{place}: {SPLIT} is {str(given[SPLIT])!r}; expected train, validation or test"
        )
    return split


def _more(place: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the other fields that are plain values, such as one for ``--cluster``."""
    return {
        str(name): _whole(place, str(name), str(value))
        for name, value in given.items()
        if name not in _OURS and isinstance(value, (str, int, float))
    }


def _kind(value: Any) -> str:
    """Return what a value of JSON is called."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    if value is None:
        return "missing"
    return "an empty list" if value == [] else names.get(type(value), "a number")
