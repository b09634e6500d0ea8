"""What an adapter's folder says about its training. What it does not say is not known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers

from ...cuts.base_model import loading_base, local_folder
from ...errors import AdapterError, ModelError, OutputError
from ...files import read_object
from ..model_args import AskedCut
from .facts import OwnTokenizer, Template, Token, Trained

# what a repository on the hub may hold besides the adapter
_FILES = [
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt"),
    *("*.model", "chat_template*", "training.json"),
]
# with digits, a line break, spaces and letters beyond ASCII
_TEXT = "Question: what is  12 + 3456?\nAnswer: l'été, 3468."
_CHAT = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "Bye"},
]


def trained(
    asked: AskedCut, tokenizer: Any, chat_arguments: Mapping[str, Any], *, trust_remote_code: bool
) -> Trained:
    """Return what is known about the training of an adapter.

    Args:
        asked: What the user asks for, with an adapter.
        tokenizer: The tokenizer in use.
        chat_arguments: The arguments of the chat template in use.
        trust_remote_code: Whether tokenizers may run code of their own.
    """
    assert asked.adapter is not None
    assert asked.peft is not None
    folder = _folder(asked)
    own = own_tokenizer(folder, trust_remote_code=trust_remote_code)
    chat, ending = _training(folder)
    if ending is not None and not 0 <= ending < len(tokenizer):
        ending = None
    config = asked.adapter.config
    return Trained(
        adapter=asked.peft,
        base=_text(config.base_model_name_or_path),
        revision=_text(config.revision),
        tokenizer=None if own is None else compared(own, tokenizer),
        template=None if own is None else template_of(own, chat_arguments),
        chat=chat,
        ending=None if ending is None else token(ending, tokenizer),
    )


def own_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Return the tokenizer in a folder; None if there is none that can be loaded."""
    if not (folder / "tokenizer_config.json").is_file():
        return None
    try:
        with loading_base(str(folder)):
            return transformers.AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=trust_remote_code
            )
    except ModelError:
        return None


def compared(own: Any, used: Any) -> OwnTokenizer:
    """Compare an adapter's own tokenizer with the one in use.

    Padding tokens do not count, and neither do tokens that only the one in use has: a prompt that
    has them in its text is split differently.
    """
    theirs, ours = own.get_vocab(), used.get_vocab()
    unlike = [text for text in theirs if theirs[text] != ours.get(text)]
    padding = {own.pad_token, used.pad_token}
    unlike = sorted((text for text in unlike if text not in padding), key=theirs.__getitem__)
    splits = [each.encode(_TEXT, add_special_tokens=False) for each in (own, used)]
    return OwnTokenizer(
        missing=tuple(text for text in unlike if text not in ours),
        moved=tuple(text for text in unlike if text in ours),
        splits_differ=splits[0] != splits[1],
        eos=None if own.eos_token is None else Token(ours.get(own.eos_token), own.eos_token),
    )


def template_of(tokenizer: Any, arguments: Mapping[str, Any]) -> Template | None:
    """Return the chat template that a tokenizer uses if none is named; None if it has none."""
    source = tokenizer.chat_template
    if isinstance(source, dict):
        source = source.get("default")
    if not source:
        return None
    try:
        rendered = tokenizer.apply_chat_template(
            _CHAT, chat_template=source, tokenize=False, add_generation_prompt=True, **arguments
        )
    except Exception:  # noqa: BLE001 - a template is a program, and can raise anything
        return Template(source)
    return Template(source, rendered)


def token(number: int, tokenizer: Any) -> Token:
    """Return a token with its text."""
    return Token(number, tokenizer.decode([number], skip_special_tokens=False))


def _folder(asked: AskedCut) -> Path:
    """Return the folder with all files that matter here; of the adapter alone if that fails."""
    assert asked.adapter is not None
    try:
        return local_folder("peft", str(asked.peft), asked.peft_revision, _FILES, AdapterError)
    except AdapterError:
        return asked.adapter.path


def _training(folder: Path) -> tuple[bool | None, int | None]:
    """Return what ``training.json`` says: whether prompts were chats, and the last token."""
    path = folder / "training.json"
    try:
        record = read_object(path, "") if path.is_file() else {}
    except OutputError:
        record = {}
    settings, task = record.get("settings"), record.get("task")
    chat = settings.get("apply_chat_template") if isinstance(settings, dict) else None
    ending = task.get("ending") if isinstance(task, dict) else None
    last = ending[-1] if isinstance(ending, list) and ending else None
    known = isinstance(last, int) and not isinstance(last, bool)
    return chat if isinstance(chat, bool) else None, last if known else None


def _text(value: Any) -> str | None:
    """Return a text that can be shown in a line."""
    return value if isinstance(value, str) and value.strip() and value.isprintable() else None
