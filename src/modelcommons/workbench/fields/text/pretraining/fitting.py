"""fitting: a new BERT or an open model reads the training documents pair by pair and becomes a model folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.model_folder import read_config
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.text.language.fitting import limited
from modelcommons.workbench.fields.text.pretraining.architectures import ARCHITECTURES, defaults, open_defaults
from modelcommons.workbench.fields.text.pretraining.documents import Options
from modelcommons.workbench.fields.text.pretraining.model import FillMask, TorchNetwork, max_length
from modelcommons.workbench.fields.text.pretraining.network import (
    asks_next,
    is_bert,
    new_network,
    open_network,
    outputs,
)
from modelcommons.workbench.fields.text.pretraining.packing import Batch, Stretches
from modelcommons.workbench.fields.text.pretraining.pairs import Pairs, has_pairs
from modelcommons.workbench.fields.text.pretraining.pieces import Pieces, learn_pieces, read_pieces
from modelcommons.workbench.task import Job, Row

if TYPE_CHECKING:
    from torch import Tensor, nn

SCORED = 256  # validation rows that checkpoints are chosen by


def fit(train: Pairs, validation: Pairs, job: Job) -> Fit:
    return _fit_new(train, validation, job) if job.choice.is_new else _fit_open(train, validation, job)


def _fit_new(train: Pairs, validation: Pairs, job: Job) -> Fit:
    import torch

    options = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options)).model_dump()
    if options["width"] % options["heads"]:
        raise DataError(
            f"model.options.width: expected a multiple of `heads` ({options['heads']}), got {options['width']}. Change "
            "one of them."
        )
    texts = [sentence for at in dict.fromkeys(train.where[:, 0].tolist()) for sentence in train.texts[at].sentences]
    pieces = learn_pieces(texts, options["vocabulary"], options["length"], job.folder)
    torch.manual_seed(job.seed)
    network = new_network(options, pieces.size, has_pairs(train))
    return _train(network, pieces, train, validation, job, defaults(len(train)))


def _fit_open(train: Pairs, validation: Pairs, job: Job) -> Fit:
    import torch

    assert job.choice.folder is not None and isinstance(job.options, Options)
    folder = job.choice.folder
    pieces = read_pieces(folder, max_length(read_config(folder), folder))
    torch.manual_seed(job.seed)  # low-rank additions begin at random
    network = open_network(folder)
    if job.options.next_sentence is True and not asks_next(network):
        raise DataError(
            f"data.options.next_sentence: {job.choice.name} has no head that tells whether a stretch follows. Name a "
            "BERT that has one, or write auto."
        )
    return _train(network, pieces, train, validation, job, open_defaults(job.training.method))


def _train(network: Any, pieces: Pieces, train: Pairs, validation: Pairs, job: Job, values: Defaults) -> Fit:
    from modelcommons.workbench.engine.adapters import merged, quiet
    from modelcommons.workbench.engine.dropout import quicken
    from modelcommons.workbench.engine.train import train as run

    assert isinstance(job.options, Options)
    ask_next = asks_next(network) and has_pairs(train)
    stretches = Stretches(train, pieces, job.options, ask_next, padded=not is_bert(network))
    quicken(network)
    trained = limited(network, job.training.method)  # changes the network in place, which is what is run below
    judged = sample(validation)

    def score(_: nn.Module) -> float:
        return cost(FillMask(pieces, TorchNetwork(network)), judged)

    fitted = run(
        trained, num_rows=len(stretches), batch=stretches.batch, loss=lambda _, batch: loss(network, batch),
        counts=counts(asks_next(network)), score=score, metric="masked_cross_entropy", direction="lower", limit=0.0,
        training=job.training, defaults=values, seed=job.seed, checkpoints=job.checkpoints, progress=job.progress,
        lengths=None if is_bert(network) else stretches.lengths(), seconds=job.seconds, max_steps=job.max_steps,
    )  # fmt: skip
    plain = merged(trained, job.training.method)
    plain.config.preprocess = {"max_length": pieces.length}
    with quiet():
        plain.save_pretrained(job.folder)
        pieces.save(job.folder)
    return fitted


def loss(network: Any, batch: Batch) -> tuple[Tensor, ...]:
    """Nats of the masked tokens and, where it is asked, of whether stretches follow; their means (`counts`) are added
    up, as in the paper."""
    from torch.nn.functional import cross_entropy

    logits, next = outputs(network, batch)
    masked = cross_entropy(logits.float(), batch["wanted"], reduction="sum")
    if next is None:
        return (masked,)
    return masked, cross_entropy(next.float(), batch["next"], ignore_index=-1, reduction="sum")


def counts(ask_next: bool) -> tuple[Callable[[Batch], float], ...]:
    """How many of each a batch has."""

    def masked(batch: Batch) -> float:
        return len(batch["wanted"])

    def asked(batch: Batch) -> float:
        return float((batch["next"] >= 0).sum())

    return (masked, asked) if ask_next else (masked,)


def cost(model: FillMask, rows: Sequence[Row]) -> float:
    """Nats of a masked word."""
    places = [place for answer in model.predict(rows) for place in answer["prediction"]["places"]]
    return math.fsum(place["nats"] for place in places) / len(places)


def sample(rows: Pairs) -> list[Row]:
    """So many rows, evenly from all of them."""
    return [rows[at] for at in np.unique(np.linspace(0, len(rows) - 1, SCORED).round().astype(int)).tolist()]
