"""WMT test sets from sacrebleu's registry, split by document, and their metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from datasets import Dataset
from lm_eval.api.samplers import ContextSampler
from sacrebleu import SACREBLEU_DIR
from sacrebleu.dataset import DATASETS

from lm_eval_lora_boundary.errors import TaskDataError
from lm_eval_lora_boundary.harness.task_metrics import (
    length_metrics,
    length_metrics_characters,
    require_japanese,
)
from lm_eval_lora_boundary.harness.user_errors import exit_on_user_error

LANGUAGES = {
    "cs": "Czech",
    "de": "German",
    "en": "English",
    "he": "Hebrew",
    "ja": "Japanese",
    "ru": "Russian",
    "uk": "Ukrainian",
    "zh": "Chinese",
}

Row = dict[str, str]

_HELD_OUT = 5  # one document in five is for validation
_BLOCK = 10  # segments that are used as a document if the data does not name documents


@exit_on_user_error()
def load(langpair: str, **_metadata: object) -> WMTSplits:
    """Return the splits of a language pair.

    Args:
        langpair: Source and target language, such as ``"de-en"``.
        **_metadata: Arguments that lm-eval adds from the task's metadata and ``--metadata``.

    Raises:
        MissingPackageError: BLEU of the target language needs a package that is not installed.
    """
    if langpair.endswith("-ja"):
        require_japanese()
    return WMTSplits(langpair)


class WMTSplits(Mapping[str, Dataset]):
    """The splits of one language pair, each read when it is first used.

    ``test`` is WMT23. ``validation`` and ``train`` are WMT22, so a zero-shot evaluation does not
    download it. A pair that is not in WMT22 has no ``train``, and its ``validation`` is a part of
    WMT23. Splits have no document and no source text in common.
    """

    def __init__(self, langpair: str) -> None:
        """Take a language pair such as ``"de-en"``; nothing is read yet."""
        self._langpair = langpair
        self._has_wmt22 = langpair in DATASETS["wmt22"].langpairs

    def __getitem__(self, split: str) -> Dataset:
        """Return a split, which is read once."""
        if split not in self:
            raise KeyError(split)
        dataset: Dataset = getattr(self, f"_{split}")
        return dataset

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the splits."""
        return iter(("train", "validation", "test") if self._has_wmt22 else ("validation", "test"))

    def __len__(self) -> int:
        """Return the number of splits."""
        return sum(1 for _ in self)

    def __contains__(self, split: object) -> bool:
        """Return whether there is such a split; nothing is read."""
        return split in tuple(self)

    @cached_property
    def _wmt23(self) -> list[Row]:
        return read_test_set("wmt23", self._langpair)

    @cached_property
    def _parts(self) -> tuple[list[Row], list[Row]]:
        return split_documents(
            read_test_set("wmt22", self._langpair) if self._has_wmt22 else self._wmt23
        )

    @cached_property
    def _test(self) -> Dataset:
        return Dataset.from_list(self._wmt23 if self._has_wmt22 else self._parts[1])

    @cached_property
    def _validation(self) -> Dataset:
        return Dataset.from_list(without_sources(self._parts[0], self._test))

    @cached_property
    def _train(self) -> Dataset:
        return Dataset.from_list(
            without_sources(self._parts[1], chain(self._validation, self._test))
        )


def read_test_set(name: str, langpair: str) -> list[Row]:
    """Return the segments of an official test set, which sacrebleu downloads and verifies.

    Raises:
        TaskDataError: The data cannot be downloaded or is damaged.
    """
    test_set = DATASETS[name]
    try:
        files = dict(zip(test_set.fieldnames(langpair), test_set.get_files(langpair), strict=True))
        paths = (files["docid"], files["src"], test_set.get_reference_files(langpair)[0])
        columns = [Path(path).read_text(encoding="utf-8").splitlines() for path in paths]
        segments = list(zip(*columns, strict=True))
        if not segments:
            raise ValueError("the files contain no segments")
    # sacrebleu exits on a wrong checksum, and raises any other error: network, archive, XML, files
    except (Exception, SystemExit) as error:
        reason = (
            "sacrebleu stopped the download, probably because of a wrong checksum"
            if isinstance(error, SystemExit)
            else " ".join(f"{type(error).__name__}: {error}".split())
        )
        raise TaskDataError(
            f"Cannot read the test set {name} {langpair} through sacrebleu ({reason}). Check the "
            f"network, delete {Path(SACREBLEU_DIR, name)} if a download was cut short, or set "
            "SACREBLEU to a folder that already holds the test set."
        ) from error
    source_language, target_language = (LANGUAGES[code] for code in langpair.split("-"))
    return [
        {
            "id": f"{name}/{langpair}/{index}",
            "docid": docid.strip(),
            "source_language": source_language,
            "target_language": target_language,
            "source": source.strip(),
            "reference": reference.strip(),
        }
        for index, (docid, source, reference) in enumerate(segments)
    ]


def split_documents(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows of one document in five, and the other rows.

    Documents are chosen by a hash of their id, so language pairs with the same documents hold out
    the same ones. If all segments have the same document id, blocks of about ten neighbouring
    segments are used as documents.
    """
    keys = [row["docid"] for row in rows]
    if len(set(keys)) == 1:
        blocks = max(_HELD_OUT, len(rows) // _BLOCK)
        keys = [f"block {index * blocks // len(rows)}" for index in range(len(rows))]
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    held_out = set(ranked[: max(1, len(ranked) // _HELD_OUT)])
    parts: tuple[list[Row], list[Row]] = [], []
    for key, row in zip(keys, rows, strict=True):
        parts[key not in held_out].append(row)
    return parts


def without_sources(rows: list[Row], other_rows: Iterable[Row]) -> list[Row]:
    """Return the rows that have both texts and whose source is not in the other rows.

    Short segments ("Thank you.") are in many documents. None may be in training and then be scored.
    Letter case and whitespace are ignored.
    """
    seen = {_key(row["source"]) for row in other_rows}
    return [
        row
        for row in rows
        if row["source"] and row["reference"] and _key(row["source"]) not in seen
    ]


def _key(text: str) -> str:
    return " ".join(text.casefold().split())


class TrainSplitSampler(ContextSampler):
    """Draws few-shot examples from the train split, which is read when it is first used.

    lm-eval reads ``fewshot_split`` when it builds a task, and so would download WMT22 for zero-shot
    runs too. Here the task's ``samples`` are the arguments of `load` instead.
    """

    def fewshot_docs(self) -> list[Row]:
        """Return the documents of the train split."""
        if not self._loaded:
            self.replace_df([row for arguments in self.df for row in load(**arguments)["train"]])
        return self.df

    def replace_df(self, df: list[Row]) -> TrainSplitSampler:
        """Draw from the given documents from now on."""
        self.df = df
        self._loaded = True
        return self


def process_results(doc: Row, results: list[str]) -> dict[str, Any]:
    """Return the reference and response for the corpus metrics, and the length ratios in words."""
    item = (doc["reference"], results[0].strip())
    return {"bleu": item, "chrf": item, **length_metrics(results[0], doc["reference"])}


def process_results_characters(doc: Row, results: list[str]) -> dict[str, Any]:
    """Return the same, with the length ratios in characters, for Chinese and Japanese."""
    lengths = length_metrics_characters(results[0], doc["reference"])
    return {**process_results(doc, results), **lengths}
