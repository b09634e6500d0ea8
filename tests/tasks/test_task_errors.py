"""Missing or damaged data ends in one clear line."""

from __future__ import annotations

import hashlib
import shutil
import tarfile

import pytest
from sacrebleu.dataset import DATASETS
from task_data import wmt_documents, wmt_file, write_xml
from task_helpers import load_task, load_utils

from lm_eval_lora_boundary.errors import TaskDataError

wmt23 = load_utils("wmt23")
WMT23 = DATASETS["wmt23"]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Use an empty sacrebleu cache."""
    folder = tmp_path / "sacrebleu" / "wmt23"
    monkeypatch.setattr(WMT23, "_outdir", str(folder))
    monkeypatch.setattr(WMT23, "_rawdir", str(folder / "raw"))
    return folder


@pytest.fixture
def archive(tmp_path, empty_cache, monkeypatch):
    """Return an archive in WMT's layout that sacrebleu downloads from a file:// address."""
    path, translator = wmt_file(WMT23, "de-en")
    source = tmp_path / "source"
    write_xml(source / path, "de-en", translator, wmt_documents("wmt23", "de-en"))
    file = tmp_path / "v.0.1.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        tar.add(source / path, arcname=path)
    monkeypatch.setattr(WMT23, "data", [file.as_uri()])
    monkeypatch.setattr(WMT23, "md5", [hashlib.md5(file.read_bytes()).hexdigest()])
    return file


def load_error():
    """Return the message of the error that loading a task raises."""
    with pytest.raises(TaskDataError) as caught:
        load_task("lora_boundary_wmt23_de-en")
    message = str(caught.value)
    assert message.startswith("Cannot read the test set wmt23 de-en through sacrebleu (")
    assert "\n" not in message
    assert "SACREBLEU" in message
    return message


# Python 3.12 and 3.13 warn that sacrebleu unpacks archives without a filter.
@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_download(archive):
    task = load_task("lora_boundary_wmt23_de-en")
    assert task.test_docs()[0]["source"] == "wmt23 source 0.0 de"


def test_no_network(archive):
    archive.unlink()
    assert "URLError" in load_error()


def test_wrong_checksum(archive):
    archive.write_bytes(archive.read_bytes() + b"?")
    assert "checksum" in load_error()


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_truncated_archive(archive, monkeypatch):
    archive.write_bytes(archive.read_bytes()[:200])
    monkeypatch.setattr(WMT23, "md5", [hashlib.md5(archive.read_bytes()).hexdigest()])
    load_error()


@pytest.fixture
def copied_cache(made_up, empty_cache):
    """Return a sacrebleu folder with all of WMT23, for tests to damage."""
    shutil.copytree(made_up / "sacrebleu" / "wmt23", empty_cache)
    return empty_cache


def test_damaged_xml(copied_cache):
    (xml,) = copied_cache.rglob("*.de-en.all.xml")
    xml.write_text(xml.read_text()[:500])
    assert "XMLSyntaxError" in load_error()


def test_missing_xml(copied_cache):
    shutil.rmtree(copied_cache / "raw" / "wmt23-news-systems-v.0.1")
    assert "FileNotFoundError" in load_error()


@pytest.mark.parametrize("lines", [0, 3])
def test_truncated_text(copied_cache, lines):
    wmt23.read_test_set("wmt23", "de-en")  # sacrebleu writes its text files
    text = copied_cache / "wmt23.de-en.src"
    text.write_text("".join(text.read_text().splitlines(keepends=True)[:lines]))
    assert "ValueError" in load_error()


def test_no_segments(copied_cache):
    (xml,) = copied_cache.rglob("*.de-en.all.xml")
    write_xml(xml, "de-en", "refA", [("d", [("", "")])])
    for text in copied_cache.glob("wmt23.de-en.*"):
        text.unlink()
    load_error()


def test_missing_wmt22_is_reported_when_it_is_needed(copied_cache, made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(DATASETS["wmt22"], "_rawdir", str(tmp_path / "none"))
    monkeypatch.setattr(DATASETS["wmt22"], "_outdir", str(tmp_path / "none"))
    monkeypatch.setattr(DATASETS["wmt22"], "data", [(tmp_path / "none.tar.gz").as_uri()])
    task = load_task("lora_boundary_wmt23_de-en")
    with pytest.raises(TaskDataError, match="test set wmt22 de-en"):
        task.validation_docs()
    with pytest.raises(TaskDataError, match="test set wmt22 de-en"):
        task.fewshot_context(task.test_docs()[0], num_fewshot=1)
