"""series: the metrics by hand, and prediction intervals that hold as much as they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelcommons.errors import FormatError
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields import find
from modelcommons.workbench.fields.series.forecasting import TASK
from modelcommons.workbench.fields.series.metrics import scores
from modelcommons.workbench.fields.series.rows import Options
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.run import Run, run
from modelcommons.workbench.task import Choice, Job, Model, Source, SourceFile, Split


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


@pytest.fixture(scope="module", params=["linear", "seasonal-naive"])
def noisy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A season of a week in noise that is the same all the time: what was promised can be kept."""
    folder = tmp_path_factory.mktemp("series")
    days = np.arange("2010-01-01", "2016-01-01", dtype="datetime64[D]")
    values = 3 * np.sin(np.arange(len(days)) * 2 * np.pi / 7) + np.random.default_rng(0).normal(0, 1, len(days))
    rows = "".join(f"{day},{value:.4f}\n" for day, value in zip(days, values, strict=True))
    (folder / "a.csv").write_text("day,sales\n" + rows)
    data = {"source": str(folder / "a.csv"), "license": "cc0-1.0", "options": {"horizon": 7, "interval": 0.9}}
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
