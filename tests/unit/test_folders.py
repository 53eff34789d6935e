"""What processes share is there while one of them runs, and no longer."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from krm.api import folders


def _held(within: Path) -> tuple[int, Path]:
    """A process that holds a folder until it is killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        with folders.common(within) as folder:
            os.write(writing, str(folder).encode())
            signal.pause()
    os.close(writing)
    folder = Path(os.read(reading, 4096).decode())
    os.close(reading)
    return pid, folder


def test_a_folder_is_gone_at_the_end(tmp_path: Path) -> None:
    with folders.common(tmp_path) as folder:
        (folder / "counter_0.db").write_bytes(b"1")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away_and_what_another_uses_is_not(tmp_path: Path) -> None:
    pid, left = _held(tmp_path)
    try:
        with folders.common(tmp_path) as own:
            assert {left, own} == set(tmp_path.iterdir())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert list(tmp_path.iterdir()) == [left]
    with folders.common(tmp_path) as own:
        assert list(tmp_path.iterdir()) == [own]


def test_what_is_not_of_this_program_stays(tmp_path: Path) -> None:
    (tmp_path / "krm-api-strange").mkdir()
    with folders.common(tmp_path):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["krm-api-strange"]


def test_where_memory_has_no_place_temporary_files_have(tmp_path: Path) -> None:
    with folders.common(tmp_path / "missing") as folder:
        assert folder.is_dir()
