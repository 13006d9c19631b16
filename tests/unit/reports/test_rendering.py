"""A report as a page, as PDF and as text: it says what the report says, in both languages, and a
page loads and runs nothing.
"""

import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import cast

import msgspec
import pytest
from pypdf import PdfReader

from sessions.store.supervision.presence import Times
from supervisor.alerts.notices import Language
from supervisor.reports.composing import compose
from supervisor.reports.rendering.numbers import Numbers
from supervisor.reports.rendering.program import Rendered, render
from supervisor.reports.report import Report
from tests.report_tools import T0, bad_day, gathered

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LANGUAGES = cast("tuple[Language, ...]", ("en", "pt-BR"))
SAID = {
    "en": ("Daily report", "Saturday, 16 January 2027", "97.9%", "unlinked on the phone", "1 h"),
    "pt-BR": (
        "Relatório diário",
        "sábado, 16 de janeiro de 2027",
        "97,9%",
        "desconectada",
        "1 h",
    ),
}


@pytest.fixture(scope="module")
def report() -> Report:
    """As it comes to the program that renders: over JSON."""
    return msgspec.json.decode(msgspec.json.encode(bad_day()), type=Report)


def said(report: Report, form: Rendered, language: Language) -> str:
    content = render(report, form, language)
    if form == "pdf":
        pages = PdfReader(io.BytesIO(content)).pages
        return " ".join(" ".join(page.extract_text() for page in pages).split())
    return content.decode()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", ["html", "pdf", "text"])
def test_each_form_says_it_in_each_language(
    report: Report, form: Rendered, language: Language
) -> None:
    text = said(report, form, language)
    for words in SAID[language]:
        assert words in text
    assert "shop" in text
    assert "{" not in re.sub(r"<style>.*</style>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", ["html", "pdf", "text"])
def test_a_day_without_data_says_so(form: Rendered, language: Language) -> None:
    empty = compose(
        gathered(measured={}, times={}, parts=[(T0, Times())], backups=None, capacity=None)
    )
    words = {"en": "There are no data of this period", "pt-BR": "Não há dados deste período"}
    text = said(empty, form, language)
    assert words[language] in text
    assert "0%" not in text.replace("100%", "")


def test_a_page_loads_and_runs_nothing_and_names_are_no_markup() -> None:
    hostile = '<img src="http://example.com/x" onerror=alert(1)>'
    named = gathered(times={hostile: Times(100.0, 50.0, 0)})
    page = render(compose(named), "html", "en").decode()
    assert hostile not in page
    assert "&lt;img" in page
    assert not re.search(r"<(script|link|img|iframe|object|embed)\b|\son\w+\s*=\s*\"", page)
    assert not re.search(r"(src|href|url)\s*[=(]", page.replace("&#34;", "").replace("src=", "", 1))


def test_letters_that_a_pdf_does_not_have_harm_nothing() -> None:
    named = gathered(
        times={"\u5e97\U0001f600": Times(100.0, 50.0, 0), "caf\u00e9": Times(1.0, 1.0)}
    )
    text = said(compose(named), "pdf", "pt-BR")
    assert "caf\u00e9" in text


def test_numbers_are_written_as_the_language_writes_them() -> None:
    english, portuguese = Numbers("en", "UTC"), Numbers("pt-BR", "America/Sao_Paulo")
    assert [english.count(1234567), portuguese.count(1234567)] == ["1,234,567", "1.234.567"]
    assert [english.duration(0.3), portuguese.duration(0.3)] == ["0.3 s", "0,3 s"]
    assert portuguese.moment("2027-01-16T01:30:00.000Z") == "15 de jan. de 2027 22:30"
    assert english.bytes(1.5 * 1024**3) == "1.5 GiB"


@pytest.mark.parametrize(
    ("value", "words"), [(1.0, "100%"), (0.9999999, "99.999%"), (0.999, "99.9%"), (0.5, "50%")]
)
def test_what_is_not_all_is_never_rounded_up_to_all(value: float, words: str) -> None:
    assert Numbers("en", "UTC").percent(value) == words


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_opens_the_page(report: Report, tmp_path: Path) -> None:
    page, shot = tmp_path / "report.html", tmp_path / "report.png"
    page.write_bytes(render(report, "html", "pt-BR"))
    assert CHROMIUM is not None
    subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=390,900",
            f"--screenshot={shot}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert shot.stat().st_size > 10_000
