"""Notes: where an evaluation does not fit the training of the adapter, in one sentence each.

Each note says what was found in both places and what to do. What cannot be known makes no note.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from . import names
from .facts import Asked, InUse, Spelling, Stops, Trained, quoted

Note = dict[str, str]  # kind and text

_SHOWN = 4  # tokens of a kind
_AROUND = 30  # characters of a rendered chat on either side of a difference
_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Found:
    """All facts that notes are made from."""

    trained: Trained
    used: InUse
    asked: Asked
    spelling: Spelling


def notes(found: Found) -> list[Note]:
    """Return the notes about a run, in a fixed order."""
    texts = {kind: make(found) for kind, make in KINDS.items()}
    return [_note(kind, text) for kind, text in texts.items() if text is not None]


def same_as_base(tasks: Sequence[str]) -> list[Note]:
    """Return a note for each of these tasks, on which the adapter changed no answer."""
    return [
        _note(
            "same_as_base",
            f"on {task}, all answers with the adapter are those without it; check that the adapter "
            "is trained, and applied to the base model that it was trained on",
        )
        for task in tasks
    ]


def unknown_rows(data: str) -> Note:
    """Return a note about rows of the user's own that the adapter may have been trained on."""
    return _note(
        "unknown_rows",
        f"nothing says which rows the adapter was trained on, and {data} may hold some of them; "
        "use rows that it has not seen",
    )


def _note(kind: str, text: str) -> Note:
    return {"kind": kind, "text": text}


def _base(found: Found) -> str | None:
    """Compare the base model with the one that the adapter's config names."""
    named, used = found.trained.base, found.used
    if not named or not used.base or not names.differ(named, used.base, used.origins):
        return None
    return (
        f"{_CONFIG} names the base model {named}, and {used.base} is loaded; if these are not the "
        f"same weights, give {_pretrained(found, named)}"
    )


def _revision(found: Found) -> str | None:
    """Compare the revision of the base model, if the names agree."""
    named, used, commit = found.trained.revision, found.used.revision, found.used.commit
    if not named or not used or named == used or _base(found) is not None:
        return None
    if _is_commit(named) != _is_commit(used):
        # a branch may well be at that commit
        known = commit if _is_commit(named) else None
        if known is None or known.startswith(named):
            return None
        used = f"{used} ({known})"
    elif _is_commit(named) and (named.startswith(used) or used.startswith(named)):
        return None
    return (
        f"{_CONFIG} names revision {named} of the base model, and revision {used} is loaded; to "
        f"use that of the adapter, add revision={named} to {found.spelling.model_args}"
    )


def _bits(found: Found) -> str | None:
    """Compare the precision of the weights with the one that the base model's name speaks of."""
    named, used = found.trained.base, found.used
    loaded = used.bits
    if not named or loaded is None:
        return None
    said = names.bits(named)
    if said in (4, 8) and loaded != said:
        load = f"add load_in_{said}bit=True to {found.spelling.model_args}"
        remedy = _give(found, named) if names.is_packed(named) else load
        return (
            f"{_CONFIG} names a {said}-bit base model, {named}, and the weights loaded are "
            f"{used.precision}; to evaluate on weights like those it was trained on, {remedy}"
        )
    # An adapter that was trained on a model that is quantised while loading names the plain one,
    # so only a checkpoint that is stored quantised shows that it is another one.
    stored = used.base is not None and names.bits(used.base) in (4, 8)
    if loaded in (4, 8) and (said in (16, 32) or (said is None and stored)):
        return (
            f"{_CONFIG} names a base model that is not quantised, {named}, and the weights loaded "
            f"are {used.precision}; to evaluate on weights like those it was trained on, "
            f"{_give(found, named)} without load_in_{loaded}bit"
        )
    return None


def _tokenizer(found: Found) -> str | None:
    """Compare the adapter's own tokenizer with the one in use."""
    own = found.trained.tokenizer
    if own is None:
        return None
    if own.missing:
        what = f"has tokens that the one in use lacks ({_listed(own.missing)})"
    elif own.moved:
        what = f"gives other ids than the one in use to some tokens ({_listed(own.moved)})"
    elif own.splits_differ:
        what = "splits a text into other tokens than the one in use"
    else:
        return None
    return f"the adapter folder has a tokenizer of its own, which {what}; {_use_tokenizer(found)}"


def _chat_template(found: Found) -> str | None:
    """Compare how prompts are made with how they were made in training."""
    return _chat_on(found) if found.asked.chat else _chat_off(found)


