"""series: the metrics by hand, intervals and quantiles that hold what they promise, columns beside the series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcommons.errors import DataError, FormatError
from modelcommons.formats.predictions import read
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields import find
from modelcommons.workbench.fields.series.calendar import Frequency
from modelcommons.workbench.fields.series.ensemble import shares
from modelcommons.workbench.fields.series.figures import bands_of
from modelcommons.workbench.fields.series.forecaster import Config, gathered, linear_run, read_config, read_weights
from modelcommons.workbench.fields.series.forecasting import TASK
from modelcommons.workbench.fields.series.linear import errors, products
from modelcommons.workbench.fields.series.metrics import scores
from modelcommons.workbench.fields.series.networks import loaded, run_of
from modelcommons.workbench.fields.series.rows import History, Options, Panel, Series, Windows
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.run import Run, run
from modelcommons.workbench.task import Choice, Job, Model, Row, Source, SourceFile, Split


def line(target: list[float], mean: list[float], half: float, naive: float) -> dict[str, Any]:
    """One window of one channel: an interval of `half` on both sides, and the seasonal naive's error in training."""
    spread = {"low": [[x - half] for x in mean], "high": [[x + half] for x in mean]}
    return {
        "id": str(target), "target": {"values": [[x] for x in target], "scale": [naive]},
        "prediction": {"mean": [[x] for x in mean], **spread},
    }  # fmt: skip


def test_scores_are_those_worked_out_by_hand() -> None:
    lines = [line([1.0, 2.0], [2.0, 2.0], half=0.5, naive=2.0), line([0.0, 4.0], [0.0, 1.0], half=4.0, naive=0.5)]
    found = {score.metric: score.value for score in scores(lines)}
    assert found == pytest.approx(
        {
            "mse": (0.5 + 4.5) / 2,
            "mae": (0.5 + 1.5) / 2,
            "mase": (0.5 / 2.0 + 1.5 / 0.5) / 2,
            "coverage": (0.5 + 1.0) / 2,
            "width": (1.0 + 8.0) / 2,
        }
    )


@pytest.mark.parametrize(("came", "regime"), [([2.0, 3.8], "level stays"), ([2.4, 4.0], "level moves")])
def test_a_change_of_regime_is_a_level_more_than_one_deviation_away(came: list[float], regime: str) -> None:
    """The two steps before are 1 and 3: mean 2, deviation 1. What lies further back does not count."""
    past = np.array([[9.0], [1.0], [3.0]])
    values = np.array([[value] for value in came])
    row = Row("a", History(past, np.datetime64("2020-01-01")), values)
    assert TASK.slice(row, "regime") == regime


