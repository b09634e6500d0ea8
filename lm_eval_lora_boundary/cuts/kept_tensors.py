"""Which tensors of an adapter's file a cut keeps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import AdapterError
from .adapter_folder import PREFIX, shared
from .cut import LoraCut
from .keep import Cut


def kept_names(names: Iterable[str], model: LoraCut, cut: Cut | int, source: Path) -> list[str]:
    """Return the names, in the file ``source``, of the tensors that a cut keeps, sorted.

    Tensors that all modules share are kept.

    Raises:
        AdapterError: A tensor belongs to no module, by its name.
    """
    keeps = dict.fromkeys((module.name for module in model.modules), False)
    keeps |= dict.fromkeys((module.name for module in model.kept(cut)), True)
    kept = []
    for name in sorted(names):
        if shared(name):
            kept.append(name)
            continue
        owner = name.removeprefix(PREFIX)
        while owner and owner not in keeps:
            owner = owner.rpartition(".")[0]
        if not owner:
            raise AdapterError(
                f"{source} holds {name}, a name that the installed transformers and PEFT do not "
                "use, so its layer is unknown. Load the adapter with PEFT and save it again with "
                "save_pretrained(), then export that; or merge."
            )
        if keeps[owner]:
            kept.append(name)
    return kept
