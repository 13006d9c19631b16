"""A document as PDF, on A4, with the letters that every reader has.

Those letters are Latin-1: of a text that has others, each is a question mark.
"""

from collections.abc import Sequence
from typing import Final

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace

from supervisor.reports.rendering.document import Document, Level, Section
from supervisor.reports.rendering.plots import WIDTH, Column, Drawing

FONT: Final = "Helvetica"
PLOT_MM: Final = 30.0
INK, DIM, EDGE = (28, 32, 36), (96, 100, 108), (200, 204, 208)
LINE, BAND = (10, 110, 92), (206, 226, 222)
STATES: Final = {"met": (24, 121, 78), "missed": (198, 42, 47), "unknown": DIM}
WARNING: Final = (143, 90, 0)
ROWS: Final = 20
"""Of a table; all are in the JSON."""
_PLAIN: Final = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{THIN SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    }
)


class _Paper(FPDF):
    """A page's foot."""

    page_words = ""

    def footer(self) -> None:
        """Which page it is."""
        self.set_y(-12)
        self.set_font(FONT, size=8)
        self.set_text_color(*DIM)
        words = self.page_words.format(number=self.page_no(), all="{nb}")
        self.cell(0, 8, words, align="C")


def pdf(document: Document) -> bytes:
    """The file."""
    paper = _Paper(format="A4")
    paper.page_words = plain(document.page)
    paper.set_title(plain(f"{document.title}: {document.period}"))
    paper.set_lang(document.language)
    paper.set_creator("wasup")
    paper.set_auto_page_break(auto=True, margin=16)
    paper.add_page()
    _line(paper, document.title, 20, bold=True)
    _line(paper, document.period, 12)
    _line(paper, document.made, 8, DIM)
    for note in document.notes:
        _line(paper, note, 10, WARNING, bold=True)
    _title(paper, document.levels_title)
    for level in document.levels:
        _level(paper, level)
    _title(paper, document.advice_title)
    for one in document.advice:
        colour = STATES["missed"] if one.critical else WARNING
        _line(paper, one.severity, 9, colour, bold=True)
        _line(paper, one.text, 9)
    if not document.advice:
        _line(paper, document.nothing_to_do, 9)
    for section in document.sections:
        _section(paper, section)
    return bytes(paper.output())


def plain(text: str) -> str:
    """A text in the letters that there are."""
    return text.translate(_PLAIN).encode("latin-1", "replace").decode("latin-1")


def _line(
    paper: FPDF, text: str, size: float, colour: tuple[int, int, int] = INK, *, bold: bool = False
) -> None:
    paper.set_font(FONT, "B" if bold else "", size)
    paper.set_text_color(*colour)
    paper.multi_cell(0, size * 0.5, plain(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")


def _title(paper: FPDF, text: str) -> None:
    if paper.will_page_break(30):
        paper.add_page()
    paper.ln(4)
    _line(paper, text, 13, bold=True)
    paper.ln(1)


def _level(paper: FPDF, level: Level) -> None:
    _line(paper, f"{level.name}: {level.value}", 10, bold=True)
    detail = f"; {level.detail}" if level.detail else ""
    words = f"{level.state_words} ({level.target}{detail})".strip()
    _line(paper, words, 9, STATES[level.state])


def _section(paper: FPDF, section: Section) -> None:
    _title(paper, section.title)
    for note in section.notes:
        _line(paper, note, 9)
    if section.rows:
        _table(paper, section)
    for drawing in section.drawings:
        _plot(paper, drawing)


def _table(paper: FPDF, section: Section) -> None:
    paper.set_font(FONT, size=8)
    paper.set_text_color(*INK)
    paper.set_fill_color(255)  # else cells have that of the last plot
    paper.set_draw_color(*EDGE)
    paper.set_line_width(0.1)
    aligns = ["LEFT" if at < section.words else "RIGHT" for at in range(len(section.head))]
    widths = [3 if at < section.words else 2 for at in range(len(section.head))]
    with paper.table(
        text_align=tuple(aligns),
        col_widths=tuple(widths),
        borders_layout="HORIZONTAL_LINES",
        line_height=4.5,
        headings_style=FontFace(emphasis="BOLD", color=DIM),
    ) as table:
        for row in (section.head, *section.rows[:ROWS]):
            cells = table.row()
            for cell in row:
                cells.cell(plain(cell))


def _plot(paper: FPDF, drawing: Drawing) -> None:
    if paper.will_page_break(PLOT_MM + 14):
        paper.add_page()
    paper.ln(2)
    _line(paper, drawing.title, 9, DIM)
    left, top, width = paper.l_margin, paper.get_y(), paper.epw
    paper.set_draw_color(*EDGE)
    paper.set_line_width(0.1)
    paper.line(left, top, left + width, top)
    paper.line(left, top + PLOT_MM, left + width, top + PLOT_MM)
    for line in drawing.lines:
        _draw(paper, line, left, top, width / WIDTH)
    paper.set_font(FONT, size=7)
    paper.set_text_color(*DIM)
    paper.text(left + 0.5, top + 3, plain(drawing.top))
    paper.text(left + 0.5, top + PLOT_MM - 1, plain(drawing.bottom))
    for part, words in drawing.ticks:
        paper.text(left + part * width + 0.5, top + PLOT_MM + 3, plain(words))
    paper.set_y(top + PLOT_MM + 6)


def _draw(paper: FPDF, line: Sequence[Column], left: float, top: float, scale: float) -> None:
    def place(column: Column, part: float) -> tuple[float, float]:
        return left + column.x * scale, top + PLOT_MM * (1 - part)

    if len(line) > 1:
        paper.set_fill_color(*BAND)
        there = [place(column, column.most) for column in line]
        back = [place(column, column.least) for column in reversed(line)]
        paper.polygon([*there, *back], style="F")
    paper.set_draw_color(*LINE)
    paper.set_line_width(0.3)
    means = [place(column, column.mean) for column in line]
    if len(means) == 1:
        x, y = means[0]
        means.append((x + scale, y))
    paper.polyline(means)