class World:
    """Daily series in a table, read and divided; a model is fitted in a few steps."""

    def __init__(self, folder: Path, columns: Mapping[str, np.ndarray], **options: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.options = folder, Options(**{"targets": (next(iter(columns)),), **options})
        days = np.datetime64("2020-01-01") + np.arange(len(next(iter(columns.values()))))
        lines = zip(days.tolist(), *(values.tolist() for values in columns.values()), strict=True)
        text = "".join(f"{day},{','.join(f'{value:.6g}' for value in values)}\n" for day, *values in lines)
        (folder / "data.csv").write_text(f"day,{','.join(columns)}\n{text}")
        source = Source("data", folder, (SourceFile("data.csv", 0, ""),), "")
        self.parts = TASK.split(TASK.rows(source, {}, self.options), Split(), self.options)

    def fit(self, name: str, options: Mapping[str, Any], steps: int | None = None) -> Model:
        folder = self.folder / name
        folder.mkdir()
        job = Job(
            choice=Choice(None, name, options), training=Training(learning_rate=0.01), options=self.options, seed=0,
            folder=folder, checkpoints=self.folder / "checkpoints", progress=Silent(), max_steps=steps,
        )  # fmt: skip
        self.told = TASK.fit(self.parts.train, self.parts.validation, job)
        return TASK.load(folder)


@pytest.mark.parametrize(("last", "name"), [(3.0, "volatile"), (1.0, "calm")])
def test_volatility_is_the_size_of_the_last_steps_beside_all(last: float, name: str) -> None:
    past = np.cumsum([[0.0], [2.0], [-2.0], [2.0], [last], [last]], axis=0)
    assert TASK.slice(Row("a", History(past, np.datetime64("2020-01-01")), np.zeros((2, 1))), "volatility") == name


@pytest.fixture(scope="module", params=["linear", "seasonal-naive"])
def noisy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A season of a week in noise that is the same all the time: what was promised can be kept."""
    folder = tmp_path_factory.mktemp("series")
    days = np.arange("2010-01-01", "2016-01-01", dtype="datetime64[D]")
    values = 3 * np.sin(np.arange(len(days)) * 2 * np.pi / 7) + np.random.default_rng(0).normal(0, 1, len(days))
    rows = "".join(f"{day},{value:.4f}\n" for day, value in zip(days, values, strict=True))
    (folder / "a.csv").write_text("day,sales\n" + rows)
    data = {
        "source": str(folder / "a.csv"),
        "license": "cc0-1.0",
        "options": {"horizon": 7, "interval": 0.9, "quantiles": [0.1, 0.5, 0.95]},
    }
    asked = {"task": "time-series-forecasting", "model": {"new": request.param}, "data": data}
    return run(Recipe.model_validate(asked | {"explain": {"examples": 0}}), folder / "run")


def test_an_interval_holds_the_share_that_it_promises(noisy: Run) -> None:
    coverage = next(score for score in noisy.scored.main.scores if score.metric == "coverage")
    assert coverage.value == pytest.approx(0.9, abs=0.03)


def test_the_card_says_the_promise_beside_what_was_found(noisy: Run) -> None:
    card = (noisy.folder / "model" / "README.md").read_text(encoding="utf-8")
    assert "| `prediction interval` | `0.9` |" in card


def test_a_metric_is_never_less_than_nothing(tmp_path: Path) -> None:
    """A constant series is forecast exactly; rounding does not make the error negative."""
    rows = "".join(f"{np.datetime64('2020-01-01') + day},5\n" for day in range(300))
    (tmp_path / "a.csv").write_text("day,sales\n" + rows)
    data = {"source": str(tmp_path / "a.csv"), "license": "cc0-1.0"}
    asked = {"task": "time-series-forecasting", "model": {"new": "linear"}, "data": data, "explain": {"examples": 0}}
    done = run(Recipe.model_validate(asked), tmp_path / "run")
    low = {metric.name: metric.low for metric in find("time-series-forecasting").metrics}
    assert done.tuned.trained[0].fit.value >= low["mse"]


# --- quantiles ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_the_weighted_quantile_loss_is_that_of_the_usual_library(seed: int, horizon: int, channels: int) -> None:
    """As GluonTS has it: twice the pinball loss (here scikit-learn's) over the sum of |values|, mean over levels."""
    from sklearn.metrics import mean_pinball_loss

    rng = np.random.default_rng(seed)
    targets, means = rng.normal(size=(2, 5, horizon, channels))
    quantiles = {str(level): np.sort(rng.normal(size=(5, horizon, channels))) for level in (0.1, 0.5, 0.75)}
    lines = [
        {
            "id": str(at), "target": {"values": targets[at].tolist(), "scale": [1.0] * channels},
            "prediction": {"mean": means[at].tolist(), "quantiles": {k: v[at].tolist() for k, v in quantiles.items()}},
        }
        for at in range(5)
    ]  # fmt: skip
    losses = [mean_pinball_loss(targets.ravel(), v.ravel(), alpha=float(k)) for k, v in quantiles.items()]
    found = {score.metric: score for score in scores(lines)}["wql"]
    assert found.value == pytest.approx(2 * np.mean(losses) / np.abs(targets).mean())
    assert found.low <= found.value <= found.high


def below(lines: Sequence[dict[str, Any]], level: str) -> float:
    """The share of values at or below a quantile."""
    return float(np.mean([np.array(one["target"]["values"]) <= one["prediction"]["quantiles"][level] for one in lines]))


@pytest.mark.parametrize("level", ["0.1", "0.5", "0.95"])
def test_a_quantile_holds_the_share_that_it_promises(noisy: Run, level: str) -> None:
    lines = list(read(noisy.folder / "model" / "predictions" / "model.jsonl.gz"))
    assert below(lines, level) == pytest.approx(float(level), abs=0.04)
    assert "wql" in {score.metric for score in noisy.scored.main.scores}


def test_a_network_learns_where_the_noise_is_and_its_quantiles_hold(tmp_path: Path) -> None:
    """Every seventh day is wild: there the quantiles of a network lie further apart, on the others closer."""
    rng, step = np.random.default_rng(0), np.arange(1500)
    values = np.sin(step * 2 * np.pi / 7) + rng.normal(size=1500) * np.where(step % 7 == 0, 2.0, 0.2)
    world = World(tmp_path, {"sales": values}, horizon=7, quantiles=(0.1, 0.9), interval=None)
    model = world.fit("lstm", {"lookback": 28, "patch": 7, "width": 16, "dropout": 0.0}, steps=120)
    rows = [world.parts.test[at] for at in range(0, len(world.parts.test), 7)]
    found = np.array([list(answer["prediction"]["quantiles"].values()) for answer in model.predict(rows)])
    came = np.array([row.y for row in rows])
    width = (found[:, 1] - found[:, 0]).mean(axis=0).ravel()
    assert width.max() > 3 * width.min()
    assert ((found[:, 0] <= came) & (came <= found[:, 1])).mean() == pytest.approx(0.8, abs=0.06)


# --- columns beside the series --------------------------------------------------------------------------------------

MODELS: dict[str, dict[str, Any]] = {
    "linear": {"lookback": 14},
    "lstm": {"lookback": 14, "patch": 7, "width": 16, "dropout": 0.0},
    "transformer": {"lookback": 14, "patch": 7, "width": 8, "dropout": 0.0, "layers": 1, "heads": 2},
}


def sales(known: bool, days: int = 700) -> dict[str, np.ndarray]:
    """Sales that a promotion in their own step, or a lead a week before, determines but for a little noise."""
    rng = np.random.default_rng(1)
    beside = (rng.random(days) < 0.3) * 1.0 if known else rng.normal(size=days)
    told = beside if known else np.concatenate([np.zeros(7), beside[:-7]])
    values = 10 + np.sin(np.arange(days) * 2 * np.pi / 7) + 5 * told + rng.normal(size=days) * 0.1
    return {"sales": values, "promo" if known else "lead": beside}


@pytest.mark.parametrize(
    ("name", "known"), [("linear", True), ("linear", False), ("lstm", True), ("transformer", False)]
)
def test_a_column_that_determines_the_series_is_used(name: str, known: bool, tmp_path: Path) -> None:
    """Without it nothing could forecast better than the variance of what it adds: 5.25, or 25."""
    options: dict[str, Any] = {"known": ("promo",)} if known else {"past": ("lead",)}
    world = World(tmp_path, sales(known), horizon=7, season=7, **options)
    model = world.fit(name, MODELS[name], steps=100)
    rows = [world.parts.test[at] for at in range(0, len(world.parts.test), 3)]
    forecasts = np.array([answer["prediction"]["mean"] for answer in model.predict(rows)])
    assert ((forecasts - [row.y for row in rows]) ** 2).mean() < (1 if known else 6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(0, 2), st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_the_error_from_sums_of_products_is_that_of_the_forecasts(
    seed: int, channels: int, num_past: int, lookback: int
) -> None:
    """For any map whose rows sum to 1 over the channel and to 0 over the columns beside it, and a shorter look-back."""
    rng, horizon = np.random.default_rng(seed), 3
    values, past = rng.normal(size=(40, channels)), rng.normal(size=(40, num_past))
    times, names = np.arange(40).astype("datetime64[s]"), tuple("abc")
    series = Series("x", times, values, np.ones(40, bool), values[:, :0], past)
    panel = Panel((series,), names[:channels], Frequency("second", 1), horizon, past=names[:num_past])
    windows = Windows(panel, np.array([[0, origin] for origin in range(9, 37)]))
    weight = rng.normal(size=(horizon, num_past + 1, lookback))
    weight += ((np.arange(num_past + 1) == num_past)[:, None] - weight.sum(axis=2, keepdims=True)) / lookback
    config = Config("linear", horizon, lookback, panel.channels, 1, past=panel.past)
    run = linear_run({"weight": weight[:, -1], "past": weight[:, :-1].swapaxes(0, 1)})
    inputs = gathered([row.x for row in windows], config) | {
        "past": np.stack([past[at - lookback : at] for at in range(9, 37)])
    }
    direct = ((run(inputs)[:, 0] - np.stack([row.y for row in windows])) ** 2).mean()
    assert errors(weight[None], products(windows, 9)) == pytest.approx([direct])


def test_windows_are_found_by_their_series() -> None:
    where = np.array([[2, 5], [0, 3], [2, 6], [0, 4], [5, 1]])
    found = Windows(Panel((), (), Frequency("second", 1), 1), where).by_series
    assert {at: mine.tolist() for at, mine in found.items()} == {
        0: [[0, 3], [0, 4]], 2: [[2, 5], [2, 6]], 5: [[5, 1]],
    }  # fmt: skip


def test_a_linear_map_is_the_same_with_and_without_torch(tmp_path: Path) -> None:
    """What is exported is the network; what answers is the map."""
    columns = sales(known=True) | {"lead": sales(known=False)["lead"]}
    world = World(tmp_path, columns, horizon=7, season=7, known=("promo",), past=("lead",))
    world.fit("linear", MODELS["linear"])
    config, weights = read_config(tmp_path / "linear"), read_weights(tmp_path / "linear")
    weights.pop("spread")
    inputs = gathered([world.parts.test[at].x for at in range(9)], config)
    assert inputs.keys() == {"history", "known", "past"}
    np.testing.assert_allclose(linear_run(weights)(inputs), run_of(loaded(config, weights))(inputs), rtol=1e-9)


@pytest.mark.parametrize("name", ["linear", "lstm"])
def test_a_column_known_up_to_now_tells_nothing_of_its_future(name: str, tmp_path: Path) -> None:
    """Whatever comes of it after the first step forecast: the same answer, and the same model."""
    first = World(tmp_path / "a", sales(known=False), horizon=7, season=7, past=("lead",))
    start = len(sales(known=False)["sales"]) - len(first.parts.test) - 6
    other = sales(known=False)
    other["lead"][start:] = np.random.default_rng(9).normal(size=len(other["lead"]) - start) * 100
    second = World(tmp_path / "b", other, horizon=7, season=7, past=("lead",))
    a, b = (world.fit(name, MODELS[name], steps=5).predict([world.parts.test[0]]) for world in (first, second))
    assert a == b


def test_what_is_known_ahead_is_asked_for_in_a_sentence(tmp_path: Path) -> None:
    world = World(tmp_path, sales(known=True), horizon=7, season=7, known=("promo",))
    model = world.fit("linear", MODELS["linear"])
    table = (tmp_path / "data.csv").read_text()
    ahead = "".join(f"{np.datetime64('2020-01-01') + 700 + step},,{step % 2}\n" for step in range(7))
    (tmp_path / "ahead.csv").write_text(table + ahead)
    answer = model.predict(TASK.read_input(tmp_path / "ahead.csv", world.options))[0]["prediction"]["mean"]
    assert (np.diff(np.ravel(answer))[::2] > 2).all(), "every other day has a promotion"
    with pytest.raises(DataError, match="Expected promo for the 7 steps from 2021-12-01 00:00:00; the table has 0"):
        model.predict(TASK.read_input(tmp_path / "data.csv", world.options))
    with pytest.raises(DataError, match="Expected a table with promo beside the series"):
        model.predict(TASK.read_input([1.0] * 30, world.options))


def test_what_is_forecast_is_not_known_ahead(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected 'promo' to be forecast or known ahead, it is named as both"):
        World(tmp_path, sales(known=True), horizon=7, targets=("sales", "promo"), known=("promo",))


@pytest.mark.parametrize("levels", [(0.5,), (0.1, 0.5, 0.9), (0.1, 0.25, 0.75, 0.9)])
def test_a_fan_has_a_band_for_each_pair_of_levels(levels: tuple[float, ...]) -> None:
    answer = {"mean": [[0.0]], "low": [[-9.0]], "high": [[9.0]], "quantiles": {str(q): [[q]] for q in levels}}
    bands = bands_of({"id": "a", "target": {}, "prediction": answer})
    found = [(float(low[0, 0]), float(high[0, 0])) for low, high in bands]
    assert found == ([(q, 1 - q) for q in levels if q < 0.5] or [(-9.0, 9.0)])


def test_a_gap_before_the_first_step_does_not_lead_to_what_is_forecast(tmp_path: Path) -> None:
    """Gaps are filled between their neighbours, and the later neighbour may be the first step to forecast."""
    columns = sales(known=False)
    last, gap = len(columns["sales"]) - 7, slice(len(columns["sales"]) - 9, len(columns["sales"]) - 7)
    answers = []
    for name, value in (("a", 10.0), ("b", 1000.0)):
        columns["sales"][gap], columns["sales"][last] = np.nan, value
        world = World(tmp_path / name, columns, horizon=7, season=7)
        model = TASK.baseline(world.parts.train, world.options)[1]
        answers.append(model.predict([world.parts.test[len(world.parts.test) - 1]]))
    assert answers[0] == answers[1]


def test_the_calendar_is_known_ahead(tmp_path: Path) -> None:
    """A level for each month is more than a map of four weeks can know."""
    months = (np.datetime64("2020-01-01") + np.arange(1400)).astype("datetime64[M]").astype(int) % 12
    level = np.random.default_rng(0).normal(size=12)[months] + np.random.default_rng(1).normal(size=1400) * 0.05
    errors = []
    for calendar in ((), ("month",)):
        world = World(tmp_path / str(len(calendar)), {"value": level}, horizon=28, season=7, calendar=calendar)
        model = world.fit("linear", {"lookback": 28})
        rows = [world.parts.test[at] for at in range(0, len(world.parts.test), 5)]
        forecasts = np.array([answer["prediction"]["mean"] for answer in model.predict(rows)])
        errors.append(((forecasts - [row.y for row in rows]) ** 2).mean())
    assert errors[1] < 0.1 * errors[0]


# --- many series ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Options, Any]:
    """Three series of very different size in one table: whole, begun late, and ended early."""
    folder, rng, lines = tmp_path_factory.mktemp("many"), np.random.default_rng(0), []
    for name, first, last, size in (("a", 0, 400, 1.0), ("b", 100, 400, 1000.0), ("c", 0, 250, 0.01)):
        for step in range(first, last):
            value = size * (20 + np.sin(step * 2 * np.pi / 7) + 0.1 * rng.normal())
            lines.append(f"{name},{np.datetime64('2020-01-01') + step},{value:.6g}")
    (folder / "shops.csv").write_text("\n".join(["shop,day,sales", *lines, ""]))
    options = Options(horizon=7, season=7)
    source = Source("shops", folder, (SourceFile("shops.csv", 0, ""),), "")
    return folder, options, TASK.split(TASK.rows(source, {"series": "shop"}, options), Split(), options)


def test_many_series_are_divided_at_one_date(many: tuple[Path, Options, Any]) -> None:
    """Nothing of any series is trained on that came after the first step to validate of another."""
    parts = many[2]
    last_trained = max(row.x.start + np.timedelta64(6, "D") for row in parts.train)
    assert last_trained < min(row.x.start for row in parts.validation)
    assert {row.group for row in parts.test} == {"shops.csv/a", "shops.csv/b"}
    assert {row.group for row in parts.train} == {"shops.csv/a", "shops.csv/b", "shops.csv/c"}


def test_one_model_answers_each_series_in_its_own_units(many: tuple[Path, Options, Any], tmp_path: Path) -> None:
    folder, options, parts = many
    job = Job(
        choice=Choice(None, "linear", {"lookback": 14}), training=Training(), options=options, seed=0, folder=tmp_path,
        checkpoints=tmp_path / "checkpoints", progress=Silent(),
    )  # fmt: skip
    TASK.fit(parts.train, parts.validation, job)
    model = TASK.load(tmp_path)
    answers = {row.id: model.predict([row])[0]["prediction"] for row in TASK.read_input(folder / "shops.csv", options)}
    for name, size in (("a", 1.0), ("b", 1000.0), ("c", 0.01)):
        answer = answers[f"shops.csv/{name}"]
        assert np.ptp(answer["mean"]) == pytest.approx(2 * size, rel=0.25)
        assert np.mean(np.subtract(answer["high"], answer["low"])) == pytest.approx(0.26 * size, rel=0.5), (
            "80 % of noise"
        )


def test_a_series_that_is_not_there_cannot_be_left_out(many: tuple[Path, Options, Any]) -> None:
    source = Source("shops", many[0], (SourceFile("shops.csv", 0, ""),), "")
    left = TASK.rows(source, {"series": "shop"}, Options(leave_out=("b",))).parts["all"]
    assert {row.group for row in left} == {"shops.csv/a", "shops.csv/c"}  # type: ignore[attr-defined]
    with pytest.raises(
        DataError, match=r"There is no series 'd' to leave out; the first are shops\.csv/a, shops\.csv/b"
    ):
        TASK.rows(source, {"series": "shop"}, Options(leave_out=("d",)))


# --- ensembles ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_no_other_shares_are_better_on_validation(seed: int) -> None:
    """None negative, together one; and no mixture on a fine grid has a smaller error."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(60, 1)).cumsum(axis=0)
    series = Series(
        "a", np.arange(60).astype("datetime64[s]"), values, values[:, 0] < np.inf, values[:, :0], values[:, :0]
    )
    windows = Windows(
        Panel((series,), ("x",), Frequency("second", 1), 3), np.stack([np.zeros(50), np.arange(5, 55)], 1).astype(int)
    )
    noise, config = rng.normal(size=(2, 50, 1, 3, 1)), Config("linear", 3, 4, ("x",), 1)

    def member(at: int) -> Any:
        given = iter([windows[k].y + noise[at, k, 0] * (1 + at) for k in range(50)])
        return lambda inputs: np.stack([next(given) for _ in inputs["history"]])[:, None]

    found, error = shares([(member(0), config), (member(1), config)], windows)
    assert (found >= 0).all() and found.sum() == pytest.approx(1)
    mixed = [((w * noise[0] + (1 - w) * 2 * noise[1]) ** 2).mean() for w in np.linspace(0, 1, 201)]
    assert error <= min(mixed) * (1 + 1e-6) and error == pytest.approx(min(mixed), rel=1e-3)


def test_an_ensemble_is_no_worse_than_its_members_and_says_what_they_cost(tmp_path: Path) -> None:
    world = World(tmp_path, sales(known=True, days=200), horizon=7, season=7, known=("promo",), quantiles=(0.1, 0.5))
    model = world.fit("ensemble", {"members": ["linear", "rnn"]}, steps=5)
    told = world.told.settings
    assert told["parameters of each"]["rnn 2"] > told["parameters of each"]["linear 1"]
    assert sum(told["shares"].values()) == pytest.approx(1, abs=1e-3) and len(told["seconds of each"]) == 2
    assert world.told.value <= min(told["validation mse of each"].values()) * (1 + 1e-4)
    answer = model.predict([world.parts.test[0]])[0]["prediction"]
    assert list(answer["quantiles"]) == ["0.1", "0.5"]


# --- open models ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["patchtst", "patchtsmixer"])
def open_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the transformers library that looks back 28 steps and forecasts another horizon, 5."""
    import torch
    from transformers import PatchTSMixerConfig, PatchTSMixerForPrediction, PatchTSTConfig, PatchTSTForPrediction

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    size = {"context_length": 28, "prediction_length": 5, "patch_length": 7, "patch_stride": 7, "num_input_channels": 3}
    network: Any
    if request.param == "patchtst":
        network = PatchTSTForPrediction(
            PatchTSTConfig(**size, d_model=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, scaling="std")
        )
    else:
        network = PatchTSMixerForPrediction(PatchTSMixerConfig(**size, d_model=16, num_layers=1, scaling="std"))
    network.save_pretrained(folder)
    return folder


def test_an_open_model_learns_another_horizon_and_is_exported(open_model: Path, tmp_path: Path) -> None:
    """From a folder of the library to a folder of the library; the export answers as its parent does."""
    from transformers import AutoConfig

    task, options = TASK, Options(horizon=7)
    tiny = task.tiny(tmp_path / "data")
    parts = task.split(
        task.rows(Source("tiny", tiny.source, (SourceFile("sine.csv", 0, ""),), ""), {}, options), Split(), options
    )
    folder = tmp_path / "model"
    folder.mkdir()
    job = Job(
        choice=Choice(open_model, open_model.name), training=Training(epochs=8, learning_rate=0.01), options=options,
        seed=0, folder=folder, checkpoints=tmp_path / "checkpoints", progress=Silent(),
    )  # fmt: skip
    fit = task.fit(parts.train, parts.validation, job)
    assert "head" in fit.settings["weights that did not fit and are new"]
    config = AutoConfig.from_pretrained(folder)
    assert config.prediction_length == 7 and config.num_input_channels == 1
    rows = [parts.test[at] for at in range(5)]

    def mean_of(model: Model) -> np.ndarray:
        return np.array([answer["prediction"]["mean"] for answer in model.predict(rows)])

    ours, floor = task.load(folder), task.baseline(parts.train, options)[1]
    came = np.array([row.y for row in rows])
    assert ((mean_of(ours) - came) ** 2).mean() < ((mean_of(floor) - came) ** 2).mean(), "better than last week again"
    if open_model.name.startswith("patchtsmixer"):
        return  # the exporter takes seconds; once is enough here
    (folder / "onnx").mkdir()
    task.export(folder, folder / "onnx" / "model.onnx")
    again = task.load(folder, "onnx/model.onnx").predict(rows)
    for row, answer, exported in zip(rows, ours.predict(rows), again, strict=True):
        line = {"id": row.id, "target": task.target(row)}
        assert task.agrees({**line, **answer}, {**line, **exported}, 1e-4)
    assert {"low", "high"} <= again[0]["prediction"].keys()


def test_an_open_model_of_another_kind_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    tiny = find("time-series-forecasting").tiny(tmp_path / "data")
    asked = {
        "task": "time-series-forecasting", "model": {"from": str(tmp_path / "bert")},
        "data": {"source": str(tiny.source), "license": "cc0-1.0", "options": {"horizon": 7}},
    }  # fmt: skip
    with pytest.raises(FormatError, match=r"Expected a model of type patchtst or patchtsmixer .* got 'bert'"):
        run(Recipe.model_validate(asked), tmp_path / "run")
