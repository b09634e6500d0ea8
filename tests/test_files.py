"""Names of files, and safe writing and reading."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lm_eval_lora_boundary.errors import OutputError
from lm_eval_lora_boundary.files import (
    allow_reading,
    boundary_folder,
    file_name,
    lock,
    read_object,
    read_samples,
    write_bytes,
    write_text,
)

AGAIN = "run it again"


@given(st.text())
@example("")
@example("..")
@example("../../etc/passwd")
@example("group/task:de->en")
def test_file_names_are_safe(name: str) -> None:
    safe = file_name(name)
    assert re.fullmatch(r"[\w,=+-][\w.,=+-]*", safe)
    assert Path("folder", safe).parent == Path("folder")
    assert file_name(safe) == safe


@given(st.from_regex(r"[\w,=+-][\w.,=+-]*", fullmatch=True))
def test_names_that_are_safe_stay(name: str) -> None:
    assert file_name(name) == name


def test_folders_of_boundaries() -> None:
    assert boundary_folder(Path("out"), -1) == Path("out/boundary=-1")


def test_written_text_is_read_again(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", '{"é": "line\\nline"}\n')
    assert (tmp_path / "a.json").read_bytes() == '{"é": "line\\nline"}\n'.encode()
    assert read_object(tmp_path / "a.json", AGAIN) == {"é": "line\nline"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_reader_sees_the_old_or_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "big"
    contents = [bytes([number]) * 300_000 for number in range(2)]
    write_bytes(path, contents[0])
    done = threading.Event()

    def rewrite() -> None:
        for number in range(1, 60):
            write_bytes(path, contents[number % 2])
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    while not done.is_set():
        assert path.read_bytes() in contents
    writer.join()


def test_if_writing_fails_the_old_content_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    written = Path.write_bytes

    def half(self: Path, content: bytes) -> int:
        written(self, content[: len(content) // 2])
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OutputError, match=r"a\.json cannot be written: No space left on device"):
        write_text(path, "new content")
    assert path.read_text() == "old"


def sample(line: bytes) -> Callable[[Path], Any]:
    """Return what reads a samples file with a good line and this one."""

    def read(folder: Path) -> Any:
        (folder / "samples.jsonl").write_bytes(b'{"doc_id": 0}\n' + line)
        return list(read_samples(folder / "samples.jsonl", AGAIN))

    return read


def json_file(content: bytes) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        (folder / "a.json").write_bytes(content)
        return read_object(folder / "a.json", AGAIN)

    return read


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda f: write_text(f / "missing/a", ""), "missing/a cannot be written: No such file"),
        (lambda f: write_text(f, ""), "cannot be written: "),
        (lambda f: read_object(f / "a.json", AGAIN), r"a\.json cannot be read: No such file"),
        (json_file(b"{"), rf"a\.json is not JSON \(.*\); {AGAIN}$"),
        (json_file(b"\xff"), rf"a\.json is not JSON \(.*\); {AGAIN}$"),
        (json_file(b"[" * 100_000), rf"a\.json is not JSON \(.*\); {AGAIN}$"),
        (json_file(b"[1]"), rf"a\.json holds no JSON object; {AGAIN}$"),
        (lambda f: list(read_samples(f / "s", AGAIN)), "s cannot be read: No such file"),
        (sample(b"{"), rf"samples\.jsonl, line 2: not a sample .*; {AGAIN}$"),
        (sample(b"[]"), "line 2: not a sample .* doc_id is not a whole number"),
        (sample(b'{"doc_id": true}'), "line 2: not a sample .* doc_id is not a whole number"),
        (sample(b"\xff"), rf"line 2: not a sample .*not UTF-8 text.*; {AGAIN}$"),
    ],
)
def test_errors_take_one_line(act: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=message) as caught:
        act(tmp_path)
    assert "\n" not in str(caught.value)


def test_samples_come_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text('{"doc_id": 3, "resps": "a\u2028b"}\n{"doc_id": 4}\n', encoding="utf-8")
    found = list(read_samples(path, AGAIN))
    assert [where for where, _ in found] == [f"{path}, line 1", f"{path}, line 2"]
    assert [content["doc_id"] for _, content in found] == [3, 4]


def test_a_forked_worker_does_not_hold_a_lock(tmp_path: Path) -> None:
    """lm-eval forks workers, which outlive a process that is killed."""
    locked = lock(tmp_path / "out")
    read, write = os.pipe()
    read_started, write_started = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(write)
        os.write(write_started, b"1")
        os.read(read, 1)  # until the test closes the pipe
        os._exit(0)
    try:
        os.close(read)
        os.read(read_started, 1)
        # as if this process were gone: without unlocking, which would count for all
        os.close(locked.fileno())
        lock(tmp_path / "out").close()
    finally:
        os.close(write)
        os.waitpid(worker, 0)
        with contextlib.suppress(OSError):
            locked.close()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_others_may_read_what_the_umask_allows(umask: int, tmp_path: Path) -> None:
    closed, ordinary = tmp_path / "closed", tmp_path / "ordinary"
    (tmp_path / "inside").mkdir()
    program = tmp_path / "inside" / "program"
    before = os.umask(umask)
    try:
        ordinary.touch()
        closed.touch(mode=0o600)
        program.touch(mode=0o700)
        (tmp_path / "link").symlink_to("/no/such/file")
        allow_reading(tmp_path)
    finally:
        os.umask(before)
    assert closed.stat().st_mode == ordinary.stat().st_mode
    assert program.stat().st_mode & 0o777 == 0o700 | (0o666 & ~umask)
    assert {path.name for path in tmp_path.iterdir()} == {"closed", "ordinary", "inside", "link"}
