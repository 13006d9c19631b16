"""Plots: points thinned out to what a line of pixels can show, and drawn as SVG.

Of each column of pixels the least and the greatest figure stay, so no peak is lost; where nothing
was measured the line is broken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from supervisor.reports.report import Plot

WIDTH: Final = 640
HEIGHT: Final = 150
BELOW: Final = 18
"""For the words of the axis."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of pixels: where it is, and what was measured there, as parts of the plot's height
    (0: below, 1: above).
    """

    x: int
    least: float
    mean: float
    most: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot that can be drawn: its lines, each without a gap, and the words on its axes."""

    title: str
    top: str
    bottom: str
    ticks: Sequence[tuple[float, str]]
    lines: Sequence[Sequence[Column]]


def scale(plot: Plot) -> tuple[float, float]:
    """From which figure to which it is drawn: from 0, but for what is nearly all of something."""
    least = min(point[1] for point in plot.points)
    most = max(point[3] for point in plot.points)
    if plot.unit == "fraction" and least > 0.9:
        return max(0.0, least - (1 - least) / 4 - 0.0005), 1.0
    return 0.0, most or 1.0


def thinned(
    plot: Plot, start: float, end: float, bottom: float, top: float, width: int = WIDTH
) -> list[list[Column]]:
    """Its lines, a column of pixels for each step, or for several."""
    columns: dict[int, list[tuple[float, float, float, float]]] = {}
    for point in plot.points:
        middle = point[0] + plot.step_seconds / 2
        columns.setdefault(int((middle - start) / (end - start) * width), []).append(point)
    lines: list[list[Column]] = []
    previous: float | None = None
    for x in sorted(columns):
        points = columns[x]
        if previous is None or points[0][0] - previous > 1.5 * plot.step_seconds:
            lines.append([])
        previous = points[-1][0]
        lines[-1].append(
            Column(
                x,
                (min(point[1] for point in points) - bottom) / (top - bottom),
                (sum(point[2] for point in points) / len(points) - bottom) / (top - bottom),
                (max(point[3] for point in points) - bottom) / (top - bottom),
            )
        )
    return lines


def svg(drawing: Drawing) -> str:
    """A drawing as an SVG element: no script, no reference to anything outside."""
    shapes = [shape for line in drawing.lines for shape in (_band(line), _line(line)) if shape]
    marks = [_text(0, 11, drawing.top), _text(0, HEIGHT - 4, drawing.bottom)]
    for part, words in drawing.ticks:
        x = part * WIDTH
        marks.append(f'<path class="grid" d="M{x:.0f} 0V{HEIGHT}"/>')
        marks.append(_text(x + 2, HEIGHT + BELOW - 5, words))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + BELOW}" role="img"'
        f' aria-label="{escape(drawing.title)}"><title>{escape(drawing.title)}</title>'
        f'<path class="grid" d="M0 0H{WIDTH}M0 {HEIGHT}H{WIDTH}"/>'
        f"{''.join(shapes)}{''.join(marks)}</svg>"
    )


def _y(part: float) -> str:
    return f"{HEIGHT * (1 - part):.1f}".removesuffix(".0")


def _band(line: Sequence[Column]) -> str:
    """The area between the least and the greatest figures, where they differ."""
    if not any(column.most - column.least > 1 / HEIGHT for column in line):
        return ""
    there = [f"{column.x} {_y(column.most)}" for column in line]
    back = [f"{column.x} {_y(column.least)}" for column in reversed(line)]
    return f'<path class="band" d="M{_joined((*there, *back))}Z"/>'


def _line(line: Sequence[Column]) -> str:
    if len(line) == 1:
        only = line[0]
        return f'<path class="line" d="M{only.x} {_y(only.mean)}h1"/>'
    return f'<path class="line" d="M{_joined(f"{one.x} {_y(one.mean)}" for one in line)}"/>'


def _joined(places: Iterable[str]) -> str:
    return "L".join(places)


def _text(x: float, y: float, words: str) -> str:
    return f'<text class="mark" x="{x:.0f}" y="{y:.0f}">{escape(words)}</text>'
