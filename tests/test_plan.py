"""plan: what it takes for a step and a scoring, and that it says of every stage what a run will spend there."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelcommons.errors import LicenceError
from modelcommons.workbench import fields
from modelcommons.workbench.engine.training import Fit, Point
from modelcommons.workbench.plan import plan, step_and_scoring
from modelcommons.workbench.recipe import Recipe


def fit(steps: int, seconds: float, *scored: int) -> Fit:
    curve = tuple(Point(step, step / 4, 0.0, 1.0, 0.5) for step in scored)
    return Fit("accuracy", 0.5, curve, steps, steps / 4, seconds, 1.0, 1, 1)


def test_a_scoring_between_two_steps_is_no_part_of_a_step() -> None:
    ended = {1: 9.0, 2: 9.5, 3: 10.0, 4: 12.5, 5: 13.0, 6: 13.5}  # a slow first one; scored after the third, and last
    step, scoring = step_and_scoring(fit(6, 0.5 * 6 + 2 * 2.0, 3, 6), ended)
    assert [step, scoring] == pytest.approx([0.5, 2.0])


def test_steps_that_are_all_scored_count_with_their_scoring() -> None:
    assert step_and_scoring(fit(2, 5.0, 1, 2), {1: 0.0, 2: 2.5}) == (2.5, 0.0)


def test_what_is_solved_at_once_has_no_steps() -> None:
    assert step_and_scoring(fit(0, 5.0, 0), {}) == (0.0, 0.0)


def leaves(folder: Path, licence: str | None) -> Recipe:
    world = fields.find("tabular-classification").tiny(folder)
    return Recipe.model_validate(
        {
            "task": "tabular-classification",
            "data": {"source": str(world.source), "license": licence, "split": {"test": 0.6}},
            "evaluate": {"slices": ["class"]},
            "explain": {"examples": 3},
            **world.recipe,
        }
    )


def test_every_stage_has_its_seconds(tmp_path: Path) -> None:
    planned = plan(leaves(tmp_path, "cc0-1.0"))
    parts = [planned.prepare_seconds, planned.tune_seconds, planned.evaluate_seconds, planned.explain_seconds]
    assert all(seconds > 0 for seconds in parts) and planned.publish_seconds > 0
    assert planned.seconds == pytest.approx(sum(parts) + planned.shrink_seconds + planned.publish_seconds)
    assert planned.fits and "It fits: about" in str(planned)


def test_it_signs_with_nobodys_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    plan(leaves(tmp_path, "cc0-1.0"))
    assert not (tmp_path / "config").exists()


def test_licences_that_nobody_named_are_missed_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(LicenceError):
        plan(leaves(tmp_path, None))
