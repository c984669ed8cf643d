"""fitting: new towers or an open model's go through the training loop and become a model folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import RecipeError
from modelcommons.formats.model_folder import WEIGHTS, write_config
from modelcommons.formats.preprocess import Preprocess, measured
from modelcommons.workbench.engine.adapters import quiet
from modelcommons.workbench.engine.augment import Change, augment
from modelcommons.workbench.engine.processors import processor_inputs, read_processor
from modelcommons.workbench.engine.tokenizer import TOKENIZER, learn_tokenizer, open_tokenizer, read_tokenizer
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.multimodal.architectures import HEADS, TwoTowerOptions, defaults, open_defaults
from modelcommons.workbench.fields.multimodal.matcher import (
    Inputs,
    Vectors,
    open_network,
    open_pieces,
    own_pieces,
    temperature_of,
)
from modelcommons.workbench.fields.multimodal.metrics import losses
from modelcommons.workbench.fields.multimodal.pairs import Options, Pairs
from modelcommons.workbench.fields.multimodal.ranking import Ranker
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor

    from modelcommons.workbench.fields.multimodal.towers import OpenTowers, TwoTower

TASK_NAME = "image-text-matching"
AVERAGE = 0.995  # of the weights over steps; what is kept is the average
ENOUGH = 0.99  # of the training texts are read whole
MOST_PIECES = 128


def fit(train: Pairs, validation: Pairs, job: Job) -> Fit:
    return _fit_new(train, validation, job) if job.choice.is_new else _fit_open(train, validation, job)


def _fit_new(train: Pairs, validation: Pairs, job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.multimodal.towers import TwoTower

    options = TwoTowerOptions.model_validate(dict(job.choice.options))
    preprocess = measured(train.pixels, len(train))
    learn_tokenizer(train.texts(), options.vocabulary, job.folder / TOKENIZER)
    tokenizer = read_tokenizer(job.folder)
    options = options.model_copy(update={"vocabulary": tokenizer.get_vocab_size()})
    lengths = [len(one.ids) for one in tokenizer.encode_batch(train.texts())]
    length = max(1, min(MOST_PIECES, int(np.quantile(lengths, ENOUGH))))
    torch.manual_seed(job.seed)
    network = TwoTower(options, train.shape)
    pieces = own_pieces(job.folder, length)
    fitted = _train(network, train, validation, job, preprocess, preprocess.inputs, pieces, defaults(len(train)))
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    write_config(
        job.folder, TASK_NAME, job.choice.name, options.model_dump(mode="json"),
        preprocess=asdict(preprocess), max_length=length,
    )  # fmt: skip
    return fitted


def _fit_open(train: Pairs, validation: Pairs, job: Job) -> Fit:
    import torch

    assert job.choice.folder is not None
    method, folder = job.training.method, job.choice.folder
    if method == "lora":
        raise RecipeError("tune.method: image-text-matching tunes all weights or the head. Write `full` or `head`.")
    preprocess = measured(train.pixels, len(train))
    torch.manual_seed(job.seed)
    towers = open_network(folder)
    if method == "head":
        limit(towers)
    processor, tokenizer = read_processor(folder), open_tokenizer(folder)
    pieces, values = open_pieces(folder), open_defaults(method, len(train))
    fitted = _train(towers, train, validation, job, preprocess, processor_inputs(processor), pieces, values)
    network: Any = towers.network
    network.config.preprocess = asdict(preprocess)
    network.config.task = TASK_NAME
    with quiet():
        network.save_pretrained(job.folder)
        tokenizer.save_pretrained(job.folder)
        processor.save_pretrained(job.folder)
    return fitted


def limit(towers: OpenTowers) -> None:
    """Leaves free only what turns each tower's features into vectors, and the temperature.

    Raises:
        RecipeError: the model has no such part.
    """
    found = 0
    for name, weight in towers.network.named_parameters():
        head = name.startswith(HEADS)
        weight.requires_grad_(head or name.startswith("logit_"))
        found += head
    if not found:
        raise RecipeError("tune.method: `head` needs a model with projections as CLIP or SigLIP has. Write `full`.")


def changes(options: Options) -> tuple[Change, ...]:
    match options.augment:
        case "auto":
            return ("crop",)
        case "none":
            return ()
        case chosen:
            return chosen


def _train(
    network: TwoTower | OpenTowers,
    train: Pairs,
    validation: Pairs,
    job: Job,
    preprocess: Preprocess,
    pixel_values: Callable[[np.ndarray], np.ndarray],
    pieces: Callable[[Sequence[str]], Inputs],
    values: Defaults,
) -> Fit:
    import torch

    from modelcommons.workbench.engine.train import train as run
    from modelcommons.workbench.fields.multimodal.towers import contrast

    assert isinstance(job.options, Options)
    varied, texts, pairs = changes(job.options), train.texts(), train.gallery.pairs

    def batch(indices: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        pictures = augment(train.pixels(indices), varied, preprocess.fill, rng)
        made = {"pixel_values": pixel_values(pictures), **pieces([texts[at] for at in indices.tolist()])}
        same = pairs[indices]
        together = (same[:, None] == same[None]).any(axis=2)  # the same picture, or the same text
        return {name: torch.from_numpy(array) for name, array in made.items()} | {
            "together": torch.from_numpy(together.astype(np.float32))
        }

    def loss(network: TwoTower | OpenTowers, batch: dict[str, Tensor]) -> Tensor:
        images = network.images(batch["pixel_values"])
        vectors = network.texts(batch["input_ids"], batch["attention_mask"])
        return contrast(images, vectors, network.logit_scale, batch["together"], job.training.label_smoothing)

    def score(network: TwoTower | OpenTowers) -> float:
        return mean_recall(
            Vectors(preprocess, pixel_values, pieces, _run(network), temperature_of(network)), validation
        )

    return run(
        network, num_rows=len(train), batch=batch, loss=loss, score=score,  # type: ignore[arg-type]
        metric="mean_recall", direction="higher", limit=1.0,
        training=job.training, defaults=values, seed=job.seed, checkpoints=job.checkpoints, progress=job.progress,
        seconds=job.seconds, max_steps=job.max_steps, average=AVERAGE,
    )  # fmt: skip


def _run(network: TwoTower | OpenTowers) -> Callable[[Inputs], np.ndarray]:
    """Where and how the loop runs it: on its device, in its precision."""
    import torch

    from modelcommons.workbench.engine.device import device

    def run(inputs: Inputs) -> np.ndarray:
        made = {name: torch.from_numpy(array).to(device()) for name, array in inputs.items()}
        found = network.images(**made) if "pixel_values" in made else network.texts(**made)
        return np.asarray(found.float().cpu().numpy())

    return run


def mean_recall(vectors: Vectors, rows: Pairs) -> float:
    """The main metric on these rows."""
    asked = [rows[at] for at in range(len(rows))]
    lines = [{"id": row.id, **answer} for row, answer in zip(asked, Ranker(vectors).predict(asked), strict=True)]
    return float(1 - losses(lines).mean())
