"""`wasup logs`: lines of two writers in one order, of files that are cut and renamed meanwhile."""

from pathlib import Path

import pytest

from supervisor.cli.watch_commands import logs
from supervisor.cli.watch_commands.logs import Journal, LogFile, in_words, parsed

WORKER = '{"level":30,"time":1764471202000,"worker":"w","msg":"closed","attempt":1}'
SUPERVISOR = (
    '{"event":"session is open","session":"loja-1","level":"info","before":"connecting",'
    '"action":"state","timestamp":"2025-11-30T02:53:23.000000Z"}'
)
OTHER = '{"event":"session is open","session":"loja-11","timestamp":"2025-11-30T02:53:23Z"}'


def texts(source: LogFile) -> list[str]:
    return [line.text for line in source.new()]


def test_a_line_of_either_is_told_alike() -> None:
    assert in_words(parsed(WORKER, "worker", 0.0)) == (
        "2025-11-30 02:53:22  worker      info     closed  attempt=1"
    )
    assert in_words(parsed(SUPERVISOR, "supervisor", 0.0)) == (
        "2025-11-30 02:53:23  supervisor  info     session is open  before=connecting"
    )


@pytest.mark.parametrize("line", ["FATAL ERROR: out of memory", "[1]", '{"a":', '{"time":"?"}'])
def test_what_is_no_line_of_a_log_has_the_time_of_the_one_before(line: str) -> None:
    found = parsed(line, "worker", 12.0)
    assert (found.at, found.text) == (12.0, line)


def test_only_whole_lines_of_the_session_are_read_each_once(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.log"
    source = LogFile(file, "supervisor", "loja-1")
    assert texts(source) == [], "it is not there yet"
    file.write_text(f"{SUPERVISOR}\n{OTHER}\nloja-1 without JSON\n{SUPERVISOR[:20]}")
    assert texts(source) == [SUPERVISOR]
    with file.open("a") as more:
        more.write(SUPERVISOR[20:] + "\n")
    assert texts(source) == [SUPERVISOR]
    assert texts(source) == []


def test_a_file_that_was_cut_or_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "worker-loja-1.log"
    source = LogFile(file, "worker", None)
    file.write_text("one, which is long\n")
    assert texts(source) == ["one, which is long"]
    file.write_text("two\n")  # cut in place, as a log that has grown too large
    assert texts(source) == ["two"]
    file.rename(tmp_path / "worker-loja-1.log.1")
    file.write_text("of its successor, and longer\n")
    assert texts(source) == ["of its successor, and longer"]


def test_of_a_large_log_the_end_is_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 10)
    (tmp_path / "log").write_text("a line that is too far back\nlast\n")
    assert texts(LogFile(tmp_path / "log", "worker", None)) == ["last"]


def test_the_journal_is_asked_for_the_unit_and_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in for journalctl, which says what it was asked for."""
    journalctl = tmp_path / "journalctl"
    journalctl.write_text(
        "#!/bin/sh\n"
        'echo "$*" >> "$0.asked"\n'
        f'case "$*" in *--follow*) exec tail -f -n +1 {tmp_path}/later ;; esac\n'
        f"echo '{SUPERVISOR}'\necho '{OTHER}'\n"
    )
    journalctl.chmod(0o755)
    (tmp_path / "later").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    source = Journal("wasup.service", "loja-1", follow=True)
    try:
        assert [line.text for line in source.new()] == [SUPERVISOR]
        with (tmp_path / "later").open("a") as later:
            later.write(f"{OTHER}\n{SUPERVISOR}\n")
        found: list[str] = []
        while not found:
            found = [line.text for line in source.new()]
        assert found == [SUPERVISOR]
    finally:
        source.close()
    asked = (tmp_path / "journalctl.asked").read_text()
    assert "--unit wasup.service --output cat" in asked
