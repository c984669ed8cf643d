"""shrink: what is said of an export beside its parent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_up import scored, shrunk

from modelcommons.workbench.stages.shrink import verdict


@pytest.mark.parametrize(
    ("value", "p_value", "said"),
    [
        (0.915, 0.41, "not worse"),
        (0.9155, 2e-7, "0.97% worse, which the recipe allows"),
        (0.92449, 1e-3, "not worse"),
        (0.93, 1e-3, "not worse"),
    ],
)
def test_a_loss_that_is_no_chance_is_told_though_it_is_allowed(value: float, p_value: float, said: str) -> None:
    parent, export = scored().main, shrunk().exports[0]
    first = replace(parent.scores[0], value=0.9245)
    mine = replace(export.evaluation, scores=(replace(first, value=value),))
    assert verdict(replace(export, evaluation=mine, p_value=p_value), replace(parent, scores=(first,))) == said


def test_what_is_left_out_says_why() -> None:
    bad = shrunk().exports[1]
    assert verdict(bad, scored().main) == f"left out: {bad.why}"
