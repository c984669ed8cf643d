"""batches: every row once an epoch, in an order that seed and epoch alone decide."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelcommons.workbench.engine.batches import PADDING, answer_batches, epoch_batches

sizes = st.integers(0, 3000), st.integers(1, 64), st.integers(0, 99), st.integers(0, 99)


def lengths_of(num_rows: int) -> list[int]:
    return np.random.default_rng(7).integers(1, 200, num_rows).tolist()


@given(*sizes, st.booleans())
def test_every_row_comes_once(num_rows: int, batch_size: int, seed: int, epoch: int, by_length: bool) -> None:
    batches = epoch_batches(num_rows, batch_size, seed, epoch, lengths_of(num_rows) if by_length else None)
    rows = np.concatenate([*batches, np.empty(0, np.int64)])
    assert rows.dtype == np.int64 and np.array_equal(np.sort(rows), np.arange(num_rows))
    assert sorted(map(len, batches), reverse=True)[:-1] == [batch_size] * (len(batches) - 1)
    assert len(batches) == -(-num_rows // batch_size)  # none is dropped, none is empty


@given(*sizes, st.booleans())
def test_the_same_seed_and_epoch_give_the_same_order(
    num_rows: int, batch_size: int, seed: int, epoch: int, by_length: bool
) -> None:
    lengths = lengths_of(num_rows) if by_length else None
    one, two = (epoch_batches(num_rows, batch_size, seed, epoch, lengths) for _ in range(2))
    assert len(one) == len(two) and all(map(np.array_equal, one, two))


def test_another_seed_or_epoch_gives_another_order() -> None:
    orders = {tuple(np.concatenate(epoch_batches(100, 8, seed, epoch))) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_rows_of_like_length_share_a_batch_and_batches_come_in_any_order() -> None:
    lengths = np.array(lengths_of(5000))
    batches = epoch_batches(5000, 16, 0, 0, lengths_of(5000))
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    plain = sum(len(batch) * lengths[batch].max() for batch in epoch_batches(5000, 16, 0, 0))
    assert padded < 1.05 * lengths.sum() < 1.7 * lengths.sum() < plain
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2  # not from short to long


@given(st.lists(st.integers(0, 300), max_size=200), st.integers(1, 64))
def test_rows_answered_together_hold_little_padding(lengths: list[int], most: int) -> None:
    sizes, batches = np.array(lengths, np.int64), list(answer_batches(lengths, most))
    assert sorted(np.concatenate([*batches, np.empty(0, np.int64)]).tolist()) == list(range(len(lengths)))
    for batch in batches:
        held, longest = sizes[batch].sum(), sizes[batch].max()
        assert 0 < len(batch) <= most
        assert len(batch) * longest - held <= max(PADDING, (held - longest) // 8)
    for one, next_one in itertools.pairwise(batches):  # and none ends sooner than it must
        held, size = sizes[one].sum(), sizes[next_one].min()
        assert len(one) == most or len(one) * size - held > max(PADDING, held // 8)
