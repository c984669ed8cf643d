"""the learning curve: what twice the training would buy, where the true law is known."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcommons.workbench.engine.curve import FEWEST, more
from modelcommons.workbench.engine.training import Point

STEPS = (100, 200, 300, 400, 600, 800, 1000)


def points(values: list[float]) -> list[Point]:
    steps = zip(STEPS * (len(values) // len(STEPS) + 1), values, strict=False)
    return [Point(step, step / 100, step * 1.0, 0.0, float(value)) for step, value in steps]


def said(curve: list[Point], metric: str, direction: Literal["higher", "lower"]) -> str:
    """Of a metric that has no end."""
    return more(curve, metric, direction, np.inf if direction == "higher" else -np.inf)


def numbers(words: str) -> list[float]:
    """The gain, and the two ends of its range."""
    found = re.fullmatch(r"twice the training would likely move \w+ by (\S+) \(80 % range (\S+) to (\S+)\)", words)
    assert found, words
    return [float(number) for number in found.groups()]


@pytest.mark.parametrize("rate", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(("direction", "sign"), [("higher", -1), ("lower", 1)])
def test_a_power_law_is_continued(rate: float, direction: Literal["higher", "lower"], sign: int) -> None:
    law = [0.5 + sign * 0.3 * (step / 1000) ** -rate for step in (*STEPS, 2000)]
    gain, low, high = numbers(said(points(law[:-1]), "accuracy", direction))
    assert gain == pytest.approx(law[-1] - law[-2], rel=0.06)  # two digits are printed
    assert (low, high) == pytest.approx((gain, gain), rel=0.06)  # points without scatter leave no doubt


def test_scatter_widens_the_range_and_the_truth_lies_in_it() -> None:
    inside = 0
    for seed in range(30):
        noise = np.random.default_rng(seed).normal(0, 0.004, len(STEPS))
        law = [0.9 - 0.1 * (step / 1000) ** -0.5 for step in (*STEPS, 2000)]
        gain, low, high = numbers(said(points([*(law[:-1] + noise)]), "accuracy", "higher"))
        assert low <= high and low - 1e-9 <= gain <= high + 1e-9
        inside += low <= law[-1] - law[-2] <= high
    assert inside >= 15  # of 30; 80 % is promised for many points, here are seven


@pytest.mark.parametrize("direction", ["higher", "lower"])
@pytest.mark.parametrize("values", [[0.8] * 7, [0.80, 0.81, 0.79, 0.80, 0.81, 0.80, 0.80]])
def test_a_flat_curve_buys_nothing(values: list[float], direction: Literal["higher", "lower"]) -> None:
    words = "twice the training would likely buy nothing measurable (accuracy is flat)"
    assert said(points(values), "accuracy", direction) == words


def test_a_curve_that_gets_worse_promises_nothing() -> None:
    rising = points([0.3 + 0.1 * np.log(step) for step in STEPS])
    assert "nothing measurable" in said(rising, "log_loss", "lower")
    assert numbers(said(rising, "accuracy", "higher"))[0] > 0


@pytest.mark.parametrize(
    ("values", "direction", "limit"), [([0.4, 0.8, 1.0], "higher", 1.0), ([9, 2, 0.01], "lower", 0.0)]
)
def test_nothing_is_promised_beyond_the_best_value_there_is(
    values: list[float], direction: Literal["higher", "lower"], limit: float
) -> None:
    """An accuracy of 1 cannot grow, though the curve that led there still rises."""
    steep = points([*values, *[values[-1]] * 4])
    _, low, high = numbers(said(steep, "accuracy", direction))
    assert max(abs(low), abs(high)) > abs(limit - values[-1])
    words = more(steep, "accuracy", direction, limit)
    assert "nothing measurable" in words or max(map(abs, numbers(words))) <= abs(limit - values[-1]) + 1e-9


def test_few_scorings_say_nothing() -> None:
    start = Point(0, 0.0, 0.0, 0.0, 0.1)  # before the first step
    few = [start, *points([0.5, 0.6, 0.7])]
    assert len(few) == FEWEST and "too few" in said(few, "accuracy", "higher")


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1e6), min_size=FEWEST, max_size=len(STEPS)))
def test_whatever_the_curve_there_are_words(values: list[float]) -> None:
    words = said(points(values), "mse", "lower")
    assert words == said(points(values), "mse", "lower") and "nan" not in words
