"""fitting: linear maps in closed form, networks through the training loop; each becomes a model folder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError, RecipeError
from modelcommons.workbench.engine.training import Fit, Point
from modelcommons.workbench.fields.series import covariates, ensemble, linear, networks, pretrained
from modelcommons.workbench.fields.series.forecaster import (
    Config,
    Run,
    as_json,
    calibrated,
    linear_run,
    linear_weights,
    read_config,
    read_weights,
    write_config,
    write_weights,
)
from modelcommons.workbench.fields.series.linear import Fitted
from modelcommons.workbench.fields.series.rows import Options, Windows, touched
from modelcommons.workbench.task import Choice, Job

SEASONS = (1, 2, 3, 4, 7, 14, 21, 30)  # look-backs that `auto` tries, in seasons
LONGEST = 720  # steps of look-back that `auto` tries at most
AVERAGED = 3  # maps that `auto` averages
STRICT = ConfigDict(frozen=True, extra="forbid")


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


class EnsembleOptions(BaseModel):
    """A weighted mean of several forecasters, each with its own defaults."""

    model_config = STRICT

    members: tuple[Literal["linear", "rnn", "lstm", "transformer"], ...] = Field(
        ("linear", "lstm"), min_length=2, description="What is averaged; weights are chosen on validation."
    )


ARCHITECTURES: dict[str, type[BaseModel]] = {
    "linear": LinearOptions,
    "seasonal-naive": NaiveOptions,
    "rnn": RnnOptions,
    "lstm": LstmOptions,
    "transformer": TransformerOptions,
    "ensemble": EnsembleOptions,
}


def fit(train: Windows, validation: Windows, job: Job) -> Fit:
    """Fits the architecture that was chosen and writes config.json and model.safetensors."""
    if not job.choice.is_new:
        return _fit_open(train, validation, job)
    started = time.monotonic()
    options = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options))
    match options:
        case NaiveOptions():
            return _naive(train, validation, job, started)
        case LinearOptions():
            return _linear(train, validation, options, job, started)
        case RnnOptions() | TransformerOptions():
            return _fit_network(train, validation, job, options)
        case EnsembleOptions():
            return _fit_ensemble(train, validation, job, options)
    raise AssertionError(f"no way to fit {job.choice.name}")


# --- closed form ----------------------------------------------------------------------------------------------------


def _naive(train: Windows, validation: Windows, job: Job, started: float) -> Fit:
    """It reads the series alone."""
    train, validation = (covariates.bare(windows) for windows in (train, validation))
    weight = linear.seasonal_naive(train.panel.season, train.panel.horizon)
    error = float(linear.errors(weight[None], linear.products(validation, train.panel.season))[0])
    fitted = Fitted(weight, 0.0, error, error, (weight,) * linear.STRETCHES)  # never fitted: the same without a stretch
    return _write_linear(fitted, covariates.learn(train), train, validation, job, {}, started)


def _linear(train: Windows, validation: Windows, options: LinearOptions, job: Job, started: float) -> Fit:
    asked = options.lookback
    lookbacks = lookbacks_for(train) if asked == "auto" else (asked,) if isinstance(asked, int) else asked
    _check_lookback(train, max(lookbacks))
    job.progress.step("tune", 0, 1, f"look-backs {', '.join(map(str, lookbacks))}")
    beside = covariates.learn(train)
    train, validation = beside.without(train), beside.without(validation)
    fitted = linear.fit(train, validation, lookbacks)
    settings: dict[str, Any] = {}
    if train.panel.past:
        alone = linear.fit(covariates.bare(train), covariates.bare(validation), lookbacks)
        settings["look-backs that read no other column"] = [
            own.lookback for own, one in zip(alone, fitted, strict=True) if own.judged <= one.judged
        ]
        fitted = [
            one if one.judged < own.judged else own.beside(len(train.panel.past))
            for own, one in zip(alone, fitted, strict=True)
        ]
    kept = sorted(fitted, key=lambda one: one.judged)[:AVERAGED] if asked == "auto" else fitted
    settings |= {
        "validation mse by look-back": {str(one.lookback): round(one.error, 6) for one in fitted},
        "ridge by look-back": {str(one.lookback): one.ridge for one in fitted},
        "averaged": [one.lookback for one in kept],
    }
    return _write_linear(linear.average(kept, validation), beside, train, validation, job, settings, started)


def _write_linear(
    fitted: Fitted, beside: covariates.Beside, train: Windows, validation: Windows, job: Job, settings: dict[str, Any],
    started: float,
) -> Fit:  # fmt: skip
    """The windows are those that the maps were fitted on: without what columns known ahead add."""
    config = _config(validation, job, fitted.lookback)
    alone = replace(config, known=())

    def unseen() -> Iterator[tuple[Run, Windows]]:
        """Each map, and windows that it was not fitted on."""
        maps, parts = [fitted.weight], [validation]
        if not len(beside.effect):  # which all of the training steps gave
            stretches = linear.stretches(train)[1:]
            maps, parts = [*fitted.held_out[: len(stretches)], *maps], [*stretches, *parts]
        for held, part in zip(maps, parts, strict=True):
            yield linear_run(linear_weights(held[:, -1], held[:, :-1].swapaxes(0, 1))), part

    spread = calibrated(unseen(), alone)
    weight, past = fitted.weight[:, -1], fitted.weight[:, :-1].swapaxes(0, 1) * beside.unit[:, None, None]
    weights = linear_weights(weight, past, beside.effect)
    write_weights(weights, spread, job.folder)
    write_config(config, job.folder)
    seconds, parameters = time.monotonic() - started, sum(value.size for value in weights.values())
    point = Point(step=0, epoch=1.0, seconds=seconds, train_loss=fitted.error, metric=fitted.error)
    return Fit(
        metric="mse", value=fitted.error, curve=(point,), steps=0, epochs=1.0, seconds=seconds,
        rows_per_second=len(train) / max(seconds, 1e-9), parameters=parameters, trained_parameters=parameters,
        settings={**settings, **_promised(config)},
    )  # fmt: skip


def _promised(config: Config) -> dict[str, Any]:
    """What else was asked for, for the card: coverage is read against the share that the interval is made to hold."""
    found = {
        "prediction interval": config.interval,
        "quantiles": list(config.quantiles),
        "known ahead": ", ".join(config.known),
        "known up to now": ", ".join(config.past),
    }
    return {name: value for name, value in found.items() if value}


def lookbacks_for(train: Windows) -> tuple[int, ...]:
    """Look-backs worth trying: whole seasons, as long as the training steps are at least twice that."""
    season = train.panel.season if train.panel.season > 1 else 8
    longest = min(LONGEST, (max(end for _, end in touched(train)) - train.panel.horizon) // 2)
    found = tuple(season * times for times in SEASONS if season * times <= longest)
    return found or (max(1, longest),)


def _check_lookback(train: Windows, lookback: int) -> None:
    longest = max(end for _, end in touched(train))
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
    return Config.of(windows.panel, job.choice.name, lookback, job.options, options)


# --- networks -------------------------------------------------------------------------------------------------------


def _fit_network(train: Windows, validation: Windows, job: Job, options: RnnOptions | TransformerOptions) -> Fit:
    import torch

    lookback = _network_lookback(train) if options.lookback == "auto" else options.lookback
    _check_lookback(train, lookback)
    config = _config(train, job, lookback)
    torch.manual_seed(job.seed)
    network = networks.build(config)
    networks.measure(network, train)
    fit = networks.train(network, train, validation, job, config)
    network = network.cpu()
    spread = calibrated([(networks.run_of(network), validation)], config)
    write_weights({name: value.numpy() for name, value in network.state_dict().items()}, spread, job.folder)
    write_config(config, job.folder)
    settings = {"look-back": lookback, "patch": config.options["patch"]}
    return replace(fit, settings={**fit.settings, **settings, **_promised(config)})


def _fit_ensemble(train: Windows, validation: Windows, job: Job, options: EnsembleOptions) -> Fit:
    """Each member is fitted as it would be alone, one after the other; what is left of a budget is shared."""
    started = time.monotonic()
    fits: list[Fit] = []
    configs: list[Config] = []
    weights: dict[str, np.ndarray] = {}
    runs: list[Run] = []
    for at, name in enumerate(options.members):
        left = None if job.seconds is None else job.seconds - sum(fit.seconds for fit in fits)
        with tempfile.TemporaryDirectory() as folder:
            alone = replace(
                job, choice=Choice(None, name), folder=Path(folder), checkpoints=job.checkpoints / str(at),
                seconds=left and max(left, 0.0) / (len(options.members) - at),
            )  # fmt: skip
            fits.append(fit(train, validation, alone))
            configs.append(read_config(Path(folder)))
            found = read_weights(Path(folder))
        found.pop("spread", None)
        runs.append(networks.run_of(networks.loaded(configs[-1], found)))
        weights |= {f"members.{at}.{key}": value for key, value in found.items()}
    shares, error = ensemble.shares(list(zip(runs, configs, strict=True)), validation)
    lookback = max(config.lookback for config in configs)
    asked = cast(Options, job.options)
    config = Config.of(validation.panel, "ensemble", lookback, asked, {"members": list(map(as_json, configs))})
    weights["shares"] = shares.astype(np.float32)
    spread = calibrated([(networks.run_of(networks.loaded(config, weights)), validation)], config)
    write_weights(weights, spread, job.folder)
    write_config(config, job.folder)
    seconds, steps = time.monotonic() - started, sum(fit.steps for fit in fits)
    names = [f"{name} {at + 1}" for at, name in enumerate(options.members)]
    point = Point(step=steps, epoch=1.0, seconds=seconds, train_loss=error, metric=error)
    return Fit(
        metric="mse", value=error, curve=(point,), steps=steps, epochs=max(fit.epochs for fit in fits), seconds=seconds,
        rows_per_second=len(train) / max(seconds, 1e-9), parameters=sum(fit.parameters for fit in fits),
        trained_parameters=sum(fit.trained_parameters for fit in fits),
        stopped="budget" if any(fit.stopped == "budget" for fit in fits) else "done",
        more=" ".join(f"{name}: {fit.more}." for name, fit in zip(names, fits, strict=True) if fit.more),
        settings={
            "shares": dict(zip(names, np.round(shares, 4).tolist(), strict=True)),
            "validation mse of each": {name: round(fit.value, 6) for name, fit in zip(names, fits, strict=True)},
            "seconds of each": {name: round(fit.seconds, 1) for name, fit in zip(names, fits, strict=True)},
            "parameters of each": {name: fit.parameters for name, fit in zip(names, fits, strict=True)},
            **_promised(config),
        },
    )  # fmt: skip


def _fit_open(train: Windows, validation: Windows, job: Job) -> Fit:
    """An open model with its own look-back over the series alone; its head is new where it forecast another horizon."""
    import torch

    from modelcommons.workbench.engine.adapters import limited, merged

    assert job.choice.folder is not None and isinstance(job.options, Options)
    name, lookback = pretrained.kind(job.choice.folder), pretrained.context(job.choice.folder)
    _check_lookback(train, lookback)
    if job.options.quantiles or train.panel.known or train.panel.past:
        raise RecipeError(
            f"Expected no data.options quantiles, known, past or calendar for an open {name}, which forecasts a mean "
            "from the series alone; got some. Leave them out, or name an architecture in model.new."
        )
    config = Config.of(validation.panel, name, lookback, job.options, {})
    torch.manual_seed(job.seed)  # the new weights
    network, new = pretrained.fit_to(job.choice.folder, config.horizon, len(config.channels))
    trained = limited(network, job.training.method)
    fit = networks.train(pretrained.plain(trained), train, validation, job, config)
    shipped = merged(trained.cpu(), job.training.method).eval()
    spread = calibrated([(networks.run_of(pretrained.plain(shipped)), validation)], config)
    pretrained.save(shipped, as_json(config), spread, job.folder)
    settings = {"look-back": lookback, "weights that did not fit and are new": ", ".join(new) or "none"}
    return replace(fit, settings={**fit.settings, **settings, **_promised(config)})


def _network_lookback(train: Windows) -> int:
    """The longest of the look-backs worth trying, up to 14 seasons."""
    shortest, *longer = lookbacks_for(train)
    return max([shortest, *(n for n in longer if n <= 14 * train.panel.season)])