def _chat_on(found: Found) -> str | None:
    trained, used = found.trained, found.used.template
    if trained.chat is False and found.asked.from_chats:
        return (
            "training.json says that the adapter was trained without a chat template, and the rows "
            "are chats, whose turns only a template can join; use rows with prompt and response, "
            "written as in the training"
        )
    if trained.chat is False:
        return (
            "training.json says that the adapter was trained without a chat template, and prompts "
            f"are made with one; leave out {found.spelling.chat}"
        )
    own = trained.template
    if own is None or used is None or not own.differs(used):
        return None
    theirs, ours = _where_different(own.rendered or "", used.rendered or "")
    return (
        f"the adapter folder has a chat template of its own, which writes {quoted(theirs, 99)} "
        f"where the one in use writes {quoted(ours, 99)}; {_use_tokenizer(found)}"
    )


def _chat_off(found: Found) -> str | None:
    trained, used = found.trained, found.used.template
    if trained.chat is False:
        return None
    if trained.chat:
        return (
            "training.json says that the adapter was trained with a chat template, and prompts are "
            f"made without one; add {found.spelling.chat}"
        )
    template = trained.template or used
    if template is None:
        return None
    whose = "adapter's" if trained.template else "base model's"
    remedy = f"add {found.spelling.chat}"
    if trained.template and (used is None or trained.template.differs(used)):
        remedy += f", and tokenizer={trained.adapter} to {found.spelling.model_args}"
    return (
        f"the {whose} tokenizer has a chat template, and prompts are made without one; if the "
        f"adapter was trained on chats, {remedy}"
    )


def _ending(found: Found) -> str | None:
    """Compare what ends responses with what ended the answers in training."""
    trained = found.trained
    token, what = trained.ending, "training.json says that the adapter was trained to end with"
    remedy = "add"
    if token is None and trained.tokenizer is not None:
        token, what = trained.tokenizer.eos, "the adapter's own tokenizer ends texts with"
        remedy = f"add tokenizer={trained.adapter} to {found.spelling.model_args}, or"
    if token is None:
        return None
    unlike = [stops for stops in found.asked.stops if not stops.end(token)]
    if not unlike:
        return None
    return (
        f"responses end at {_stops(unlike[0])}; {what} {token}, which does not end them: "
        f"{remedy} {quoted(token.text)} to until ({found.spelling.gen_kwargs})"
    )


def _prompt(found: Found) -> str | None:
    """Show how the first prompt begins."""
    start = found.asked.start
    return f"the first prompt begins with {', '.join(map(str, start))}" if start else None


def _two_bos(found: Found) -> str | None:
    """Say if it begins with the same beginning-of-sequence token twice."""
    bos, start = found.used.bos, found.asked.start
    if bos is None or [token.number for token in start[:2]] != [bos, bos]:
        return None
    return (
        f"the first prompt begins with two BOS tokens ({start[0]}), and adapters are usually "
        f"trained with one; add add_bos_token=False to {found.spelling.model_args}, or take the "
        "BOS out of the task's prompt or the chat template"
    )


KINDS: dict[str, Callable[[Found], str | None]] = {
    "base_model": _base,
    "revision": _revision,
    "bits": _bits,
    "tokenizer": _tokenizer,
    "chat_template": _chat_template,
    "ending": _ending,
    "prompt": _prompt,
    "two_bos": _two_bos,
}


def _give(found: Found, name: str) -> str:
    return f"give {_pretrained(found, name)}"


def _pretrained(found: Found, name: str) -> str:
    return f"pretrained={name}" if found.spelling.dash == "_" else f"--pretrained {name}"


def _use_tokenizer(found: Found) -> str:
    return f"to use it, add tokenizer={found.trained.adapter} to {found.spelling.model_args}"


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(map(quoted, texts[:_SHOWN])) + more


def _stops(stops: Stops) -> str:
    texts = [str(token) for token in stops.tokens]
    # lm-eval adds the text of the tokenizer's own token
    known = {token.text for token in stops.tokens}
    texts += [quoted(string) for string in stops.strings if string not in known]
    return " or ".join(texts) or "no token"


def _where_different(theirs: str, ours: str) -> tuple[str, str]:
    """Return what two texts have around the first difference."""
    pairs = zip_longest(theirs, ours)
    place = next(i for i, (one, other) in enumerate(pairs) if one != other)
    start, end = max(0, place - _AROUND), place + _AROUND
    return theirs[start:end], ours[start:end]


def _is_commit(revision: str) -> bool:
    return len(revision) >= 7 and all(letter in "0123456789abcdef" for letter in revision)
