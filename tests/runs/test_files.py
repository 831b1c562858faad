"""Files are replaced as a whole, for every reader and after every crash."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from droq_exp.runs.files import discard, remove_leftovers, write_atomically


def test_text_is_utf8_and_bytes_are_kept(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "é\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\n"
    write_atomically(tmp_path / "a", b"\x00\xff")
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["a"]


def test_others_can_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = ["a" * 100_000, "b" * 50_000]
    write_atomically(path, contents[0])
    seen, stop = set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(50):
        write_atomically(path, contents[i % 2])
    stop.set()
    reader.join()
    assert seen <= set(contents)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_atomically(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_discard_removes_files_directories_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "directory" / "inner").mkdir(parents=True)
    (tmp_path / "directory" / "inner" / "file").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "kept").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("directory", "file", "link", "never there"):
        discard(tmp_path / name)
    assert os.listdir(tmp_path) == ["kept"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".status.json.0123.tmp").write_text("{")
    (tmp_path / ".checkpoint.0123.tmp").mkdir()
    (tmp_path / ".checkpoint.0123.tmp" / "weights").write_text("x")
    (tmp_path / "eval.csv").write_text("step\n")
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["eval.csv"]
