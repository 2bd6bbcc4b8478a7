"""The arithmetic of the charts."""

from __future__ import annotations

import re

import pytest

from service.desk.charts import DAY, Column, Line, columns, lines
from service.desk.words import percent
from tests.support.desk.pages import Page


def numbers(picture: str, attribute: str) -> list[float]:
    return [float(n) for n in re.findall(rf' {attribute}="([-\d.]+)"', picture)]


def test_columns_have_heights_in_proportion_below_a_readable_top() -> None:
    chart = columns([Column("a", 120), Column("b", 60), Column("c", 0)])
    Page(str(chart.picture))
    assert (chart.top, chart.bottom) == ("150", "0")
    assert numbers(chart.picture, "height") == [80, 40]
    assert numbers(chart.picture, "y") == [20, 60]
    assert chart.each and chart.labels == ["a", "b", "c"]


def test_columns_that_go_down_share_the_scale() -> None:
    chart = columns([Column("a", 30, 10)])
    assert (chart.top, chart.bottom) == ("30", "−10")
    assert numbers(chart.picture, "height") == [75, 25]
    assert numbers(chart.picture, "y") == [0, 75]


def test_a_line_is_interrupted_where_nothing_is_known() -> None:
    chart = lines(["a", "b", "c", "d"], [Line([0, 5, None, 10])])
    assert 'd="M5 100h0 L15 50 M35 0h0"' in chart.picture


def test_a_scale_need_not_begin_at_zero() -> None:
    chart = lines(["a", "b"], [Line([48_700, 50_900])], from_zero=False)
    assert (chart.bottom, chart.top) == ("48,000", "51,000")
    flat = lines(["a", "b"], [Line([5, 5])], from_zero=False)
    assert float(flat.bottom) <= 5 < float(flat.top)
    for values in ([3, 3], [4, 7], [4, 9], [9, 10]):
        chart = lines(["a", "b"], [Line([*values])], from_zero=False)
        assert f"{chart.bottom}{chart.top}".isdigit(), "there is no half of a browser"


@pytest.mark.parametrize("given", [[], [Column("a", 0)]])
def test_nothing_can_be_drawn(given: list[Column]) -> None:
    Page(str(columns(given).picture))
    Page(str(lines([one.label for one in given], [Line([None] * len(given))]).picture))


def test_texts_in_a_picture_are_escaped() -> None:
    assert "<script>" not in columns([Column("<script>", 1)]).picture


def test_some_labels_are_shown_evenly_spaced() -> None:
    given = [Column(str(n), 1) for n in range(28)]
    assert columns(given).labels == ["0", "9", "18", "27"]
    assert columns(given[:24], labels=DAY).labels == [*DAY]


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        *((0, "0 %"), (0.00004, "less than 0.01 %"), (0.0043, "0.43 %"), (0.0213, "2.1 %")),
        *((0.845, "84 %"), (1, "100 %")),
    ],
)
def test_a_share_is_no_more_exact_than_it_is_read(share: float, shown: str) -> None:
    assert percent(share) == shown
