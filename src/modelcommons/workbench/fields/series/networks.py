"""networks: what a config says is built, trained by squared and quantile error, and run in double precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.series import pretrained
from modelcommons.workbench.fields.series.forecaster import Config, Inputs, Run, from_json, gathered
from modelcommons.workbench.fields.series.rows import Windows, evenly, touched
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn

SCORED = 512  # validation windows that a network is scored on while it trains, evenly spaced
LEAST_STEPS = 1_000  # of a network's training, where the series are short
RATES = {
    "rnn": 2e-3,
    "lstm": 2e-3,
    "transformer": 1e-3,
    **dict.fromkeys(pretrained.CLASSES, 5e-4),
}  # peak learning rates


def build(config: Config) -> nn.Module:
    """The network that `config` describes, without its weights."""
    from torch import nn

    from modelcommons.workbench.fields.series import models

    options = {name: value for name, value in config.options.items() if name != "lookback"}
    num_outputs, num_past = 1 + len(config.levels) if config.quantiles else 1, len(config.past)
    size = (config.lookback, config.horizon * num_outputs, num_past + 1)
    network: nn.Module
    match config.architecture:
        case "rnn" | "lstm" as name:
            inner = models.Rnn(*size, **options, cell=nn.LSTM if name == "lstm" else nn.GRU)
            network = models.Normalised(inner, num_outputs, num_past)
        case "transformer":
            network = models.Normalised(models.Transformer(*size, **options), num_outputs, num_past)
        case "ensemble":
            members = [from_json(member) for member in options["members"]]
            lookbacks = [member.lookback for member in members]
            return models.Ensemble(list(map(build, members)), lookbacks, config.horizon)
        case _:
            network = models.Linear(config.lookback, config.horizon, num_past)
    if not config.known:
        return network
    sizes = len(config.known), len(config.channels)
    is_linear = isinstance(network, models.Linear)
    effect = nn.Linear(*sizes, bias=False) if is_linear else models.Effect(*sizes)
    return models.Regressed(network, effect, config.lookback)


def loaded(config: Config, weights: Mapping[str, np.ndarray]) -> nn.Module:
    """The network that `config` describes with its weights, for evaluation.

    Raises:
        FormatError: the weights are not those of this config.
    """
    import torch

    network = build(config)
    try:
        network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    except RuntimeError as error:
        raise FormatError(f"The weights are not those of the {config.architecture} in config.json: {error}") from error
    return network.eval()


def measure(network: nn.Module, train: Windows) -> None:
    """Sets what a network divides the columns beside the series by, from the training steps."""
    import torch

    from modelcommons.workbench.fields.series import models

    steps = list(touched(train))

    def set_to(buffer: Tensor, values: np.ndarray) -> None:
        buffer.copy_(torch.from_numpy(np.where(values > 0, values, 1.0)))

    for module in network.modules():
        if isinstance(module, models.Effect):
            known = np.concatenate([series.known[:end] for series, end in steps])
            module.mean.copy_(torch.from_numpy(known.mean(axis=0)))
            set_to(module.std, known.std(axis=0))
            set_to(module.unit, np.mean([series.values[:end].std(axis=0) for series, end in steps], axis=0))
        elif isinstance(module, models.Normalised) and train.panel.past:
            set_to(module.unit, np.concatenate([series.past[:end] for series, end in steps]).std(axis=0))


def train(network: nn.Module, windows: Windows, validation: Windows, job: Job, config: Config) -> Fit:
    """Trains in place by squared error, and by pinball loss where there are quantiles; both in squared units."""
    import torch
    from torch.nn.functional import mse_loss

    from modelcommons.workbench.engine.device import device
    from modelcommons.workbench.engine.train import train as train_network

    usable = windows.take(np.flatnonzero(windows.where[:, 1] >= config.lookback))
    judged = evenly(len(validation), SCORED)
    unit = float(np.mean(windows.panel.naive))

    def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[Any, ...]:
        return _gather(usable, indices, config)

    def loss(network: nn.Module, batch: tuple[Any, ...]) -> torch.Tensor:
        inputs, target = batch
        outputs = network(**inputs).float()
        error = mse_loss(outputs[:, 0], target)
        return error + unit * pinball(outputs[:, 1:], target, config.levels) if config.quantiles else error

    def score(network: nn.Module) -> float:
        inputs, target = _gather(validation, judged, config)
        there = {name: value.to(device()) for name, value in inputs.items()}
        return float(mse_loss(network(**there)[:, 0].float(), target.to(device())))

    return train_network(
        network, num_rows=len(usable), batch=batch, loss=loss, score=score, metric="mse", direction="lower",
        limit=0.0,
        training=job.training, defaults=_defaults(config.architecture, len(usable)), seed=job.seed,
        checkpoints=job.checkpoints, progress=job.progress, seconds=job.seconds, max_steps=job.max_steps,
    )  # fmt: skip


def pinball(answers: Tensor, target: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Mean quantile loss of `answers` (batch, levels, horizon, channels).

    Source: Koenker & Bassett, Regression Quantiles, Econometrica 46 (1978).
    """
    import torch

    level = torch.tensor(levels, device=answers.device)[:, None, None]
    error = target[:, None] - answers
    return torch.maximum(level * error, (level - 1) * error).mean()


def run_of(network: nn.Module) -> Run:
    """A network as something to run: in double precision, so that five digits do not depend on batch or threads."""
    import copy

    import torch

    network = copy.deepcopy(network).double().eval()

    def run(inputs: Inputs) -> np.ndarray:
        there = {name: torch.from_numpy(np.ascontiguousarray(value, np.float64)) for name, value in inputs.items()}
        with torch.inference_mode():
            return np.asarray(network(**there).numpy())

    return run


def _gather(windows: Windows, indices: np.ndarray, config: Config) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs and targets (batch, horizon, channels), float32."""
    import torch

    rows = [windows[int(at)] for at in indices]
    inputs = gathered([row.x for row in rows], config)
    there = {name: torch.from_numpy(value.astype(np.float32)) for name, value in inputs.items()}
    return there, torch.from_numpy(np.stack([row.y for row in rows]).astype(np.float32))


def _defaults(architecture: str, num_rows: int) -> Defaults:
    epochs = min(max(6.0, np.ceil(LEAST_STEPS * 64 / num_rows)), 200.0)
    return Defaults(epochs=epochs, batch_size=64, learning_rate=RATES[architecture])
