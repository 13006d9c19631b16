"""A plot keeps its peaks, breaks where nothing was measured, and holds nothing that acts."""

from supervisor.reports.rendering.plots import WIDTH, Drawing, scale, svg, thinned
from supervisor.reports.report import Plot


def plot(values: list[float | None], unit: str = "count") -> Plot:
    points = tuple(
        (float(at * 10), value, value, value)
        for at, value in enumerate(values)
        if value is not None
    )
    return Plot("host.cpu", unit, 10, points)  # type: ignore[arg-type]


def test_the_highest_and_the_lowest_of_many_points_are_still_there() -> None:
    values: list[float | None] = [0.5] * 100_000
    values[12_345], values[77_777] = 1.0, 0.0
    lines = thinned(plot(values), 0, 1_000_000, 0.0, 1.0)
    (line,) = lines
    assert len(line) <= WIDTH
    assert max(column.most for column in line) == 1.0
    assert min(column.least for column in line) == 0.0


def test_a_gap_stays_a_gap() -> None:
    lines = thinned(plot([1, 1, None, None, 1, 1, 1]), 0, 70, 0, 1)
    assert [len(line) for line in lines] == [2, 3]


def test_a_plot_begins_at_nothing_but_for_what_is_nearly_all() -> None:
    assert scale(plot([3, 5])) == (0.0, 5)
    assert scale(plot([0.5, 1.0], "fraction")) == (0.0, 1.0)
    bottom, top = scale(plot([0.999, 1.0], "fraction"))
    assert 0.99 < bottom < 0.999
    assert top == 1.0
    assert scale(plot([0, 0])) == (0.0, 1.0)


def test_words_of_a_plot_are_words() -> None:
    drawn = svg(Drawing("<script>", "1", "0", [(0.5, "<b>")], thinned(plot([1, 0]), 0, 20, 0, 1)))
    assert "<script>" not in drawn
    assert "<b>" not in drawn
    assert "&lt;script&gt;" in drawn
