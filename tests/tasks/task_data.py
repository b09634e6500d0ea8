"""Writes made-up data in the formats of the hub and of sacrebleu."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
from sacrebleu.dataset import DATASETS

COLOURS = ("red", "blue", "green", "yellow", "black", "white")


def hotpotqa_row(split: str, i: int) -> dict:
    colour = COLOURS[i % len(COLOURS)]
    return {
        "id": f"{split}{i}",
        "question": f" What colour is house {i} of {split}? ",
        "answer": ("yes", "no", f"the {colour} one", f"{colour}")[i % 4],
        "type": "bridge",
        "level": "easy",
        "supporting_facts": {"title": [f"House {i}"], "sent_id": [0]},
        "context": {
            "title": [f"House {i}", "Paint"],
            "sentences": [[f"House {i} is {colour}.", " It is old."], ["Paint dries."]],
        },
    }


def gsm8k_row(split: str, i: int) -> dict:
    return {
        "question": f"In {split}, Ann has {i} pears and gets 1,000 more. How many now?",
        "answer": f"She has {i}+1000=<<{i}+1000={i + 1000}>>{i + 1000} pears.\n#### {i + 1000:,}",
    }


def samsum_row(split: str, i: int) -> dict:
    return {
        "id": f"{split}{i}",
        "dialogue": f"Ann: Are you in {split} {i}?\nBob: Yes, running late\nAnn: Hurry! ",
        "summary": f"Bob is in {split} {i}. He runs late and Ann hurries him.",
    }


def write_parquet(folder: Path, splits: dict[str, list[dict]]) -> None:
    """Write one parquet file per split and the README that makes the folder a data set."""
    config = folder.name
    folder.mkdir(parents=True)
    lines = ["---", "configs:", f"- config_name: {config}", "  data_files:"]
    for split, rows in splits.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-00000-of-00001.parquet")
        lines += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    (folder.parent / "README.md").write_text("\n".join([*lines, "---", ""]))


def write_hub(root: Path) -> None:
    sizes = {"train": 40, "validation": 8, "test": 9}

    def splits(make_row, *names):
        return {name: [make_row(name, i) for i in range(sizes[name])] for name in names}

    write_parquet(
        root / "hotpotqa/hotpot_qa/distractor", splits(hotpotqa_row, "train", "validation")
    )
    write_parquet(root / "openai/gsm8k/main", splits(gsm8k_row, "train", "test"))
    samsum = splits(samsum_row, "train", "validation", "test")
    samsum["train"].append({"id": "empty", "dialogue": None, "summary": "Nothing was said."})
    write_parquet(root / "knkarthick/samsum/default", samsum)


def wmt_documents(name: str, langpair: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return documents, some of which share segments."""
    documents = []
    for d in range(15):
        # test sets differ in size, so that weighted and unweighted means differ
        more = (3 * ord(langpair[0]) + ord(langpair[3])) % 7 if d == 1 else 0
        segments = [
            (f"{name} source {d}.{s} {langpair[:2]}", f"{name} {langpair[3:]} text {d}.{s}")
            for s in range(2 + d % 3 + 5 * more)
        ]
        if d % 4 == 0:
            # these segments are in several documents of WMT22, and in WMT23
            segments.append((("Thank you!", "THANK  you!")[d % 8 == 0], "thanks"))
        documents.append((f"{name}-doc{d}", segments))
    return documents


def write_xml(path: Path, langpair: str, translator: str, documents) -> None:
    source_language, target_language = langpair.split("-")

    def block(tag: str, attributes: str, texts) -> str:
        rows = "".join(f'<seg id="{i}">{escape(t)}</seg>' for i, t in enumerate(texts, 1))
        return f"<{tag} {attributes}><p>{rows}</p></{tag}>"

    body = "".join(
        f'<doc id="{docid}" origlang="{source_language}">'
        + block("src", f'lang="{source_language}"', [source for source, _ in segments])
        + block(
            "ref",
            f'lang="{target_language}" translator="{translator}"',
            [reference for _, reference in segments],
        )
        + "</doc>"
        for docid, segments in documents
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n<dataset>{body}</dataset>\n')


def wmt_file(test_set, langpair: str) -> tuple[str, str]:
    """Return the path of a pair's XML file in ``raw/``, and the translator that sacrebleu uses."""
    entry = test_set.langpairs[langpair]
    default = test_set.kwargs["refs"]
    if isinstance(entry, dict):
        return entry["path"], entry.get("refs", default)[0]
    return entry[0], default[0]


def write_wmt(root: Path) -> None:
    """Write a sacrebleu cache with all language pairs of WMT23, in WMT22 too if it has them."""
    pairs = DATASETS["wmt23"].langpairs
    for name in ("wmt22", "wmt23"):
        test_set = DATASETS[name]
        raw = root / name / "raw"
        for langpair in pairs:
            if langpair in test_set.langpairs:
                path, translator = wmt_file(test_set, langpair)
                write_xml(raw / path, langpair, translator, wmt_documents(name, langpair))
        archive = raw / f"{name}.{test_set.data[0].rsplit('/', 1)[1]}"
        archive.write_text("unpacked beside this file")
