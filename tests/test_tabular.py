"""tables: trees that answer as scikit-learn's do, metrics as it counts them, missing cells, honest intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import modelcommons as mc
from modelcommons.errors import CommonsError, DataError, FormatError
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields import find
from modelcommons.workbench.fields.tabular.encoder import Encoder
from modelcommons.workbench.fields.tabular.fitting import ARCHITECTURES, conformal, temperature
from modelcommons.workbench.fields.tabular.metrics import scores
from modelcommons.workbench.fields.tabular.predictor import Predictor, load, probabilities
from modelcommons.workbench.fields.tabular.rows import Options, Records, RegressionOptions
from modelcommons.workbench.fields.tabular.trees import Forest
from modelcommons.workbench.sources import local
from modelcommons.workbench.task import Choice, Fit, Job, Parts, Split, Task

CLASSES, NUMBERS = find("tabular-classification"), find("tabular-regression")


def options_of(task: Task) -> Options:
    return Options() if task is CLASSES else RegressionOptions()


def parts_of(task: Task, folder: Path, split: Split | None = None, **columns: str) -> Parts:
    options = options_of(task)
    return task.split(task.rows(local.find(folder, "here"), columns, options), split or Split(), options)


FAST = Training(epochs=20, learning_rate=0.01)


def fitted(task: Task, parts: Parts, folder: Path, name: str, **options: Any) -> tuple[Predictor, Fit]:
    (folder / "model").mkdir(parents=True, exist_ok=True)
    job = Job(
        choice=Choice(None, name, options), training=FAST, options=options_of(task), seed=0,
        folder=folder / "model", checkpoints=folder / "checkpoints", progress=mc.Silent(),
    )  # fmt: skip
    fit = task.fit(parts.train, parts.validation, job)
    return load(folder / "model"), fit


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tmp_path_factory.mktemp("leaves")
    CLASSES.tiny(folder)
    return parts_of(CLASSES, folder)


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tmp_path_factory.mktemp("sums")
    NUMBERS.tiny(folder)
    return parts_of(NUMBERS, folder)


def write(folder: Path, text: str, name: str = "data") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


# --- trees ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["two classes", "four classes", "numbers"])
def test_trees_answer_as_scikit_learn_does(kind: str) -> None:
    """With empty cells too, and with values that are thresholds themselves."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(300, 5)), 1)
    x[rng.random(x.shape) < 0.1] = np.nan
    signal = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) * np.isnan(x[:, 2])
    fresh = np.concatenate([np.round(rng.normal(size=(200, 5)), 1), np.full((1, 5), np.nan), x[:50]])
    common = {"max_iter": 30, "max_leaf_nodes": 9, "min_samples_leaf": 5, "early_stopping": False}
    if kind == "numbers":
        grown = HistGradientBoostingRegressor(**common).fit(x, signal)
        expected = grown.predict(fresh)[:, None]
    else:
        y = np.digitize(signal, [0.0] if kind == "two classes" else [-1.0, 0.0, 1.0])
        grown = HistGradientBoostingClassifier(**common).fit(x, y)
        expected = grown.predict_proba(fresh)
    found = Forest.of(grown).score(fresh)
    found = found if kind == "numbers" else probabilities(found, 1.0)
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_first_rounds_are_those_of_a_shorter_training() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    long, short = (
        Forest.of(HistGradientBoostingRegressor(max_iter=rounds, early_stopping=False).fit(x, x[:, 0] ** 2))
        for rounds in (20, 8)
    )
    assert long.score(x, 8) == pytest.approx(short.score(x))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("left", 0, "no later node"),
        ("right", 10**6, "no later node"),
        ("feature", 99, "a feature that is not there"),
        ("roots", 10**6, "begins outside"),
    ],
)
def test_trees_that_lead_astray_are_refused(name: str, value: int, said: str, leaves: Parts, tmp_path: Path) -> None:
    """A stranger's arrays could walk in a circle or out of memory: they are looked at before."""
    fitted(CLASSES, leaves, tmp_path, "boosting", leaves=4, rounds=3)
    weights = load_file(tmp_path / "model" / "model.safetensors")
    inner = int(np.flatnonzero(weights["left"] != np.arange(len(weights["left"])))[-1])
    weights[name][0 if name == "roots" else inner] = value
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(FormatError, match=said):
        load(tmp_path / "model")


