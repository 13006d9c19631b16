"""Reports that are kept: whole, for their user alone, and so many."""

import os
from pathlib import Path

import pytest

from supervisor.reports.shelf import KEPT, Shelf


def test_a_report_is_kept_for_its_user_alone(tmp_path: Path) -> None:
    written = Shelf(tmp_path / "reports").put("daily-2027-01-16", {"html": b"<p>", "json": b"{}"})
    assert [file.name for file in written.values()] == [
        "daily-2027-01-16.html",
        "daily-2027-01-16.json",
    ]
    assert [file.stat().st_mode & 0o777 for file in written.values()] == [0o600, 0o600]
    assert (tmp_path / "reports").stat().st_mode & 0o777 == 0o700
    assert {file.name for file in (tmp_path / "reports").iterdir()} == {
        file.name for file in written.values()
    }


def test_a_report_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, fsync, rename = list[str](), os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        done.append(f"fsync of {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def renamed(begun: Path, file: Path) -> Path:
        done.append("rename")
        return rename(begun, file)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    Shelf(tmp_path).put("daily-2027-01-16", {"html": b"<p>"})
    assert done == ["fsync of 3", "rename"]


def test_so_many_of_each_kind_are_kept_and_files_of_others_stay(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    (tmp_path / "daily-notes.txt").write_text("mine")
    shelf.put("weekly-2026-01-05", {"html": b""})
    for day in range(KEPT["daily"] + 3):
        shelf.put(f"daily-2027-{1 + day // 28:02}-{1 + day % 28:02}", {"html": b"", "pdf": b""})
    kept = sorted(file.name for file in tmp_path.iterdir())
    assert len(kept) == 2 * KEPT["daily"] + 2
    assert "daily-2027-01-03.html" not in kept
    assert {"daily-2027-01-04.pdf", "daily-notes.txt", "weekly-2026-01-05.html"} <= set(kept)


def test_a_report_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path)
    file = shelf.put("daily-2027-01-16", {"html": b"before"})["html"]

    def full(_begun: Path, _file: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space"):
        shelf.put("daily-2027-01-16", {"html": b"after"})
    assert file.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["daily-2027-01-16.html"]
