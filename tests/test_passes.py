"""passes over the training rows: all of them, or without a share of the easy ones, for which the others count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modelcommons.workbench.engine.pace import State
from modelcommons.workbench.engine.passes import WHOLE, Passes
from modelcommons.workbench.engine.schedule import Plan

SIZE = 8


def plan_of(accumulate: int = 1, seed: int = 0, skip_easy: float | None = None) -> Plan:
    return Plan(
        batch_size=SIZE, accumulate=accumulate, epochs=1.0, steps_per_epoch=1, total=100, optimizer="adamw",
        learning_rate=1.0, weight_decay=0.0, warmup=0.1, schedule="cosine", clip=0.0, precision="fp32", patience=0,
        seed=seed, skip_easy=skip_easy,
    )  # fmt: skip


def one_pass(passes: Passes, plan: Plan, state: State, losses: np.ndarray, place: float = 0.0) -> np.ndarray:
    """Takes the steps of a pass, whose rows have these losses; how much each row counted in it, float (rows,)."""
    counted = np.zeros(len(losses))
    while True:
        for batch in passes.next(place):
            assert (counted[batch] == 0).all(), "no row twice in a pass"
            if plan.skip_easy:
                counted[batch] = passes.weights(batch).numpy()
                passes.saw(batch, torch.from_numpy(losses[batch]))
            else:
                counted[batch] = 1
        if state.taken >= len(passes._batches):
            return counted


@given(
    num_rows=st.integers(1, 80),
    accumulate=st.integers(1, 3),
    by_length=st.booleans(),
    share=st.sampled_from([None, 0.25, 0.5, 0.9]),
    seed=st.integers(0, 5),
)
def test_only_easy_rows_are_left_out_and_the_others_of_them_count_for_them(
    num_rows: int, accumulate: int, by_length: bool, share: float | None, seed: int
) -> None:
    plan, state = plan_of(accumulate=accumulate, seed=seed, skip_easy=share), State()
    losses = np.random.default_rng(seed).random(num_rows).astype(np.float32)
    lengths = [n % 5 for n in range(num_rows)] if by_length else None
    passes = Passes(num_rows, plan, state, lengths, {})
    assert (one_pass(passes, plan, state, losses) == 1).all(), "nothing is known before the first pass"
    easy = losses < losses.mean()
    for _ in range(3):
        counted = one_pass(passes, plan, state, losses)
        if share is None:
            assert (counted == 1).all()
            continue
        kept = (counted > 0).mean()  # the rows that are taken count 1 on average
        assert np.allclose(counted[~easy], kept)
        assert np.isclose(counted[easy][:, None], [0, kept / (1 - share)]).any(axis=1).all()
    assert (one_pass(passes, plan, state, losses, 1 - WHOLE) == 1).all(), "and the last passes are whole"


def test_over_many_passes_every_row_counts_alike() -> None:
    plan, state = plan_of(skip_easy=0.5), State()
    losses = np.arange(40, dtype=np.float32)
    passes = Passes(40, plan, state, None, {})
    one_pass(passes, plan, state, losses)
    found = np.array([one_pass(passes, plan, state, losses) for _ in range(400)])
    assert np.allclose(found.sum(axis=1) / (found > 0).sum(axis=1), 1.0, atol=0.3), "a step is as long as ever"
    assert found.mean() == pytest.approx(found[:, 20:].mean(), rel=0.05), "easy rows count as much as the others"
    assert found[:, :20].mean(axis=0) == pytest.approx(found[:, 20:].mean(), rel=0.25), "each of them"


def test_rows_that_are_all_alike_are_all_kept() -> None:
    """The mean of equal numbers, rounded, may lie above them."""
    plan, state = plan_of(skip_easy=0.9), State()
    losses = np.full(1000, 0.6931472, np.float32)
    passes = Passes(1000, plan, state, None, {})
    assert (one_pass(passes, plan, state, losses) == 1).all() and (one_pass(passes, plan, state, losses) == 1).all()


def test_it_goes_on_in_the_middle_of_a_pass() -> None:
    """What a checkpoint holds is enough, also once losses have changed since the pass began."""
    plan, state, rng = plan_of(skip_easy=0.5), State(), np.random.default_rng(0)
    passes = Passes(40, plan, state, None, {})
    for _ in range(23):
        kept = {name: tensor.clone() for name, tensor in passes.tensors().items()}
        resumed = Passes(40, plan, State(passes=state.passes, taken=state.taken), None, kept)
        (batch,), (same,) = passes.next(0.0), resumed.next(0.0)
        assert batch.tolist() == same.tolist() and torch.equal(passes.weights(batch), resumed.weights(same))
        passes.saw(batch, torch.from_numpy(rng.random(len(batch))))
