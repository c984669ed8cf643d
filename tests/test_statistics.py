"""statistics: intervals and paired tests against scipy, and against what they promise on made-up data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import bootstrap as scipy_bootstrap

from modelcommons.workbench.engine import statistics
from modelcommons.workbench.engine.statistics import block_bootstrap, bootstrap, mcnemar, paired, wilson

floats = st.floats(-1e6, 1e6)


def near(interval: tuple[float, float], other: tuple[float, float], share: float) -> bool:
    """Whether both ends differ by no more than a share of the other interval's width."""
    return bool(np.abs(np.subtract(interval, other)).max() <= share * (other[1] - other[0]))


# --- intervals ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 100_000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_wilson_is_that_of_scipy_and_contains_the_share(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    theirs = binomtest(*counts).proportion_ci(0.95, "wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1


@settings(max_examples=30)
@given(st.lists(floats, min_size=2, max_size=40), st.integers(0, 9))
def test_an_interval_lies_within_the_data_and_follows_its_unit(values: list[float], seed: int) -> None:
    data = np.array(values)
    low, high = bootstrap(data, seed, draws=200)
    slack = 1e-9 * np.abs(data).max()
    assert data.min() - slack <= low <= high <= data.max() + slack
    assert bootstrap(data, seed, draws=200) == (low, high)
    assert bootstrap(10 * data, seed, draws=200) == pytest.approx((10 * low, 10 * high), abs=1e-3)


def test_an_interval_contains_the_mean_of_ordinary_data() -> None:
    for seed in range(50):
        data = np.random.default_rng(seed).exponential(size=100)
        for low, high in (bootstrap(data, seed), block_bootstrap(data, 5, seed)):
            assert low < data.mean() < high


def test_the_bootstrap_is_that_of_scipy() -> None:
    data = np.random.default_rng(0).exponential(size=300)
    theirs = scipy_bootstrap((data,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1))
    assert near(bootstrap(data, 0, draws=20_000), tuple(theirs.confidence_interval), 0.02)


def test_groups_are_drawn_whole() -> None:
    speakers = np.random.default_rng(0).normal(size=20)
    rows, names = np.repeat(speakers, 50), [f"speaker {number:02}" for number in range(20) for _ in range(50)]
    assert near(bootstrap(rows, 0, groups=names), bootstrap(speakers, 0), 1e-6)
    low, high = bootstrap(rows, 0)  # as if the rows were independent: far too sure
    assert high - low < 0.3 * np.diff(bootstrap(rows, 0, groups=names))[0]


def test_groups_count_by_their_rows() -> None:
    low, high = bootstrap(np.array([0.0] * 9 + [1.0]), 0, groups=["a"] * 9 + ["b"])
    assert (low, high) == (0.0, 1.0)


def test_very_many_rows_are_drawn_in_bins_as_exactly_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).lognormal(size=20_000)
    groups = [str(number) for number in np.random.default_rng(1).integers(0, 15_000, 20_000)]
    exact = bootstrap(data, 0), bootstrap(data, 0, groups=groups)
    monkeypatch.setattr(statistics, "MANY", 10_000)
    binned = bootstrap(data, 0), bootstrap(data, 0, groups=groups)
    assert exact != binned
    assert all(near(one, other, 0.08) for one, other in zip(binned, exact, strict=True))


def autoregressive(rng: np.random.Generator, size: int, memory: float) -> np.ndarray:
    """A series of mean 0 in which each value remembers the one before: AR(1)."""
    values = rng.normal(size=size + 100)
    for at in range(1, len(values)):
        values[at] += memory * values[at - 1]
    return values[100:]


def test_blocks_cover_the_mean_of_a_series_about_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    in_blocks = alone = 0
    for seed in range(200):
        series = autoregressive(rng, 600, 0.6)
        low, high = block_bootstrap(series, 25, seed, draws=400)
        in_blocks += low <= 0 <= high
        low, high = bootstrap(series, seed, draws=400)
        alone += low <= 0 <= high
    assert 0.88 <= in_blocks / 200 <= 0.99
    assert alone / 200 < 0.80  # value by value, the interval is half as wide as it must be


def test_a_block_is_never_longer_than_the_series() -> None:
    assert block_bootstrap(np.array([1.0, 2.0, 3.0]), 99, 0) == pytest.approx((2.0, 2.0))
    assert block_bootstrap(np.array([5.0]), 1, 0) == (5.0, 5.0)


# --- paired tests ---------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_mcnemar_is_the_exact_binomial_test_of_scipy(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs).T
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(expected)
    assert paired(a, b, seed=0) == mcnemar(a, b)  # 0/1 losses go the exact way


@given(st.lists(floats, min_size=1, max_size=50), st.integers(1, 10))
def test_equal_losses_do_not_differ(losses: list[float], block: int) -> None:
    assert paired(np.array(losses), np.array(losses), seed=0, block=block, draws=50) == 1.0


def test_a_clear_difference_is_found_and_a_small_one_is_not() -> None:
    rng = np.random.default_rng(0)
    hard = rng.exponential(size=500)  # how hard a row is, for both models
    a, b = hard + rng.normal(0, 0.1, 500), hard + rng.normal(0.05, 0.1, 500)
    assert paired(a, b, seed=0) == paired(b, a, seed=0) == 1 / 2001  # the least that 2,000 draws can say
    assert paired(a, hard + rng.normal(0, 0.1, 500), seed=0) > 0.05


def test_a_paired_test_errs_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    p_values = [paired(rng.normal(size=60), rng.normal(size=60), seed, draws=300) for seed in range(300)]
    assert 0.02 <= np.mean(np.array(p_values) <= 0.05) <= 0.09


def test_rows_that_hang_together_are_not_taken_for_many() -> None:
    rng = np.random.default_rng(0)
    differences = [autoregressive(rng, 600, 0.8) for _ in range(100)]
    nothing = np.zeros(600)
    alone = [paired(each, nothing, 0, draws=200) <= 0.05 for each in differences]
    in_blocks = [paired(each, nothing, 0, block=40, draws=200) <= 0.05 for each in differences]
    assert np.mean(alone) > 0.3
    assert np.mean(in_blocks) < 0.15
