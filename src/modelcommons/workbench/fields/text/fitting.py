"""fitting: a new network or an open model goes through the training loop and becomes a model folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.formats.model_folder import WEIGHTS, id2label, read_config, write_config
from modelcommons.workbench.engine.tokenizer import TOKENIZER, learn_tokenizer, open_tokenizer
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.text.architectures import ARCHITECTURES, defaults, open_defaults
from modelcommons.workbench.fields.text.classifier import logits_of, max_length, open_network
from modelcommons.workbench.fields.text.encoders import (
    BagEncoder,
    Encoder,
    Encodings,
    bags,
    open_encoder,
    own_encoder,
)
from modelcommons.workbench.fields.text.ngrams import grams, rarity
from modelcommons.workbench.fields.text.rows import Options
from modelcommons.workbench.task import Job, Rows

if TYPE_CHECKING:
    from torch import Tensor, nn

TASK_NAME = "text-classification"
SCORED_AT_ONCE = 64
COVERED = 99.0  # percent of the training texts that `max_length: auto` reads whole
MOST_TOKENS = 256  # that `auto` reads
HEAD_PACE = 10.0  # of an open model's new head, beside the rest

Batch = tuple[dict[str, "Tensor"], "Tensor"]


class Examples:
    """Texts of one part, encoded, with the indices of their labels."""

    def __init__(self, encoded: Encodings, codes: np.ndarray, encoder: Encoder) -> None:
        self.encoded, self.codes, self.encoder = encoded, codes, encoder

    def batch(self, indices: np.ndarray) -> Batch:
        import torch

        made = self.encoder.collate([self.encoded[index] for index in indices])
        return {name: torch.from_numpy(array) for name, array in made.items()}, torch.from_numpy(self.codes[indices])


def fit(train: Rows, validation: Rows, job: Job) -> Fit:
    texts = [[rows[index].x for index in range(len(rows))] for rows in (train, validation)]
    named = [[rows[index].y for index in range(len(rows))] for rows in (train, validation)]
    labels = sorted(set(named[0]))
    index = {label: at for at, label in enumerate(labels)}
    codes = [np.array([index.get(label, -1) for label in part], np.int64) for part in named]
    return _fit_new(texts, codes, labels, job) if job.choice.is_new else _fit_open(texts, codes, labels, job)


def _fit_new(texts: Sequence[Sequence[str]], codes: Sequence[np.ndarray], labels: list[str], job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.text.models import build

    name = job.choice.name
    options = ARCHITECTURES[name].model_validate(dict(job.choice.options)).model_dump(mode="json")
    encoder, length, encoded = _new_encoder(name, options, texts[0], job)
    torch.manual_seed(job.seed)
    network = build(name, options, len(labels), length)
    if isinstance(encoder, BagEncoder):
        network.rarity.copy_(torch.from_numpy(encoder.rarity))  # type: ignore[operator]
    parts = [Examples(encoded, codes[0], encoder), Examples(encoder.encode(texts[1]), codes[1], encoder)]
    fitted = _train(network, parts, job, defaults(name, len(texts[0])))
    weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    preprocess = {"max_length": length}
    write_config(job.folder, TASK_NAME, name, options, id2label=id2label(labels), preprocess=preprocess)
    return fitted


def _new_encoder(
    name: str, options: Mapping[str, Any], texts: Sequence[str], job: Job
) -> tuple[Encoder, int, Encodings]:
    """The encoder learned from the training texts, how many tokens it reads, and these texts encoded."""
    if name == "bag":
        read = grams(options)
        encoded = bags(read, texts)
        return BagEncoder(read, rarity((buckets for buckets, _ in encoded), read.buckets)), 1, encoded
    learn_tokenizer(texts, options["vocabulary"], job.folder / TOKENIZER)
    length = _length(own_encoder(job.folder, MOST_TOKENS), texts, job, MOST_TOKENS)
    encoder = own_encoder(job.folder, length)
    return encoder, length, encoder.encode(texts)


def _fit_open(texts: Sequence[Sequence[str]], codes: Sequence[np.ndarray], labels: list[str], job: Job) -> Fit:
    import torch

    from modelcommons.workbench.engine.adapters import limited, merged, quiet

    assert job.choice.folder is not None
    method = job.training.method
    tokenizer = open_tokenizer(job.choice.folder)
    most = max_length(read_config(job.choice.folder), job.choice.folder)
    length = _length(open_encoder(tokenizer, most), texts[0], job, most)
    torch.manual_seed(job.seed)  # the new head's weights
    network = limited(open_network(job.choice.folder, labels), method)
    encoder = open_encoder(tokenizer, length)
    parts = [Examples(encoder.encode(part), wanted, encoder) for part, wanted in zip(texts, codes, strict=True)]
    pace = head_pace(network) if method == "full" else {}
    fitted = _train(network, parts, job, open_defaults(method, len(texts[0])), pace)
    plain = merged(network, method)
    plain.config.preprocess = {"max_length": length}
    with quiet():
        plain.save_pretrained(job.folder)
        tokenizer.save_pretrained(job.folder)
    return fitted


def _length(encoder: Encoder, texts: Sequence[str], job: Job, most: int) -> int:
    """Tokens that are read: as the recipe says, else enough for nearly all training texts."""
    assert isinstance(job.options, Options)
    if job.options.max_length != "auto":
        return min(job.options.max_length, most)
    lengths = encoder.encode(texts).lengths
    return int(min(most, MOST_TOKENS, max(8, np.ceil(np.percentile(lengths, COVERED)))))


def head_pace(network: nn.Module) -> dict[str, float]:
    """Parameter-name prefix -> factor on the learning rate: a new head has everything to learn, the rest a little."""
    return {name: HEAD_PACE for name, _ in network.named_children() if name != network.base_model_prefix}


def _train(
    network: nn.Module, parts: Sequence[Examples], job: Job, values: Defaults, groups: Mapping[str, float] | None = None
) -> Fit:
    from torch.nn.functional import cross_entropy

    from modelcommons.workbench.engine.dropout import quicken
    from modelcommons.workbench.engine.train import train as run

    train, validation = parts
    quicken(network)

    def batch(indices: np.ndarray, rng: np.random.Generator) -> Batch:
        return train.batch(indices)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        inputs, targets = batch
        logits = logits_of(network(**inputs)).float()
        return cross_entropy(logits, targets, label_smoothing=job.training.label_smoothing, reduction="none")

    def score(network: nn.Module) -> float:
        return accuracy(network, validation)

    return run(
        network, num_rows=len(train.codes), batch=batch, loss=loss, score=score, metric="accuracy", direction="higher",
        limit=1.0,
        training=job.training, defaults=values, seed=job.seed, checkpoints=job.checkpoints, progress=job.progress,
        lengths=train.encoded.lengths, seconds=job.seconds, max_steps=job.max_steps, groups=groups,
    )  # fmt: skip


def accuracy(network: nn.Module, rows: Examples) -> float:
    """Share of the rows whose label the network gets right; it is in evaluation mode."""
    from modelcommons.workbench.engine.device import device

    order = np.argsort(rows.encoded.lengths, kind="stable")
    right = 0
    for start in range(0, len(order), SCORED_AT_ONCE):
        inputs, targets = rows.batch(order[start : start + SCORED_AT_ONCE])
        logits = logits_of(network(**{name: tensor.to(device()) for name, tensor in inputs.items()}))
        right += int((logits.argmax(1).cpu() == targets).sum())
    return right / len(order)
