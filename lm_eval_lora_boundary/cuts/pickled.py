"""Look into a file of pickled tensors before torch reads it.

``torch.load(weights_only=True)`` runs no code, but a small file can still make it take any amount
of memory or time. What ``torch.save`` writes of a dict of tensors needs only a few kinds of steps,
so all others are refused.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path

from ..untrusted import open_regular

_LARGEST_INDEX = 64 * 2**20  # bytes of the pickle, which holds names and shapes, not the tensors
_STEPS = {
    *("PROTO", "STOP", "MARK", "GLOBAL", "BINPERSID", "REDUCE", "BUILD", "NONE"),
    *("NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "BINFLOAT"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
}
# What may stand in a file twice. A tuple of twice a tuple of twice … takes forever to hash.
_REPEATED = {"BINUNICODE", "GLOBAL", "REDUCE"}
_NEEDED = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
    r"|torch [A-Za-z0-9]+Storage"
)


def check_pickled(path: Path) -> None:
    """Refuse a file that is not what ``torch.save`` writes of a dict of tensors.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds something else; the reason is one line.
    """
    with open_regular(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise ValueError(f"not an archive as torch.save writes it: {error}") from error
        with archive:
            entries = archive.infolist()
            if any(each.compress_type != zipfile.ZIP_STORED for each in entries):
                raise ValueError("compressed, which torch.save never does")
            index = [each for each in entries if each.filename.endswith("/data.pkl")]
            if len(index) != 1:
                raise ValueError(f"{len(index)} files data.pkl; expected one")
            if index[0].file_size > _LARGEST_INDEX:
                raise ValueError(f"data.pkl is larger than {_LARGEST_INDEX:,} bytes")
            try:
                content = archive.read(index[0])
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
                raise ValueError(f"damaged archive: {error}") from error
    _check_steps(content)


def _check_steps(content: bytes) -> None:
    """Refuse a pickle with steps that a dict of tensors does not need."""
    noted: dict[int, str] = {}
    before = ""
    for step, argument, _ in pickletools.genops(content):
        if step.name not in _STEPS:
            raise ValueError(f"the pickle step {step.name}, which tensors do not need")
        if step.name == "GLOBAL" and not _NEEDED.fullmatch(str(argument)):
            raise ValueError(f"{argument}, which tensors do not need; nothing was run")
        if step.name in ("BINPUT", "LONG_BINPUT"):
            noted[int(argument or 0)] = before
        repeats = step.name in ("BINGET", "LONG_BINGET")
        if repeats and noted.get(int(argument or 0)) not in _REPEATED:
            raise ValueError("a part that is used twice, which tensors do not need")
        before = step.name
