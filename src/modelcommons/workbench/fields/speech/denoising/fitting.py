"""fitting: a network learns to take away noise that is made anew for every step, and becomes a model folder."""

# B batch, N samples of a piece, T frames, F frequencies

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.formats.model_folder import WEIGHTS, write_config
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.speech.denoising.architectures import ENHANCERS, TcnOptions, defaults
from modelcommons.workbench.fields.speech.denoising.metrics import MOST_DB, si_sdr
from modelcommons.workbench.fields.speech.denoising.mixtures import Heard
from modelcommons.workbench.fields.speech.denoising.model import Enhancer, Scale, torch_run
from modelcommons.workbench.fields.speech.denoising.noise import KINDS
from modelcommons.workbench.fields.speech.denoising.options import EnhancementOptions
from modelcommons.workbench.fields.speech.denoising.spectrum import Stft, log_magnitudes
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn

TASK_NAME = "speech-enhancement"
MEASURED = 300  # training pieces that mean and deviation of each frequency are taken from
LEAST = 0.1  # deviation of a frequency in which nothing happens
COVERED = 90.0  # percent of the training recordings that a piece holds whole
MOST_SECONDS = 4.0  # of a piece that `auto` takes
SCORED = 200  # validation rows that checkpoints are chosen by, evenly spaced
AVERAGE = 0.995  # of the weights over steps; what is kept is the average
BEST_DB = 30.0  # beyond this a piece is good enough: its loss counts no more
QUIETER, LOUDER = 0.3, 2.0  # how a piece's loudness is varied, at most

Batch = tuple["Tensor", "Tensor", "Tensor"]  # spectrum complex64 (B, T, F), features (B, T, F), the voice (B, N)


def fit(train: Heard, validation: Heard, job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.engine.train import train as run
    from modelcommons.workbench.fields.speech.denoising.network import Tcn

    options = ENHANCERS[job.choice.name].model_validate(dict(job.choice.options))
    assert isinstance(options, TcnOptions) and isinstance(job.options, EnhancementOptions)
    stft, size = Stft.of(options, train.rate_hz), piece_samples(train, job.options)
    scale = measure(train, stft, size)
    torch.manual_seed(job.seed)
    network = Tcn(options, stft.bins)

    def batch(indices: np.ndarray, rng: np.random.Generator) -> Batch:
        pieces = [varied(train, int(at), size, rng) for at in indices]
        spectrum = stft.analysed(np.stack([noisy for noisy, _ in pieces]))
        features = scale.of(log_magnitudes(spectrum))
        clean = np.stack([clean for _, clean in pieces])
        return torch.from_numpy(spectrum), torch.from_numpy(features), torch.from_numpy(clean)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        spectrum, features, clean = batch
        found = synthesized(stft, spectrum * network(features).float(), clean.shape[1])
        return distortion(found, clean)

    def score(network: nn.Module) -> float:
        return improvement(Enhancer(train.rate_hz, stft, scale, torch_run(network), options.reach), validation)

    fitted = run(
        network, num_rows=len(train), batch=batch, loss=loss, score=score, metric="si_sdr_improvement",
        direction="higher", limit=2 * MOST_DB, training=job.training, defaults=defaults(len(train)), seed=job.seed,
        checkpoints=job.checkpoints, progress=job.progress, seconds=job.seconds, max_steps=job.max_steps,
        average=AVERAGE,
    )  # fmt: skip
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    write_config(
        job.folder, TASK_NAME, job.choice.name, options.model_dump(mode="json"),
        preprocess={"rate_hz": train.rate_hz, **scale.written()},
    )  # fmt: skip
    return fitted


def piece_samples(train: Heard, options: EnhancementOptions) -> int:
    """N."""
    covered = min(MOST_SECONDS, float(np.percentile(train.lengths, COVERED)) / train.rate_hz)
    seconds = covered if options.seconds == "auto" else options.seconds
    return max(1, round(seconds * train.rate_hz))


def varied(train: Heard, index: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A piece in noise and clean, louder or softer."""
    loud = np.float32(np.exp(rng.uniform(np.log(QUIETER), np.log(LOUDER))))
    noisy, clean = train.piece(index, size, rng)
    return noisy * loud, clean * loud


def measure(train: Heard, stft: Stft, size: int) -> Scale:
    """Mean and deviation of each frequency's log magnitude over training pieces in noise; 6 digits."""
    rng = np.random.default_rng(0)
    some = range(0, len(train), max(1, len(train) // MEASURED))
    found = np.concatenate([log_magnitudes(stft.analysed(varied(train, at, size, rng)[0])) for at in some])
    mean, std = (np.round(each, 6).astype(np.float32) for each in (found.mean(0), np.maximum(found.std(0), LEAST)))
    return Scale(mean, std)


def synthesized(stft: Stft, spectrum: Tensor, num_samples: int) -> Tensor:
    """complex64 (B, T, F) -> float32 (B, N), as `Stft.synthesized`."""
    import torch

    root, overlap = (torch.from_numpy(each).to(spectrum.device) for each in (stft.root, stft.overlap))
    stretches = torch.fft.irfft(spectrum, stft.window) * root
    rows, frames = stretches.shape[:2]
    spare = -stft.window % stft.hop
    pieces = torch.nn.functional.pad(stretches, (0, spare)).reshape(rows, frames, -1, stft.hop)
    each, first = pieces.shape[2], stft.window - stft.hop
    shifted = [torch.nn.functional.pad(pieces[:, :, at], (0, 0, at, each - 1 - at)) for at in range(each)]
    return (torch.stack(shifted).sum(0) / overlap).reshape(rows, -1)[:, first : first + num_samples]


def distortion(found: Tensor, clean: Tensor) -> Tensor:
    """Mean of minus SI-SDR, in decibels, a little less steep where all is well.

    Source: the soft threshold of Wisdom et al., Unsupervised Sound Separation Using Mixture Invariant Training (2020),
    equation 2, on the scaled target of Le Roux et al. (2019).
    """
    energy = (clean**2).sum(1, keepdim=True) + 1e-8
    target = (found * clean).sum(1, keepdim=True) / energy * clean
    voice = (target**2).sum(1)
    rest = ((found - target) ** 2).sum(1) + 10 ** (-BEST_DB / 10) * voice
    return (10 * (rest + 1e-8).log10() - 10 * (voice + 1e-8).log10()).mean()


def improvement(model: Enhancer, rows: Heard) -> float:
    """Mean decibels gained."""
    step = max(1, len(rows) // SCORED)
    while math.gcd(step, math.lcm(*range(1, len(KINDS) + 1))) > 1:  # else it could meet one noise again and again
        step += 1
    gained = []
    for at in range(0, len(rows), step):
        row = rows[at]
        clean = row.y.sound.samples
        gained.append(si_sdr(model.enhanced(row.x).samples, clean) - si_sdr(row.x.samples, clean))
    return float(np.mean(gained))