# --- metrics, temperature, intervals --------------------------------------------------------------------------------

NUMBER = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 3))


@settings(max_examples=40)
@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=2, max_size=30))
def test_metrics_are_what_scikit_learn_says(pairs: list[tuple[float, float]]) -> None:
    from sklearn import metrics

    target, mean = np.array(pairs).T
    lines = [
        {"target": a, "prediction": {"mean": b, "low": b - 1, "high": b + 2}} for a, b in zip(target, mean, strict=True)
    ]
    found = {score.metric: score for score in scores(lines)}
    assert found["rmse"].value == pytest.approx(metrics.root_mean_squared_error(target, mean))
    assert found["mae"].value == pytest.approx(metrics.mean_absolute_error(target, mean))
    if np.ptp(target) > 0:
        assert found["r2"].value == pytest.approx(metrics.r2_score(target, mean))
    assert found["coverage"].value == np.mean([b - 1 <= a <= b + 2 for a, b in pairs])
    assert found["width"].value == pytest.approx(3)
    assert all(score.low <= score.value <= score.high for score in found.values())


def test_a_temperature_is_where_the_log_loss_is_least() -> None:
    from scipy.optimize import minimize_scalar

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 3)) * 4
    y = np.array([rng.choice(3, p=row) for row in probabilities(logits, 2.5)])

    def loss(log: float) -> float:
        return float(-np.log(probabilities(logits, np.exp(log))[np.arange(400), y]).mean())

    assert temperature(logits, y) == pytest.approx(float(np.exp(minimize_scalar(loss).x)), rel=0.05)
    assert temperature(logits, y) == pytest.approx(2.5, rel=0.25)


def test_a_dozen_right_answers_are_no_reason_to_be_sure() -> None:
    """Without a prior the temperature of rows that are all right is as low as it may be."""
    logits = np.array([[2.0], [-2.0]] * 7)
    assert temperature(logits, np.array([1, 0] * 7)) > 0.6


def test_intervals_hold_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(200):
        low, high = conformal(rng.normal(size=60), 0.8)
        fresh = rng.normal(size=200)
        inside.append(((low <= fresh) & (fresh <= high)).mean())
    assert 0.79 <= np.mean(inside) <= 0.84


# --- cells ----------------------------------------------------------------------------------------------------------


