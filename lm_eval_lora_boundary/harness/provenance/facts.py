"""Plain facts about an adapter, about what is in use, and about the requests of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """A token.

    Attributes:
        number: Its id; None if the tokenizer in use does not have it.
        text: What it stands for.
    """

    number: int | None
    text: str

    def __str__(self) -> str:
        """Return the token as notes show it."""
        shown = quoted(self.text)
        return shown if self.number is None else f"{self.number} {shown}"


@dataclass(frozen=True)
class Template:
    """A chat template.

    Attributes:
        source: The template itself.
        rendered: A short chat as it renders it; None if it cannot.
    """

    source: str
    rendered: str | None = None

    def differs(self, other: Template) -> bool:
        """Return whether two templates are known to make different prompts."""
        both = self.rendered is not None and other.rendered is not None
        return both and self.source != other.source and self.rendered != other.rendered


@dataclass(frozen=True)
class OwnTokenizer:
    """The tokenizer in an adapter's folder, compared with the one in use.

    Attributes:
        missing: Its tokens that the one in use lacks, apart from padding.
        moved: Its tokens that have other ids in the one in use.
        splits_differ: Whether it splits a text into other tokens.
        eos: Its end-of-sequence token, with its id in the one in use.
    """

    missing: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    splits_differ: bool = False
    eos: Token | None = None


@dataclass(frozen=True)
class Trained:
    """What an adapter's folder says about its training; None for what is not known.

    Attributes:
        adapter: The adapter as the user named it.
        base: The base model that its config names.
        revision: The base model's revision in its config.
        tokenizer: Its own tokenizer.
        template: Its own chat template.
        chat: Whether its ``training.json`` says that prompts had a chat template.
        ending: The last token of every answer, by its ``training.json``.
    """

    adapter: str
    base: str | None = None
    revision: str | None = None
    tokenizer: OwnTokenizer | None = None
    template: Template | None = None
    chat: bool | None = None
    ending: Token | None = None


@dataclass(frozen=True)
class InUse:
    """The base model and the tokenizer of a run; None for what is not known.

    Attributes:
        base: Name of the base model, as the user gave it.
        origins: Its other names.
        revision: Its revision on the hub.
        commit: Its commit there.
        bits: Bits of a weight: 4 or 8 if it is quantised, 16 or 32 if it is not.
        precision: The weights in words.
        template: The tokenizer's chat template.
        bos: The tokenizer's beginning-of-sequence token.
    """

    base: str | None = None
    origins: tuple[str, ...] = ()
    revision: str | None = None
    commit: str | None = None
    bits: int | None = None
    precision: str = ""
    template: Template | None = None
    bos: int | None = None


@dataclass(frozen=True)
class Stops:
    """What ends a response.

    Attributes:
        tokens: Tokens that end it.
        strings: Strings that end it.
    """

    tokens: tuple[Token, ...]
    strings: tuple[str, ...]

    def end(self, token: Token) -> bool:
        """Return whether a response ends with a token."""
        if any(token.number is not None and token.number == each.number for each in self.tokens):
            return True
        return any(string in token.text for string in self.strings)


@dataclass(frozen=True)
class Asked:
    """What the requests of a run have shown so far.

    Attributes:
        chat: Whether prompts have a chat template.
        start: The first tokens of the first prompt.
        stops: What ends responses, in all ways that requests ask for; none if nothing is generated.
        from_chats: Whether documents are chats, which have no prompt without a template.
    """

    chat: bool = False
    start: tuple[Token, ...] = ()
    stops: Sequence[Stops] = ()
    from_chats: bool = False


@dataclass(frozen=True)
class Spelling:
    """How the options of a command line are spelled, for remedies.

    Attributes:
        dash: What joins the words of an option.
    """

    dash: str

    @property
    def chat(self) -> str:
        """The option that asks for the chat template."""
        return f"--apply{self.dash}chat{self.dash}template"

    @property
    def model_args(self) -> str:
        """The option that takes arguments of the model."""
        return f"--model{self.dash}args"

    @property
    def gen_kwargs(self) -> str:
        """The option that takes generation arguments."""
        return f"--gen{self.dash}kwargs"


LM_EVAL = Spelling("_")
COMMANDS = Spelling("-")  # of lora-boundary


def quoted(text: str, longest: int = 40) -> str:
    """Return a text in quotes on one line; of a long one the beginning."""
    return json.dumps(text if len(text) <= longest else f"{text[:longest]}…", ensure_ascii=False)
