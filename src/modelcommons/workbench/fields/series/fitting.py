"""fitting: linear maps in closed form, networks through the training loop; each becomes a model folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError
from modelcommons.workbench.engine.training import Defaults, Fit, Point
from modelcommons.workbench.fields.series import linear
from modelcommons.workbench.fields.series.forecaster import (
    Config,
    Run,
    conformal,
    linear_run,
    write_config,
    write_weights,
)
from modelcommons.workbench.fields.series.rows import Options, Windows, blocks
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import nn

SEASONS = (1, 2, 3, 4, 7, 14, 21, 30)  # look-backs that `auto` tries, in seasons
LONGEST = 720  # steps of look-back that `auto` tries at most
AVERAGED = 3  # maps that `auto` averages
SCORED = 512  # validation windows that a network is scored on while it trains, evenly spaced
STRICT = ConfigDict(frozen=True, extra="forbid")

# networks: passes over the windows, windows a step, peak learning rate; chosen on ETTh1's validation part
DEFAULTS = {
    "rnn": Defaults(epochs=6, batch_size=64, learning_rate=2e-3, weight_decay=0.01),
    "transformer": Defaults(epochs=6, batch_size=64, learning_rate=1e-3, weight_decay=0.01),
}


class NaiveOptions(BaseModel):
    """The last season again: nothing to choose."""

    model_config = STRICT


class LinearOptions(BaseModel):
    """A ridge regression from look-back to horizon."""

    model_config = STRICT

    lookback: tuple[int, ...] | int | Literal["auto"] = Field(
        "auto",
        description="Steps looked back; of several, the maps are averaged; `auto`: the best three on validation.",
    )


class RnnOptions(BaseModel):
    """A GRU over patches."""

    model_config = STRICT

    lookback: int | Literal["auto"] = Field("auto", description="Steps looked back; `auto`: up to 14 seasons.")
    patch: int = Field(24, ge=1, description="Steps that make one token.")
    width: int = Field(128, ge=1, description="Size of the memory.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Share of the memory dropped before the last layer.")


class TransformerOptions(BaseModel):
    """A small PatchTST-style transformer."""

    model_config = STRICT

    lookback: int | Literal["auto"] = Field("auto", description="Steps looked back; `auto`: up to 14 seasons.")
    patch: int = Field(16, ge=2, description="Steps that make one token; tokens overlap by half.")
    width: int = Field(32, ge=1, description="Size of a token.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout everywhere.")
    layers: int = Field(2, ge=1, description="Encoder layers.")
    heads: int = Field(4, ge=1, description="Attention heads.")


ARCHITECTURES: dict[str, type[BaseModel]] = {
    "linear": LinearOptions,
    "seasonal-naive": NaiveOptions,
    "rnn": RnnOptions,
    "transformer": TransformerOptions,
}


def fit(train: Windows, validation: Windows, job: Job) -> Fit:
    """Fits the architecture that was chosen and writes config.json and model.safetensors."""
    chosen = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options))
    assert isinstance(job.options, Options)
    match chosen:
        case NaiveOptions():
            season = train.panel.season
            map_ = linear.seasonal_naive(season, train.panel.horizon)
            judged = linear.Fitted(map_, season, 0.0, linear.error(map_, linear.products(validation, season)))
            return _write_linear(judged, validation, job, {}, time.monotonic())
        case LinearOptions():
            return _fit_linear(train, validation, job, chosen)
        case _:
            return _fit_network(train, validation, job, chosen)


# --- closed form ----------------------------------------------------------------------------------------------------


def _fit_linear(train: Windows, validation: Windows, job: Job, options: LinearOptions) -> Fit:
    started = time.monotonic()
    asked = options.lookback
    lookbacks = lookbacks_for(train) if asked == "auto" else (asked,) if isinstance(asked, int) else asked
    _check_lookback(train, max(lookbacks))
    fitted = []
    for done, lookback in enumerate(lookbacks):
        job.progress.step("tune", done, len(lookbacks), f"look-back {lookback}")
        fitted += linear.fit(train, validation, [lookback])
    kept = sorted(fitted, key=lambda one: one.error)[:AVERAGED] if asked == "auto" else fitted
    both = linear.average(kept, validation)
    best = min((both, kept[0]), key=lambda one: one.error) if asked == "auto" else both
    settings = {
        "look-backs": {str(one.lookback): {"ridge": one.ridge, "validation mse": one.error} for one in fitted},
        "averaged": [one.lookback for one in (kept if best is both else kept[:1])],
    }
    return _write_linear(best, validation, job, settings, started)


def _write_linear(
    fitted: linear.Fitted, validation: Windows, job: Job, settings: dict[str, Any], started: float
) -> Fit:
    config = _config(validation, job, fitted.lookback)
    weight = fitted.weight.astype(np.float32)
    interval = conformal(linear_run(weight), validation, config.lookback, config.interval)
    write_weights({"weight": weight, **interval}, job.folder)
    write_config(config, job.folder)
    seconds = time.monotonic() - started
    point = Point(step=0, epoch=1.0, seconds=seconds, train_loss=fitted.error, metric=fitted.error)
    return Fit(
        metric="mse", value=fitted.error, curve=(point,), steps=0, epochs=1.0, seconds=seconds,
        rows_per_second=0.0, parameters=weight.size, trained_parameters=weight.size,
        settings={**settings, "ridge": fitted.ridge, "look-back": fitted.lookback},
    )  # fmt: skip


def lookbacks_for(train: Windows) -> tuple[int, ...]:
    """Look-backs worth trying: whole seasons, as long as the training steps are at least twice that."""
    season = train.panel.season if train.panel.season > 1 else 8
    longest = min(LONGEST, (max(len(values) for values in blocks(train)) - train.panel.horizon) // 2)
    found = tuple(season * times for times in SEASONS if season * times <= longest)
    return found or (max(1, longest),)


def _check_lookback(train: Windows, lookback: int) -> None:
    longest = max(len(values) for values in blocks(train))
    if lookback + train.panel.horizon > longest:
        raise DataError(
            f"A look-back of {lookback} and a horizon of {train.panel.horizon} need {lookback + train.panel.horizon:,} "
            f"training steps; there are {longest:,}. Choose a smaller model.options.lookback."
        )


def _config(windows: Windows, job: Job, lookback: int) -> Config:
    assert isinstance(job.options, Options)
    options = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options)).model_dump(mode="json")
    return Config.of(windows.panel, job.choice.name, lookback, job.options.interval, options)


# --- networks -------------------------------------------------------------------------------------------------------


def _fit_network(train: Windows, validation: Windows, job: Job, options: BaseModel) -> Fit:
    import torch

    from modelcommons.workbench.engine.train import train as run_training

    asked = options.lookback
    lookback = lookback_for(train) if asked == "auto" else int(asked)
    _check_lookback(train, lookback)
    config = _config(train, job, lookback)
    config = replace(config, options=fitting_patch(config))
    torch.manual_seed(job.seed)
    network = build(config)
    usable = train.take(np.flatnonzero(train.where[:, 1] >= lookback))
    some = validation.take(np.unique(np.linspace(0, len(validation) - 1, min(len(validation), SCORED)).astype(int)))
    past, target = gather(some, np.arange(len(some)), lookback)

    def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        past, target = gather(usable, indices, lookback)
        return torch.from_numpy(past), torch.from_numpy(target)

    def loss(network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return torch.nn.functional.mse_loss(network(batch[0]).float(), batch[1])

    def score(network: nn.Module) -> float:
        with torch.inference_mode():
            return float(
                torch.nn.functional.mse_loss(network(torch.from_numpy(past)).float(), torch.from_numpy(target))
            )

    fit = run_training(
        network, num_rows=len(usable), batch=batch, loss=loss, score=score, metric="mse", direction="lower",
        training=job.training, defaults=DEFAULTS[job.choice.name], seed=job.seed, checkpoints=job.checkpoints,
        progress=job.progress, seconds=job.seconds, max_steps=job.max_steps,
    )  # fmt: skip
    weights = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    interval = conformal(network_run(network), validation, lookback, config.interval)
    write_weights({**weights, **interval}, job.folder)
    write_config(config, job.folder)
    return replace(fit, settings={**fit.settings, "look-back": lookback, **config.options})


def gather(windows: Windows, indices: np.ndarray, lookback: int) -> tuple[np.ndarray, np.ndarray]:
    """Look-backs (batch, look-back, channels) and targets (batch, horizon, channels), float32."""
    rows = [windows[int(at)] for at in indices]
    past = np.stack([row.x.values[-lookback:] for row in rows]).astype(np.float32)
    return past, np.stack([row.y for row in rows]).astype(np.float32)


def lookback_for(train: Windows) -> int:
    """The longest of the look-backs worth trying, up to 14 seasons."""
    return max(
        n for n in lookbacks_for(train) if n <= max(14 * train.panel.season, 96) or n == min(lookbacks_for(train))
    )


def fitting_patch(config: Config) -> dict[str, Any]:
    """The options with a patch that fits into the look-back at least twice."""
    return {**config.options, "patch": max(1, min(int(config.options["patch"]), config.lookback // 2))}


def build(config: Config) -> nn.Module:
    """The network that `config` describes, without its weights."""
    from modelcommons.workbench.fields.series import models

    options = {name: value for name, value in config.options.items() if name != "lookback"}
    match config.architecture:
        case "rnn":
            return models.Normalised(models.Rnn(config.lookback, config.horizon, **options))
        case "transformer":
            return models.Normalised(models.Transformer(config.lookback, config.horizon, **options))
        case _:
            return models.Linear(config.lookback, config.horizon)


def network_run(network: nn.Module) -> Run:
    """A network as something to run: in double precision, so that five digits do not depend on batch or threads."""
    import copy

    import torch

    network = copy.deepcopy(network).double().eval()

    def run(past: np.ndarray) -> Sequence[np.ndarray]:
        with torch.inference_mode():
            found = network(torch.from_numpy(np.ascontiguousarray(past, np.float64)))
        return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]

    return run