def test_cells_become_numbers_as_the_training_rows_say() -> None:
    encoder = Encoder.of({"age": np.array([1.0, 3.0, np.nan]), "sex": ["f", "m", "f"]})
    assert encoder.names == ("age", "sex") and encoder.owners.tolist() == [0, 0, 1, 1]
    assert encoder.usual() == {"age": 2.0, "sex": "f"}
    made = encoder.encode({"age": [5, None], "sex": ["m", "x"]})
    assert made.tolist() == [[3.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]
    raw = encoder.encode({"age": [5, None], "sex": ["m", None]}, raw=True)
    assert raw[0].tolist() == [5.0, 0.0, 0.0, 1.0] and np.isnan(raw[1, 0])
    assert Encoder.read(json.loads(json.dumps(encoder.json()))) == encoder
    with pytest.raises(DataError, match="Expected a number in column 'age', got 'old'"):
        encoder.encode({"age": ["old"], "sex": ["f"]})


@pytest.mark.parametrize(
    ("task", "text", "said"),
    [
        (CLASSES, "a,b\n1,2\n", "Expected a column that is the label, found none among a, b"),
        (CLASSES, "a,label\n1,x\n2,x\n", "Expected 2 to 1,000 classes in 'label', found 1"),
        (CLASSES, "id,label\n1,x\n2,y\n", "Expected columns of numbers or categories beside 'label'"),
        (NUMBERS, "a,target\n1,high\n", "Expected numbers in 'target', found none"),
        (NUMBERS, "a,b\n1,2\n", "Expected a column that is the target"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(task: Task, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        parts_of(task, write(tmp_path, text))


def test_bad_rows_are_counted_with_their_line(tmp_path: Path) -> None:
    rows = "".join(f"{at},{at % 5},{at}\n" for at in range(40))
    folder = write(tmp_path, f"a,b,target\n{rows}1,2,\n3,inf,4\n,1,5\n")
    reading = NUMBERS.rows(local.find(folder, "here"), {}, RegressionOptions())
    assert (reading.num_bad, reading.num_read) == (2, 43)  # an empty cell is no mistake, an infinite one is
    assert [bad.where for bad in reading.bad] == ["data.csv:42", "data.csv:43"]
    assert "b is" in reading.bad[1].reason


def test_what_is_ignored_is_not_seen_and_groups_stay_whole(tmp_path: Path) -> None:
    rows = "".join(f"{at},{at % 7},{at % 2},p{at // 4}\n" for at in range(200))
    source = local.find(write(tmp_path, "a,b,label,patient\n" + rows), "here")
    reading = CLASSES.rows(source, {"group": "patient"}, Options(ignore=("b",)))
    parts = CLASSES.split(reading, Split(by="group"), Options())
    assert list(parts.train[0].x) == ["a"]
    groups = [{row.group for row in map(part.__getitem__, range(len(part)))} for part in (parts.train, parts.test)]
    assert not groups[0] & groups[1]
    with pytest.raises(DataError, match=r"data\.options\.ignore: there is no column 'c'"):
        CLASSES.rows(source, {}, Options(ignore=("c",)))


def test_the_latest_rows_are_the_test(tmp_path: Path) -> None:
    rows = "".join(f"{at},{at % 2},{(at * 37) % 100}\n" for at in range(100))
    parts = parts_of(CLASSES, write(tmp_path, "a,label,day\n" + rows), Split(by="time"), time="day")
    train, test = (part.times for part in (parts.train, parts.test) if isinstance(part, Records))
    assert train is not None and test is not None and train.max() < test.min() and len(test) == 20


# --- models ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_model_learns_both_tasks(name: str, leaves: Parts, sums: Parts, tmp_path: Path) -> None:
    small = {"boosting": {"leaves": 7, "rounds": 60}, "mlp": {"width": 16}}.get(name, {})
    model, fit = fitted(CLASSES, leaves, tmp_path / "classes", name, **small)
    rows = [leaves.test[at] for at in range(len(leaves.test))]
    answers = model.predict(rows)
    right = np.mean([answer["prediction"]["label"] == row.y for answer, row in zip(answers, rows, strict=True)])
    assert right >= 0.9 and fit.metric == "accuracy" and model.labels == ("ash", "elm")
    model, fit = fitted(NUMBERS, sums, tmp_path / "numbers", name, **small)
    rows = [sums.test[at] for at in range(len(sums.test))]
    lines = [
        {"target": row.y, **answer} for row, answer in zip(rows, model.predict(rows), strict=True)
    ]  # fmt: skip
    found = {score.metric: score.value for score in scores(lines)}
    spread = float(np.std([row.y for row in rows]))
    assert found["rmse"] < 0.5 * spread and fit.metric == "rmse" and found["coverage"] >= 0.75


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_onnx_file_gives_the_same_outputs(name: str, leaves: Parts, sums: Parts, tmp_path: Path) -> None:
    small = {"boosting": {"leaves": 7, "rounds": 20}, "mlp": {"width": 8}}.get(name, {})
    for task, parts in ((CLASSES, leaves), (NUMBERS, sums)):
        model, _ = fitted(task, parts, tmp_path / task.name, name, **small)
        task.export(tmp_path / task.name / "model", tmp_path / task.name / "model" / "model.onnx")  # type: ignore[attr-defined]
        exported = load(tmp_path / task.name / "model", "model.onnx")
        columns = {
            column: [row.x[column] for row in map(parts.test.__getitem__, range(40))] for column in model.encoder.names
        }
        assert exported.outputs(columns) == pytest.approx(model.outputs(columns), abs=1e-5)


def test_logistic_and_ridge_are_scikit_learns(leaves: Parts, sums: Parts, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression, Ridge

    for task, parts, kind in ((CLASSES, leaves, LogisticRegression(C=0.5, max_iter=1000)), (NUMBERS, sums, Ridge(2.0))):
        model, _ = fitted(task, parts, tmp_path / task.name, "linear", ridge=2.0)
        known = [row for part in (parts.train, parts.validation) for row in map(part.__getitem__, range(len(part)))]
        columns = {name: [row.x[name] for row in known] for name in model.encoder.names}
        x = model.encoder.encode(columns)
        kind.fit(x, [row.y for row in known])
        if task is CLASSES:
            expected = kind.decision_function(x)
        else:
            expected = (kind.predict(x) - model.finish.center) / model.finish.unit
        assert model.outputs(columns)[:, 0] == pytest.approx(expected, abs=1e-2 if task is CLASSES else 1e-6)


def test_a_linear_explanation_is_weight_times_distance(leaves: Parts, tmp_path: Path) -> None:
    model, _ = fitted(CLASSES, leaves, tmp_path, "linear", ridge=1.0)
    explainer, row = CLASSES.explainer(tmp_path / "model"), leaves.test[1]  # type: ignore[attr-defined]
    attribution = explainer.attribute(row)
    weight = load_file(tmp_path / "model" / "model.safetensors")["weight"][:, 0]
    usual = model.encoder.usual()
    distance = model.encoder.encode({name: [row.x[name]] for name in usual}) - model.encoder.encode(
        {name: [value] for name, value in usual.items()}  # type: ignore[list-item]
    )
    by_hand = np.bincount(model.encoder.owners, (distance[0] * weight))
    sign = 1 if attribution.answer == "elm" else -1
    assert attribution.weights == pytest.approx(sign * by_hand, abs=1e-9)


def test_a_person_is_answered_row_by_row(leaves: Parts, tmp_path: Path) -> None:
    model, _ = fitted(CLASSES, leaves, tmp_path, "linear", ridge=1.0)
    asked = ({"length": 7.3, "colour": "red"}, '[{"length": "3.9"}, {"length": null, "colour": "green"}]')
    found = [
        [answer["prediction"]["label"] for answer in model.predict(CLASSES.read_input(one, Options()))] for one in asked
    ]
    assert found == [["elm"], ["ash", "ash"]]
    table = write(tmp_path / "asked", "length,colour\n7.5,red\n3.8,green\n") / "data.csv"
    rows = CLASSES.read_input(table, Options())
    assert [answer["prediction"]["label"] for answer in model.predict(rows)] == ["elm", "ash"]
    with pytest.raises(DataError, match="Expected a row such as"):
        CLASSES.read_input("seven", Options())


def test_a_budget_ends_the_search_with_a_usable_model(sums: Parts, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    job = Job(
        choice=Choice(None, "linear", {}), training=Training(), options=RegressionOptions(), seed=0,
        folder=tmp_path / "model", checkpoints=tmp_path, progress=mc.Silent(), seconds=1e-6,
    )  # fmt: skip
    tried = NUMBERS.fit(sums.train, sums.validation, job).settings["loss on held-out rows"]
    assert list(tried) == ["ridge=1", "the budget ended the search"]
    assert load(tmp_path / "model").predict([sums.test[0]])


def test_weights_of_another_table_are_refused(leaves: Parts, sums: Parts, tmp_path: Path) -> None:
    fitted(CLASSES, leaves, tmp_path / "a", "linear", ridge=1.0)
    fitted(NUMBERS, sums, tmp_path / "b", "linear", ridge=1.0)
    other = (tmp_path / "b" / "model" / "model.safetensors").read_bytes()
    weights = tmp_path / "a" / "model" / "model.safetensors"
    if weights.read_bytes() != other:
        weights.write_bytes(other)
    config = json.loads((tmp_path / "a" / "model" / "config.json").read_text())
    config["encoder"] = config["encoder"][:1]
    (tmp_path / "a" / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CommonsError, match="not those of its config"):
        load(tmp_path / "a" / "model")
