"""fitting: a new network or an open model learns targets from sources, and becomes a model folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.model_folder import WEIGHTS, read_config, write_config
from modelcommons.workbench.engine.tokenizer import open_tokenizer
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.text.language.tokens import learn_pieces
from modelcommons.workbench.fields.text.sequences.architectures import ARCHITECTURES, defaults, open_defaults
from modelcommons.workbench.fields.text.sequences.codecs import Codec, PieceCodec
from modelcommons.workbench.fields.text.sequences.memory import PairMemory
from modelcommons.workbench.fields.text.sequences.model import (
    MOST_TOKENS,
    Preprocess,
    SequenceModel,
    open_codec,
    open_length,
    padded,
)
from modelcommons.workbench.fields.text.sequences.networks import logits_of, open_network, reads
from modelcommons.workbench.fields.text.sequences.pairs import Options
from modelcommons.workbench.task import Job, Line, Rows

if TYPE_CHECKING:
    from torch import Tensor, nn

JUDGED = 300  # validation rows that checkpoints are chosen by, at most
IGNORED = -100  # label of a place that has no token

Batch = tuple["Tensor", "Tensor", "Tensor", "Tensor"]  # sources, where they have tokens, targets, what is foretold


@dataclass(frozen=True, slots=True)
class Judge:
    """What checkpoints are chosen by."""

    task: str
    metric: str
    limit: float  # the best value
    value: Callable[[Sequence[Line]], float]
    target: Callable[[Any], Any]  # of a row


class Examples:
    """Every pair of a source and one of its targets, as tokens."""

    def __init__(self, train: Rows, codec: Codec, options: Options, most: int) -> None:
        rows = [train[at] for at in range(len(train))]
        limit = most if options.max_length == "auto" else min(most, options.max_length)
        sources = [codec.source(row.x, limit) for row in rows]
        self.codec = codec
        self.pairs = [
            (source, codec.target(text, limit))
            for row, source in zip(rows, sources, strict=True)
            for text in row.y.texts
        ]
        longest = (max(len(pair[side]) for pair in self.pairs) for side in (0, 1))
        sizes = longest if options.max_length == "auto" else (limit, limit)
        self.max_source, self.max_target = (max(2, size) for size in sizes)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def lengths(self) -> list[int]:
        return [len(source) + len(target) for source, target in self.pairs]

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        """Sources (B, S), where they have tokens (B, S), targets behind the start (B, T), their tokens (B, T)."""
        import torch

        some = [self.pairs[at] for at in indices]
        ids, mask = padded([source for source, _ in some], self.codec.pad)
        labels, there = padded([target for _, target in some], self.codec.pad)
        before = np.concatenate([np.full((len(some), 1), self.codec.start), labels[:, :-1]], axis=1)
        labels[there == 0] = IGNORED
        return tuple(map(torch.from_numpy, (ids, mask, before, labels)))  # type: ignore[return-value]


def fit(train: Rows, validation: Rows, job: Job, judge: Judge) -> Fit:
    assert isinstance(job.options, Options)
    if job.options.known is not None:
        PairMemory.of(train).write(job.folder)
    return _fit_new(train, validation, job, judge) if job.choice.is_new else _fit_open(train, validation, job, judge)


def _fit_new(train: Rows, validation: Rows, job: Job, judge: Judge) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.text.sequences.transformer import Transformer

    assert isinstance(job.options, Options)
    options = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options)).model_dump(mode="json")
    if options["width"] % options["heads"] or options["width"] % 2:
        raise DataError(
            f"model.options.width: expected an even multiple of `heads` ({options['heads']}), got {options['width']}. "
            "Change one of them."
        )
    rows = [train[at] for at in range(len(train))]
    texts = [text for row in rows for text in (row.x, *row.y.texts)]
    codec = PieceCodec(learn_pieces(texts, options["vocabulary"], job.folder), job.options.prefix)
    examples = Examples(train, codec, job.options, MOST_TOKENS)
    torch.manual_seed(job.seed)
    network = Transformer(codec.size, **{key: value for key, value in options.items() if key != "vocabulary"})
    preprocess = _preprocess(examples, job.options)
    fitted = _train(network, examples, validation, preprocess, job, judge, defaults(len(examples)))
    weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    write_config(job.folder, judge.task, job.choice.name, options, preprocess=preprocess.model_dump())
    return fitted


def _fit_open(train: Rows, validation: Rows, job: Job, judge: Judge) -> Fit:
    import torch

    from modelcommons.workbench.engine.adapters import merged, quiet
    from modelcommons.workbench.fields.text.language.fitting import limited

    assert job.choice.folder is not None and isinstance(job.options, Options)
    folder, method = job.choice.folder, job.training.method
    codec = open_codec(folder, job.options.prefix)
    examples = Examples(train, codec, job.options, open_length(read_config(folder)))
    torch.manual_seed(job.seed)  # low-rank additions begin at random
    network = limited(open_network(folder), method)
    preprocess = _preprocess(examples, job.options)
    fitted = _train(network, examples, validation, preprocess, job, judge, open_defaults(method, len(examples)))
    plain = merged(network, method)
    plain.config.preprocess = preprocess.model_dump()
    with quiet():
        plain.save_pretrained(job.folder)
        open_tokenizer(folder).save_pretrained(job.folder)
    return fitted


def _preprocess(examples: Examples, options: Options) -> Preprocess:
    return Preprocess(
        prefix=options.prefix, max_source=examples.max_source, max_target=examples.max_target, beam=options.beam,
        length_penalty=options.length_penalty, known=options.known,
    )  # fmt: skip


def _train(
    network: nn.Module, examples: Examples, validation: Rows, preprocess: Preprocess, job: Job, judge: Judge,
    values: Defaults,
) -> Fit:  # fmt: skip
    from torch.nn.functional import cross_entropy

    from modelcommons.workbench.engine.train import train as run

    judged = [validation[at] for at in range(0, len(validation), max(1, math.ceil(len(validation) / JUDGED)))]
    quickly = preprocess.model_copy(update={"beam": 1})

    def loss(network: nn.Module, batch: Batch) -> tuple[Tensor]:
        ids, mask, before, labels = batch
        logits = logits_of(network, ids, mask, before).float()
        nats = cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum",
            label_smoothing=job.training.label_smoothing,
        )  # fmt: skip
        return (nats,)

    def tokens(batch: Batch) -> float:
        return float((batch[3] != IGNORED).sum())

    def score(network: nn.Module) -> float:
        answers = SequenceModel(examples.codec, reads(network), quickly).predict(judged)
        return judge.value(
            [{"id": row.id, "target": judge.target(row), **answer} for row, answer in zip(judged, answers, strict=True)]
        )

    return run(
        network, num_rows=len(examples), batch=examples.batch, loss=loss, counts=(tokens,), score=score,
        metric=judge.metric, direction="higher", limit=judge.limit, training=job.training, defaults=values,
        seed=job.seed, checkpoints=job.checkpoints, progress=job.progress, lengths=examples.lengths,
        seconds=job.seconds, max_steps=job.max_steps,
    )  # fmt: skip
