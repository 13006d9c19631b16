"""The figures as an SVG, written by hand: bars on a logarithmic scale, a panel for each measure, a
group for each scenario.
"""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.bench_reconnect.measuring import NAMES, ORACLE, OURS, Figures
from scripts.bench_reconnect.script import Named

COLOURS: Final = {
    OURS: "#0a7d34",
    ORACLE: "#9aa0a6",
    "fixed": "#d1495b",
    "at-once": "#edae49",
    "linear": "#00798c",
    "exponential": "#6a4c93",
    "fibonacci": "#30638e",
}
BAR: Final = 13
GAP: Final = 26
LEFT: Final = 70
PANEL_HEIGHT: Final = 170
PANEL_GAP: Final = 62
NARROWEST: Final = 620
TOP: Final = 84


@dataclass(frozen=True, slots=True)
class Measure:
    """A panel: `of` gives a bar's height; None is *never*."""

    title: str
    of: Callable[[Figures], float | None]


MEASURES: Final = (
    Measure("session-seconds down", lambda one: one.down_session_seconds),
    Measure("logins made", lambda one: float(one.logins)),
    Measure("peak logins per second", lambda one: float(one.peak_per_second)),
    Measure("seconds from the server's return until 99 % are back", lambda one: one.back_seconds),
)


def svg(figures: Sequence[Figures], scenarios: Sequence[Named], title: str) -> str:
    """The whole picture."""
    shown = [
        scenario for scenario in scenarios if any(one.scenario == scenario.key for one in figures)
    ]
    keys = [key for key in NAMES if any(one.strategy == key for one in figures)]
    group = len(keys) * BAR + GAP
    width, height = (
        max(LEFT + len(shown) * group + 20, NARROWEST),
        TOP + len(MEASURES) * (PANEL_HEIGHT + PANEL_GAP),
    )
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            ' font-family="sans-serif" font-size="11">'
        ),
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(LEFT, 20, title, size=15),
        *_legend(keys, width),
    ]
    for number, measure in enumerate(MEASURES):
        parts += _panel(
            measure, TOP + number * (PANEL_HEIGHT + PANEL_GAP) + 18, figures, shown, keys, group
        )
    return "\n".join([*parts, "</svg>\n"])


def _legend(keys: Sequence[str], width: int) -> list[str]:
    parts, x, y = [], LEFT, 34
    for key in keys:
        wide = 22 + round(len(NAMES[key]) * 5.8)
        if x + wide > width:
            x, y = LEFT, y + 16
        parts += [
            f'<rect x="{x}" y="{y}" width="10" height="10" fill="{COLOURS[key]}"/>',
            _text(x + 14, y + 9, NAMES[key]),
        ]
        x += wide
    return parts


def _panel(
    measure: Measure,
    top: int,
    figures: Sequence[Figures],
    shown: Sequence[Named],
    keys: Sequence[str],
    group: int,
) -> list[str]:
    values = {(one.scenario, one.strategy): measure.of(one) for one in figures}
    highest = max((value for value in values.values() if value is not None), default=1.0)
    decades = max(1, math.ceil(math.log10(max(10.0, highest))))
    bottom = top + PANEL_HEIGHT
    parts = [_text(LEFT, top - 8, f"{measure.title} (logarithmic)", size=12)]
    for decade in range(decades + 1):
        y = bottom - PANEL_HEIGHT * decade / decades
        parts += [
            (
                f'<line x1="{LEFT}" x2="{LEFT + len(shown) * group}" y1="{y:.1f}" y2="{y:.1f}"'
                ' stroke="#e0e0e0"/>'
            ),
            _text(LEFT - 6, y + 4, f"{10**decade:,}", anchor="end"),
        ]
    for place, scenario in enumerate(shown):
        x = LEFT + place * group + GAP // 2
        parts.append(_text(x + (group - GAP) / 2, bottom + 15, scenario.key, anchor="middle"))
        for number, key in enumerate(keys):
            if (scenario.key, key) in values:
                parts += _bar(
                    values[scenario.key, key], x + number * BAR, bottom, decades, COLOURS[key]
                )
    return parts


def _bar(value: float | None, x: int, bottom: int, decades: int, colour: str) -> list[str]:
    if value is None:
        return [_text(x + BAR / 2, bottom - 4, "never", anchor="start", turn=True)]
    height = PANEL_HEIGHT * math.log10(max(1.0, value)) / decades
    label = f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"
    return [
        (
            f'<rect x="{x}" y="{bottom - height:.1f}" width="{BAR - 2}" height="{height:.1f}"'
            f' fill="{colour}"><title>{value:,.1f}</title></rect>'
        ),
        _text(x + BAR / 2 + 2, bottom - 4, label, anchor="start", turn=True, size=8),
    ]


def _text(
    x: float, y: float, words: str, size: int = 11, anchor: str = "start", turn: bool = False
) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"'
        f' text-anchor="{anchor}"{turned}>{html.escape(words)}</text>'
    )
