"""classification: scores agree with scikit-learn, intervals mean what they say, figures show any label."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcommons.errors import DataError, FormatError
from modelcommons.formats import predictions
from modelcommons.workbench.engine import classification
from modelcommons.workbench.engine.statistics import bootstrap

NAMES = ["cat", "狗", "a.b", "2024-01-01", "</svg><script>", "$x$ & $y$"]


def made(probabilities: np.ndarray, targets: list[str], labels: list[str]) -> list[dict[str, Any]]:
    answers = classification.answers(probabilities, labels)
    return [{"id": str(n), "target": y, **a} for n, (y, a) in enumerate(zip(targets, answers, strict=True))]


def world(seed: int, num_rows: int, labels: list[str], skill: float = 2.0) -> list[dict[str, Any]]:
    """Lines of a classifier that knows something."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, len(labels), num_rows)
    logits = rng.normal(size=(num_rows, len(labels)))
    logits[np.arange(num_rows), targets] += skill
    powers = np.exp(logits)
    return made(powers / powers.sum(1, keepdims=True), [labels[t] for t in targets], labels)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(2, 6), st.floats(-1, 6))
def test_scores_are_those_of_scikit_learn(seed: int, num_rows: int, num_labels: int, skill: float) -> None:
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    labels = sorted(NAMES[:num_labels])
    lines = world(seed, num_rows, labels, skill)
    targets, answered = [line["target"] for line in lines], [line["prediction"]["label"] for line in lines]
    given = np.array([[line["prediction"]["probabilities"][label] for label in labels] for line in lines])
    accuracy, macro_f1, surprise, calibration = classification.scores(lines)
    assert accuracy.value == pytest.approx(accuracy_score(targets, answered))
    assert macro_f1.value == pytest.approx(f1_score(targets, answered, average="macro", zero_division=0.0))
    expected = log_loss(targets, given / given.sum(1, keepdims=True), labels=labels)
    assert surprise.value == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert calibration.value == pytest.approx(slow_calibration_error(lines))
    for score in (accuracy, macro_f1, surprise, calibration):
        assert score.low <= score.value <= score.high


def slow_calibration_error(lines: list[dict[str, Any]]) -> float:
    """Guo et al. (2017), equation 3, word for word."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for line in lines:
        label = line["prediction"]["label"]
        confidence = line["prediction"]["probabilities"][label]
        bins.setdefault(min(14, int(confidence * 15)), []).append((confidence, label == line["target"]))
    gaps = [abs(sum(c for c, _ in rows) - sum(right for _, right in rows)) for rows in bins.values()]
    return sum(gaps) / len(lines)


def test_the_columns_of_a_file_give_the_same_scores_as_its_lines(tmp_path: Path) -> None:
    lines = world(0, 3000, NAMES)
    predictions.write(tmp_path / "lines.jsonl.gz", lines)
    stored = predictions.read(tmp_path / "lines.jsonl.gz")
    assert hasattr(stored, "table")
    assert classification.scores(stored) == classification.scores(lines)
    assert (classification.losses(stored) == classification.losses(lines)).all()


def test_labels_that_look_like_dates_stay_labels(tmp_path: Path) -> None:
    lines = world(0, 50, ["2024-01-01", "2024-01-02"])
    predictions.write(tmp_path / "lines.jsonl.gz", lines)
    assert classification.scores(predictions.read(tmp_path / "lines.jsonl.gz")) == classification.scores(lines)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 60 samples of 400 rows, at least 50 intervals hold the value of a sample of 60,000."""
    truth = classification.scores(world(1, 60_000, NAMES[:3]))
    hits = np.zeros(4)
    for seed in range(60):
        found = classification.scores(world(100 + seed, 400, NAMES[:3]), seed)
        hits += [score.low <= true.value <= score.high for score, true in zip(found, truth, strict=True)]
    assert (hits >= 50).all(), hits


def test_grouped_resampling_gives_the_interval_of_plain_resampling() -> None:
    values = np.random.default_rng(0).exponential(size=20_000)
    exact, grouped = bootstrap(values, 0), classification._grouped_bootstrap(values, 0)
    assert np.allclose(exact, grouped, atol=0.1 * (exact[1] - exact[0]))


