"""`wasup report`: which form is asked for, what a moment means, and who may read the file."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import typer

from supervisor.cli.common.private_files import write_private
from supervisor.cli.watch_commands.report import _form, _instant

SAO_PAULO = ZoneInfo("America/Sao_Paulo")


@pytest.mark.parametrize(
    ("form", "output", "asked"),
    [
        (None, None, "text"),
        (None, "week.PDF", "pdf"),
        (None, "week.html", "html"),
        (None, "week", "text"),
        (None, "week.txt", "text"),
        ("text", "week.docx", "text"),
        ("json", "week.pdf", "json"),
    ],
)
def test_the_form_is_what_is_said_or_as_the_file_ends(
    form: str | None, output: str | None, asked: str
) -> None:
    assert _form(form, None if output is None else Path(output)) == asked


def test_an_unknown_form_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        _form("docx", None)
    assert ended.value.exit_code == 2
    assert "json, html, pdf, text" in capsys.readouterr().err


def test_a_file_of_an_unknown_ending_is_refused_and_not_written_as_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as ended:
        _form(None, Path("week.docx"))
    assert ended.value.exit_code == 2
    assert "--output ends in '.docx'; without --format it accepts .json," in capsys.readouterr().err


def test_a_date_is_meant_in_the_zone_of_the_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert _instant("from", "2027-01-31", SAO_PAULO) == "2027-01-31T03:00:00.000Z"
    assert _instant("from", "2027-01-31T08:00+00:00", SAO_PAULO) == "2027-01-31T08:00:00.000Z"
    with pytest.raises(typer.Exit):
        _instant("from", "yesterday", SAO_PAULO)
    assert "--from is 'yesterday'" in capsys.readouterr().err


def test_a_report_is_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "week.pdf"
    file.write_bytes(b"of last week")
    file.chmod(0o644)
    write_private(file, b"%PDF-")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes() == b"%PDF-"
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    write_private(Path("/dev/null"), b"%PDF-")
    assert Path("/dev/null").is_char_device()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "week.pdf")
    write_private(link, b"%PDF-")
    assert link.is_symlink()
    assert (tmp_path / "week.pdf").read_bytes() == b"%PDF-"
