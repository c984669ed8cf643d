"""an enhancer's folder, read without running code from it, as something that takes noise out of recordings.

config.json:  {"model_type": "modelcommons", "task", "architecture", "options", "preprocess"}
"""

# N samples, T frames, F frequencies

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, read_config
from modelcommons.workbench.fields.speech.denoising.answer import answered
from modelcommons.workbench.fields.speech.denoising.architectures import ENHANCERS, TcnOptions
from modelcommons.workbench.fields.speech.denoising.spectrum import Stft, log_magnitudes
from modelcommons.workbench.fields.speech.sound import FASTEST, SLOWEST, Sound, as_int16
from modelcommons.workbench.task import Answer, Row

if TYPE_CHECKING:
    from torch import nn

AT_ONCE = 4_096  # frames that the network answers at once; longer recordings bit by bit, with the same answer

Run = Callable[[np.ndarray], np.ndarray]  # features float32 (1, T, F) -> mask (1, T, F)


@dataclass(frozen=True, slots=True)
class Scale:
    """Log magnitudes with mean 0 and deviation 1 in every frequency, over training pieces."""

    mean: np.ndarray  # float32 (F,)
    std: np.ndarray  # float32 (F,)

    def of(self, log_magnitudes: np.ndarray) -> np.ndarray:
        """float32 (..., F) -> float32 (..., F)."""
        return np.asarray((log_magnitudes - self.mean) / self.std)

    def written(self) -> dict[str, Any]:
        """What a model's config says of it."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}


class Enhancer:
    """A model that is ready to answer."""

    labels: Sequence[str] = ()

    def __init__(
        self, rate_hz: int, stft: Stft, scale: Scale, run: Run, reach: int, network: nn.Module | None = None
    ) -> None:
        self.rate_hz, self.stft, self.scale, self.run, self.reach = rate_hz, stft, scale, run, reach
        self.network = network  # where there is one: an export has none

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """One recording after the other: they are of different lengths."""
        return [answered(row, self.enhanced(row.x)) for row in rows]

    def enhanced(self, sound: Sound) -> Sound:
        """The recording, as long as it was, at the rate that the model hears."""
        samples = sound.at(self.rate_hz)
        spectrum = self.stft.analysed(samples)
        return self.synthesized(spectrum * self.mask(spectrum), len(samples))

    def synthesized(self, spectrum: np.ndarray, num_samples: int) -> Sound:
        return Sound(as_int16(self.stft.synthesized(spectrum, num_samples)), self.rate_hz)

    def mask(self, spectrum: np.ndarray) -> np.ndarray:
        """complex64 (T, F) -> float32 (T, F), 0 to 1."""
        features = self.scale.of(log_magnitudes(spectrum))
        found = []
        for start in range(0, len(features), AT_ONCE):
            before = min(start, self.reach)
            some = features[start - before : start + AT_ONCE + self.reach]
            found.append(self.run(some[None])[0, before : before + AT_ONCE])
        return np.concatenate(found)


class Listener(Enhancer):
    """An enhancer that hears only what came before, so that it can answer while it listens."""

    def listen(self, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Enhanced samples as soon as they are certain: a window less a hop behind what was heard.

        Args:
            chunks: float32 (n,) each, any n, at the model's rate.
        """
        import torch

        from modelcommons.workbench.fields.speech.denoising.network import Memory, Tcn

        assert isinstance(self.network, Tcn)
        stft, memory = self.stft, Memory()
        left = np.zeros(stft.window - stft.hop, np.float32)  # heard, and under windows to come
        begun = np.zeros(stft.window, np.float32)  # under windows that were answered and windows to come
        num_heard, num_told = 0, -len(left)  # samples
        for chunk in itertools.chain(chunks, [None]):
            num_heard += 0 if chunk is None else len(chunk)
            left = np.concatenate([left, np.zeros(stft.window, np.float32) if chunk is None else chunk])
            count = (len(left) - stft.window) // stft.hop + 1
            if count <= 0:
                continue
            stretches = np.lib.stride_tricks.sliding_window_view(left, stft.window)[:: stft.hop][:count]
            spectrum = np.asarray(np.fft.rfft(stretches * stft.root), np.complex64)
            left = left[count * stft.hop :]
            features = torch.from_numpy(self.scale.of(log_magnitudes(spectrum)))[None]
            with torch.inference_mode():
                mask = self.network.listen(features, memory)[0].numpy()
            done = []
            for stretch in np.fft.irfft(spectrum * mask, stft.window).astype(np.float32) * stft.root:
                begun += stretch
                done.append(begun[: stft.hop] / stft.overlap)
                begun = np.concatenate([begun[stft.hop :], np.zeros(stft.hop, np.float32)])
            samples = np.concatenate(done)
            yield samples[max(0, -num_told) : max(0, num_heard - num_told)]
            num_told += len(samples)


# --- folders --------------------------------------------------------------------------------------------------------


def load(folder: Path, variant: str = "") -> Enhancer:
    """An enhancer from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    options, rate_hz, stft, scale = _read(config, folder)
    if variant:
        return Enhancer(rate_hz, stft, scale, _onnx_run(folder / variant), options.reach)
    check_weights(folder)
    network = _network(folder, options, stft.bins)
    kind = Listener if options.streaming else Enhancer
    return kind(rate_hz, stft, scale, torch_run(network), options.reach, network)


def files(folder: Path, variant: str = "") -> list[str]:
    """What is read to predict."""
    return [CONFIG, variant or WEIGHTS]


def _read(config: Mapping[str, Any], folder: Path) -> tuple[TcnOptions, int, Stft, Scale]:
    try:
        if config["model_type"] != MODEL_TYPE:
            raise ValueError(f"a model of the kind {config['model_type']}, open models are not read")
        options = ENHANCERS[config["architecture"]].model_validate(config["options"])
        assert isinstance(options, TcnOptions)
        found = config["preprocess"]
        rate_hz, (mean, std) = int(found["rate_hz"]), (np.array(found[name], np.float32) for name in ("mean", "std"))
        stft = Stft.of(options, rate_hz)
        if not SLOWEST <= rate_hz <= FASTEST or not mean.shape == std.shape == (stft.bins,) or not (std > 0).all():
            raise ValueError(f"{mean.shape} means at {rate_hz} Hz, {stft.bins} frequencies")
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{folder / CONFIG}: expected an enhancer of ours, got another ({error!s:.200}).") from error
    return options, rate_hz, stft, Scale(mean, std)


def _network(folder: Path, options: TcnOptions, bins: int) -> nn.Module:
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.speech.denoising.network import Tcn

    network = Tcn(options, bins)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network.eval()


def torch_run(network: nn.Module) -> Run:
    import torch

    def run(features: np.ndarray) -> np.ndarray:
        machine = next(network.parameters()).device
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(features).to(machine)).float().cpu().numpy())

    return run


def _onnx_run(path: Path) -> Run:
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)
    return lambda features: opened.run({"features": np.ascontiguousarray(features)})[0]
