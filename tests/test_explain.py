"""explain: attributions of known answers are found, and an explainer that names nothing special is caught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelcommons.workbench import fields
from modelcommons.workbench.engine import attribution
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.sources import find as find_source
from modelcommons.workbench.stages import explain
from modelcommons.workbench.task import Choice, Job, Parts, Row, Split, Task


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Path, Parts]:
    """The tiny world of pictures, and a model that knows it."""
    folder = tmp_path_factory.mktemp("tiny")
    task = fields.find("image-classification")
    tiny, options = task.tiny(folder / "data"), task.options()
    parts = task.split(task.rows(find_source(str(tiny.source)), {}, options), Split(), options)
    (folder / "model").mkdir()
    choice = Choice(name="cnn", options={"widths": [16, 32]})
    job = Job(choice, Training(epochs=12), options, 0, folder / "model", folder / "checkpoints", Silent())
    task.fit(parts.train, parts.validation, job)
    return task, folder / "model", parts


def deletion_of(trained: tuple[Task, Path, Parts], weights: Any, examples: int = 12) -> attribution.Deletion:
    """The deletion test of an explainer whose weights are what `weights` makes of the true ones."""
    task, folder, parts = trained
    explainer = task.explainer(folder)  # type: ignore[attr-defined]
    rows = [parts.test[index] for index in range(examples)]
    found = [weights(explainer.attribute(row).weights) for row in rows]
    return attribution.deletion(found, lambda at, removed: explainer.strength(rows[at], removed), trials=10, seed=0)


def test_a_true_explanation_passes(trained: tuple[Task, Path, Parts]) -> None:
    test = deletion_of(trained, lambda weights: weights)
    assert test.holds and test.p_value < 0.01 and test.named > 2 * test.random and test.wins >= 10


def test_an_explainer_with_random_weights_is_caught(trained: tuple[Task, Path, Parts]) -> None:
    rng = np.random.default_rng(0)
    test = deletion_of(trained, lambda weights: rng.normal(size=len(weights)))
    assert not test.holds and "no better than random" in explain.in_words(test)


def test_an_explainer_upside_down_is_caught(trained: tuple[Task, Path, Parts]) -> None:
    test = deletion_of(trained, lambda weights: -weights)
    assert not test.holds and test.p_value > 0.5


def test_the_p_value_is_right_where_nothing_is_named() -> None:
    """Explanations at random: a p value of at most 0.1 comes about once in ten times."""
    rng = np.random.default_rng(1)
    low = 0
    for seed in range(100):
        worth = rng.exponential(size=(4, 20))  # what each feature weighs in each example

        def strength(at: int, removed: list[np.ndarray], worth: np.ndarray = worth) -> np.ndarray:
            return np.array([-worth[at][gone].sum() for gone in removed])

        low += attribution.deletion(list(rng.normal(size=(4, 20))), strength, 9, seed).p_value <= 0.1
    assert 2 <= low <= 20, low


def test_attributions_of_a_linear_score_are_its_terms() -> None:
    import torch

    weight = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    inputs, baseline = torch.tensor([[1.0, 1.0, 2.0, 4.0]]), torch.tensor([[0.0, 0.5, 0.0, 0.0]])
    terms = (weight * (inputs - baseline)).numpy()[0]

    def score(x: Any) -> Any:
        return (x * weight).sum(1)

    assert np.allclose(attribution.integrated_gradients(score, inputs, baseline)[0], terms, atol=1e-5)
    groups = np.array([0, 1, 0, 2])
    pooled = attribution.by_group(terms, groups)
    assert np.allclose(attribution.occlusion(score, inputs, baseline, groups), pooled, atol=1e-5)
    assert np.allclose(pooled, [7.0, -1.0, 2.0])


def test_examples_are_some_right_some_wrong_some_unsure() -> None:
    rng = np.random.default_rng(0)
    losses = (np.arange(100) % 10 == 0).astype(float)
    lines = [{"margin": float(margin)} for margin in rng.permutation(100) / 100]
    chosen = explain.choose(lines, losses, 9, seed=0)
    assert chosen == sorted(set(chosen)) and len(chosen) == 9
    least = {int(at) for at in np.argsort([line["margin"] for line in lines])[:6]}
    assert sum(losses[at] for at in chosen) >= 3 and len(least & set(chosen)) >= 3
    assert sum(not losses[at] for at in chosen) >= 3
    assert chosen == explain.choose(lines, losses, 9, seed=0)


@pytest.mark.parametrize(("num_rows", "count"), [(1, 8), (5, 8), (3, 1)])
def test_few_rows_are_enough(num_rows: int, count: int) -> None:
    """All right, no margins, fewer rows than asked for."""
    lines: Sequence[dict[str, Any]] = [{} for _ in range(num_rows)]
    assert len(explain.choose(lines, np.zeros(num_rows), count, 0)) == min(num_rows, count)


def test_a_drawing_is_self_contained_and_escaped(trained: tuple[Task, Path, Parts]) -> None:
    from modelcommons.workbench.task import Attribution

    task, folder, parts = trained
    explainer = task.explainer(folder)  # type: ignore[attr-defined]
    row = parts.test[0]
    found = explainer.attribute(row)
    hostile = Attribution(found.weights, found.names, found.shape, found.method, "</title><script>alert(1)</script>")
    drawing = explainer.show(row, hostile)
    assert "<script" not in drawing and "http" not in drawing.replace("http://www.w3.org/2000/svg", "")
    assert drawing.count("<rect") == len(found.weights) == np.prod(found.shape)


def test_removing_nothing_changes_nothing_and_everything_leaves_little(trained: tuple[Task, Path, Parts]) -> None:
    task, folder, parts = trained
    explainer = task.explainer(folder)  # type: ignore[attr-defined]
    row: Row = parts.test[0]
    num_patches = len(explainer.attribute(row).weights)
    none, all_gone = explainer.strength(row, [np.array([], np.int64), np.arange(num_patches)])
    model = task.load(folder)
    answer = model.predict([row])[0]["prediction"]
    assert none == pytest.approx(answer["probabilities"][answer["label"]], abs=1e-5) and all_gone < none
