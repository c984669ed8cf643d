"""pretrained: PatchTST and PatchTSMixer of the transformers library, as forecasters of our horizon and channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.formats import safetensors
from modelcommons.formats.model_folder import read_config

if TYPE_CHECKING:
    from torch import Tensor, nn

CLASSES = {"patchtst": "PatchTSTForPrediction", "patchtsmixer": "PatchTSMixerForPrediction"}  # by model_type
OURS = "forecasting"  # the key of config.json that holds what the library's own config does not
INTERVAL = "interval.safetensors"  # beside the weights, which stay those that the library knows


def kind(folder: Path) -> str:
    """The model_type of an open model.

    Raises:
        FormatError: it is none that forecasts here.
    """
    found = read_config(folder).get("model_type")
    if found not in CLASSES:
        raise FormatError(
            f"Expected a model of type {' or '.join(CLASSES)} for forecasting in {folder.name}, got {found!r}. "
            "Name another model in model.from."
        )
    return str(found)


def context(folder: Path) -> int:
    """Steps that the model looks back.

    Raises:
        FormatError: its config does not say.
    """
    found = read_config(folder).get("context_length", 32)  # the library's own default for both kinds
    if not isinstance(found, int) or found < 1:
        raise FormatError(f"Expected context_length in {folder / 'config.json'} as a number of steps, got {found!r}.")
    return found


def load(folder: Path, **changes: Any) -> tuple[nn.Module, list[str]]:
    """The network in single precision, and the names of weights that are new because the folder's did not fit.

    Args:
        changes: of the library's config: horizon and channels.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: transformers cannot load it without running code, or a weight is missing where nothing may change.
    """
    import transformers

    from modelcommons.workbench.engine.adapters import quiet

    name, weights = kind(folder), folder / "model.safetensors"
    if not weights.is_file():
        safetensors.refuse_pickles(folder)
        raise FormatError(f"There is no model.safetensors in {folder.name}. Get the whole model folder again.")
    safetensors.check(weights)
    asked: dict[str, Any] = {"loss": "mse", **changes}
    with quiet():
        try:
            network, told = getattr(transformers, CLASSES[name]).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="float32",
                ignore_mismatched_sizes=bool(changes), output_loading_info=True, **asked,
            )  # fmt: skip
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError) as error:
            raise FormatError(
                f"{folder.name} is no {name} that transformers can load without running code ({error!s:.200})."
            ) from error
    new = sorted({*told["missing_keys"], *(key[0] for key in told["mismatched_keys"])})
    if new and not changes:
        raise FormatError(f"Weights are missing in {folder.name}: {', '.join(new[:3])}. Get the whole folder again.")
    return network, new


def fit_to(folder: Path, horizon: int, num_channels: int) -> tuple[nn.Module, list[str]]:
    """The open model with a head for `horizon` steps of `num_channels` channels, all of them predicted."""
    changes: dict[str, Any] = {"prediction_length": horizon, "num_input_channels": num_channels}
    if kind(folder) == "patchtsmixer":
        changes["prediction_channel_indices"] = None
    return load(folder, **changes)


def save(network: Any, ours: Mapping[str, Any], spread: np.ndarray | None, folder: Path) -> None:
    """A folder that the library loads as it is; what is ours stands beside it."""
    from safetensors.numpy import save_file

    from modelcommons.workbench.engine.adapters import quiet

    setattr(network.config, OURS, dict(ours))
    with quiet():
        network.save_pretrained(folder)
    if spread is not None:
        save_file({"spread": np.ascontiguousarray(spread, np.float32)}, folder / INTERVAL)


def read_spread(folder: Path) -> np.ndarray | None:
    """The levels around a forecast, (levels, horizon, channels); None where there are none."""
    from safetensors.numpy import load_file

    path = folder / INTERVAL
    if not path.is_file():
        return None
    safetensors.check(path)
    return load_file(path)["spread"]


def plain(network: nn.Module) -> nn.Module:
    """The network as all of ours: history (batch, look-back, channels) -> forecast (batch, 1, horizon, channels)."""
    from torch import nn

    class Plain(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, history: Tensor) -> Tensor:
            return self.inner(past_values=history).prediction_outputs[:, None]  # type: ignore[no-any-return]

    return Plain(network)