def test_an_unknown_right_label_counts_as_the_least_probability() -> None:
    lines = made(np.array([[0.5, 0.5]]), ["bird"], ["cat", "dog"])
    assert classification.scores(lines)[2].value == pytest.approx(-math.log(classification.LEAST))


def test_a_line_alone_says_everything() -> None:
    line = made(np.array([[0.25, 0.6250001234, 0.125]]), ["cat"], ["cat", "dog", "cow"])[0]
    assert line["prediction"] == {"label": "dog", "probabilities": {"cat": 0.25, "dog": 0.625, "cow": 0.125}}
    assert line["margin"] == 0.375


def test_majority_gives_the_shares_of_the_training_rows() -> None:
    floor = classification.Majority.of(["b", "a", "b", "c"])
    answers = floor.predict([object(), object()])
    assert answers[0] == answers[1] and len(answers) == 2
    assert answers[0]["prediction"] == {"label": "b", "probabilities": {"a": 0.25, "b": 0.5, "c": 0.25}}


def test_a_rerun_agrees_within_noise_only() -> None:
    sure, unsure, other = (
        made(np.array([pair]), ["cat"], ["cat", "dog"])[0] for pair in ([0.9, 0.1], [0.5001, 0.4999], [0.4999, 0.5001])
    )
    assert classification.agrees(unsure, other, noise=1e-3)
    assert not classification.agrees(unsure, other, noise=1e-5), "another label, and the margin was larger than noise"
    assert not classification.agrees(sure, unsure, noise=1e-3), "the same label, but other probabilities"
    assert classification.changed(sure, other) and not classification.changed(sure, unsure)


@pytest.mark.parametrize(
    "line",
    [
        {"target": "a"},
        {"target": "a", "prediction": [1.0]},
        {"target": "a", "prediction": {"label": "a", "probabilities": [1.0]}},
        {"target": "a", "prediction": {"label": "a", "probabilities": {"b": 1.0}}},
        {"target": "a", "prediction": {"label": "a", "probabilities": {"a": 1.5}}},
        {"target": "a", "prediction": {"label": "a", "probabilities": {"a": float("nan")}}},
        {"target": ["a"], "prediction": {"label": "a", "probabilities": {"a": 1.0}}},
    ],
)
def test_lines_that_are_no_classification_are_refused(line: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="Score the model again"):
        classification.scores([line])


def test_no_lines_no_score() -> None:
    with pytest.raises(DataError):
        classification.scores([])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_figures_show_any_label_as_text(language: Any) -> None:
    lines = world(0, 300, NAMES)
    drawings = classification.figures(lines, language)
    assert [title for title, _ in drawings] == [classification.WORDS[language][n] for n in ("confusion", "reliability")]
    confusion = drawings[0][1]
    assert ">狗<" in confusion and "<script>" not in confusion and "$x$ &amp; $y$" in confusion
    assert drawings == classification.figures(lines, language), "the same lines, the same bytes"


def test_many_labels_list_the_worst_pairs() -> None:
    labels = [f"label {n}" for n in range(77)]
    titles = [title for title, _ in classification.figures(world(0, 500, labels))]
    assert titles[1] == classification.WORDS["en"]["pairs"]


def test_very_many_labels_cost_no_square_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The square of 2,000 labels is 32 MB as counts: neither the scores nor the report hold such a thing."""
    monkeypatch.setattr(classification, "svg", lambda draw, *inches: "")
    monkeypatch.setattr(classification, "DRAWS", 500)
    labels = [f"label {at}" for at in range(2000)]
    lines = [
        {"id": name, "target": name, "margin": 0.0, "prediction": {"label": other, "probabilities": {other: 0.5}}}
        for name, other in zip(labels, [labels[0], *labels[:-1]], strict=True)
    ]
    tracemalloc.start()
    try:
        found = classification.scores(lines)
        assert next(title for title, _ in classification.figures(lines)) == classification.WORDS["en"]["pairs"]
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    assert found[0].value == pytest.approx(1 / 2000)
