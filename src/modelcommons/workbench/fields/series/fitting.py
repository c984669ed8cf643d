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
from modelcommons.workbench.fields.series import linear, pretrained
from modelcommons.workbench.fields.series.forecaster import (
    Config,
    Run,
    as_json,
    conformal,
    linear_run,
    write_config,
    write_weights,
)
from modelcommons.workbench.fields.series.linear import Fitted
from modelcommons.workbench.fields.series.rows import Options, Windows, blocks, evenly
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import nn

SEASONS = (1, 2, 3, 4, 7, 14, 21, 30)  # look-backs that `auto` tries, in seasons
LONGEST = 720  # steps of look-back that `auto` tries at most
AVERAGED = 3  # maps that `auto` averages
SCORED = 512  # validation windows that a network is scored on while it trains, evenly spaced
STRICT = ConfigDict(frozen=True, extra="forbid")

LEAST_STEPS = 1_000  # of a network's training, where the series are short
RATES = {
    "rnn": 2e-3,
    "lstm": 2e-3,
    "transformer": 1e-3,
    **dict.fromkeys(pretrained.CLASSES, 5e-4),
}  # peak learning rates


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
    patch: int = Field(24, ge=1, description="Steps that make one token; 1: one step after the other.")
    width: int = Field(128, ge=1, description="Size of the memory.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Share of the memory dropped before the last layer.")


class LstmOptions(RnnOptions):
    """Long short-term memory over patches."""


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
    "lstm": LstmOptions,
    "transformer": TransformerOptions,
}


def fit(train: Windows, validation: Windows, job: Job) -> Fit:
    """Fits the architecture that was chosen and writes config.json and model.safetensors."""
    if not job.choice.is_new:
        return _fit_open(train, validation, job)
    started = time.monotonic()
    options = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options))
    match options:
        case NaiveOptions():
            fitted = _naive(train, validation)
            return _write_linear(fitted, train, validation, job, {}, started)
        case LinearOptions():
            fitted, settings = _linear(train, validation, options, job)
            return _write_linear(fitted, train, validation, job, settings, started)
        case RnnOptions() | TransformerOptions():
            return _fit_network(train, validation, job, options)
    raise AssertionError(f"no way to fit {job.choice.name}")


# --- closed form ----------------------------------------------------------------------------------------------------


def _naive(train: Windows, validation: Windows) -> Fitted:
    weight = linear.seasonal_naive(train.panel.season, train.panel.horizon)
    error = linear.error(weight, linear.products(validation, train.panel.season))
    return Fitted(weight, 0.0, error, error, tuple(weight for _ in linear.stretches(train)[1:]))


def _linear(train: Windows, validation: Windows, options: LinearOptions, job: Job) -> tuple[Fitted, dict[str, Any]]:
    asked = options.lookback
    lookbacks = lookbacks_for(train) if asked == "auto" else (asked,) if isinstance(asked, int) else asked
    _check_lookback(train, max(lookbacks))
    job.progress.step("tune", 0, 1, f"look-backs {', '.join(map(str, lookbacks))}")
    fitted = linear.fit(train, validation, lookbacks)
    kept = sorted(fitted, key=lambda one: one.judged)[:AVERAGED] if asked == "auto" else fitted
    settings = {
        "validation mse by look-back": {str(one.lookback): round(one.error, 6) for one in fitted},
        "ridge by look-back": {str(one.lookback): one.ridge for one in fitted},
        "averaged": [one.lookback for one in kept],
    }
    return linear.average(kept, validation), settings


def _write_linear(
    fitted: Fitted, train: Windows, validation: Windows, job: Job, settings: dict[str, Any], started: float
) -> Fit:
    config = _config(validation, job, fitted.lookback)
    weight = fitted.weight.astype(np.float32)
    unseen = [(linear_run(held), part) for held, part in zip(fitted.held_out, linear.stretches(train)[1:], strict=True)]
    interval = conformal([*unseen, (linear_run(weight), validation)], config.lookback, config.interval)
    write_weights({"weight": weight, **interval}, job.folder)
    write_config(config, job.folder)
    seconds = time.monotonic() - started
    point = Point(step=0, epoch=1.0, seconds=seconds, train_loss=fitted.error, metric=fitted.error)
    return Fit(
        metric="mse", value=fitted.error, curve=(point,), steps=0, epochs=1.0, seconds=seconds,
        rows_per_second=len(train) / max(seconds, 1e-9), parameters=weight.size, trained_parameters=weight.size,
        settings={**settings, **_promised(config)},
    )  # fmt: skip


