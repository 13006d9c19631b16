"""The program that renders: a report's JSON on stdin, the file on stdout.

python -m supervisor.reports.rendering.program FORM LANGUAGE
"""

import sys
from typing import Final, Literal, cast, get_args

import msgspec

from supervisor.alerts.notices import Language
from supervisor.reports.rendering.document import document
from supervisor.reports.report import Report

Rendered = Literal["html", "pdf", "text"]
RENDERED: Final[tuple[Rendered, ...]] = get_args(Rendered)


def render(report: Report, form: Rendered, language: Language) -> bytes:
    """The file."""
    written = document(report, language)
    match form:  # each loads a library that the others do without
        case "html":
            from supervisor.reports.rendering.html import html

            return html(written)
        case "pdf":
            from supervisor.reports.rendering.pdf import pdf

            return pdf(written)
        case "text":
            from supervisor.reports.rendering.text import text

            return text(written)


def main() -> None:
    """As it is asked on the command line."""
    form, language = sys.argv[1:]
    report = msgspec.json.decode(sys.stdin.buffer.read(), type=Report)
    sys.stdout.buffer.write(render(report, cast("Rendered", form), cast("Language", language)))


if __name__ == "__main__":
    main()