def _promised(config: Config) -> dict[str, Any]:
    """The share of values that the prediction interval is made to hold, for the card: coverage is read against it."""
    return {} if config.interval is None else {"prediction interval": config.interval}


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
    if "patch" in options:
        options["patch"] = max(1, min(options["patch"], lookback // 2))  # at least two tokens
    return Config.of(windows.panel, job.choice.name, lookback, job.options.interval, options)


# --- networks -------------------------------------------------------------------------------------------------------


def _fit_network(train: Windows, validation: Windows, job: Job, options: RnnOptions | TransformerOptions) -> Fit:
    import torch

    lookback = _network_lookback(train) if options.lookback == "auto" else options.lookback
    _check_lookback(train, lookback)
    config = _config(train, job, lookback)
    torch.manual_seed(job.seed)
    network = build(config)
    fit = _train(network, train, validation, job, config)
    network = network.cpu()
    interval = conformal([(network_run(network), validation)], lookback, config.interval)
    write_weights({**{name: value.numpy() for name, value in network.state_dict().items()}, **interval}, job.folder)
    write_config(config, job.folder)
    settings = {"look-back": lookback, "patch": config.options["patch"]}
    return replace(fit, settings={**fit.settings, **settings, **_promised(config)})


def _fit_open(train: Windows, validation: Windows, job: Job) -> Fit:
    """An open model with its own look-back; its head is new where it forecast another horizon."""
    import torch

    from modelcommons.workbench.engine.adapters import limited, merged

    assert job.choice.folder is not None and isinstance(job.options, Options)
    name, lookback = pretrained.kind(job.choice.folder), pretrained.context(job.choice.folder)
    _check_lookback(train, lookback)
    config = Config.of(validation.panel, name, lookback, job.options.interval, {})
    torch.manual_seed(job.seed)  # the new weights
    network, new = pretrained.fit_to(job.choice.folder, config.horizon, len(config.channels))
    trained = limited(network, job.training.method)
    fit = _train(pretrained.plain(trained), train, validation, job, config)
    shipped = merged(trained.cpu(), job.training.method).eval()
    interval = conformal([(network_run(pretrained.plain(shipped)), validation)], lookback, config.interval)
    pretrained.save(shipped, as_json(config), interval, job.folder)
    settings = {"look-back": lookback, "weights that did not fit and are new": ", ".join(new) or "none"}
    return replace(fit, settings={**fit.settings, **settings, **_promised(config)})


def _train(network: nn.Module, train: Windows, validation: Windows, job: Job, config: Config) -> Fit:
    """history (batch, look-back, channels) -> forecast (batch, horizon, channels), by squared error."""
    import torch
    from torch.nn.functional import mse_loss

    from modelcommons.workbench.engine.device import device
    from modelcommons.workbench.engine.train import train as train_network

    lookback = config.lookback
    usable = train.take(np.flatnonzero(train.where[:, 1] >= lookback))
    judged = evenly(len(validation), SCORED)

    def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        return tuple(map(torch.from_numpy, _gather(usable, indices, lookback)))

    def loss(network: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        past, target = batch
        return mse_loss(network(past).float(), target)

    def score(network: nn.Module) -> float:
        past, target = (torch.from_numpy(part).to(device()) for part in _gather(validation, judged, lookback))
        return float(mse_loss(network(past).float(), target))

    return train_network(
        network, num_rows=len(usable), batch=batch, loss=loss, score=score, metric="mse", direction="lower",
        limit=0.0,
        training=job.training, defaults=_defaults(config.architecture, len(usable)), seed=job.seed,
        checkpoints=job.checkpoints, progress=job.progress, seconds=job.seconds, max_steps=job.max_steps,
    )  # fmt: skip


def _gather(windows: Windows, indices: np.ndarray, lookback: int) -> tuple[np.ndarray, np.ndarray]:
    """Look-backs (batch, look-back, channels) and targets (batch, horizon, channels), float32."""
    rows = [windows[int(at)] for at in indices]
    past = np.stack([row.x.values[-lookback:] for row in rows]).astype(np.float32)
    return past, np.stack([row.y for row in rows]).astype(np.float32)


def _defaults(architecture: str, num_rows: int) -> Defaults:
    epochs = min(max(6.0, np.ceil(LEAST_STEPS * 64 / num_rows)), 200.0)
    return Defaults(epochs=epochs, batch_size=64, learning_rate=RATES[architecture])


def _network_lookback(train: Windows) -> int:
    """The longest of the look-backs worth trying, up to 14 seasons."""
    shortest, *longer = lookbacks_for(train)
    return max([shortest, *(n for n in longer if n <= 14 * train.panel.season)])


def build(config: Config) -> nn.Module:
    """The network that `config` describes, without its weights."""
    from torch import nn

    from modelcommons.workbench.fields.series import models

    options = {name: value for name, value in config.options.items() if name != "lookback"}
    match config.architecture:
        case "rnn":
            return models.Normalised(models.Rnn(config.lookback, config.horizon, **options))
        case "lstm":
            return models.Normalised(models.Rnn(config.lookback, config.horizon, **options, cell=nn.LSTM))
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
            return [network(torch.from_numpy(np.ascontiguousarray(past, np.float64))).numpy()]

    return run
