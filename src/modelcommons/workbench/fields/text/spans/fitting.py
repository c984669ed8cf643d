"""fitting: a new network or an open model learns to find answers window by window, and becomes a model folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.model_folder import WEIGHTS, read_config, write_config
from modelcommons.workbench.engine.tokenizer import TOKENIZER, learn_tokenizer, open_tokenizer, read_tokenizer
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.text.fitting import head_pace
from modelcommons.workbench.fields.text.spans.architectures import (
    ARCHITECTURES,
    COVERED,
    LENGTH,
    LONGEST_ANSWER,
    defaults,
    open_defaults,
)
from modelcommons.workbench.fields.text.spans.overlap import learn_rarity, stretch
from modelcommons.workbench.fields.text.spans.questions import Options
from modelcommons.workbench.fields.text.spans.reader import (
    Preprocess,
    Reader,
    logits_of,
    longest,
    open_network,
    torch_run,
)
from modelcommons.workbench.fields.text.spans.rules import compare
from modelcommons.workbench.fields.text.spans.windows import (
    Encoder,
    OpenEncoder,
    OwnEncoder,
    Size,
    Window,
)
from modelcommons.workbench.task import Job, Row, Rows

if TYPE_CHECKING:
    from torch import Tensor, nn

TASK_NAME = "question-answering"
PACE = {"direct": 10.0}  # fourteen weights that matter most have far to go
JUDGED = 500  # validation questions that checkpoints are chosen by, at most

Batch = tuple[dict[str, "Tensor"], "Tensor"]


class Examples:
    """The windows of the training questions, each with the tokens that begin and end its answer.

    A window that does not hold the whole answer is taught to say that there is none: its first token.
    """

    def __init__(self, rows: Rows, encoder: Encoder) -> None:
        self.encoder = encoder
        self.windows: list[Window] = []
        places: list[tuple[int, int]] = []
        self.answers: list[int] = []  # tokens of each answer that stands in a window
        for at in range(len(rows)):
            row = rows[at]
            answer = _first_answer(row)
            for window in encoder.windows(row.x):
                place = window.place(*answer) if answer else None
                self.windows.append(window)
                places.append(place or (0, 0))
                if place:
                    self.answers.append(place[1] - place[0] + 1)
        self.places = np.array(places, np.int64).reshape(-1, 2)

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        import torch

        made = self.encoder.collate([self.windows[at] for at in indices])
        return {name: torch.from_numpy(array) for name, array in made.items()}, torch.from_numpy(self.places[indices])

    @property
    def lengths(self) -> list[int]:
        return [len(window.ids) for window in self.windows]

    def longest_answer(self, options: Options) -> int:
        """Tokens of the answers that are looked for, as the recipe says."""
        if options.max_answer != "auto":
            return options.max_answer
        return int(min(LONGEST_ANSWER, np.ceil(np.percentile(self.answers, COVERED)))) if self.answers else 1


def fit(train: Rows, validation: Rows, job: Job) -> Fit:
    return _fit_new(train, validation, job) if job.choice.is_new else _fit_open(train, validation, job)


def _fit_new(train: Rows, validation: Rows, job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.text.spans.models import build

    assert isinstance(job.options, Options)
    name = job.choice.name
    options = ARCHITECTURES[name].model_validate(dict(job.choice.options)).model_dump(mode="json")
    if "heads" in options and options["width"] % options["heads"]:
        raise DataError(
            f"model.options.width: expected a multiple of `heads` ({options['heads']}), got {options['width']}."
        )
    contexts = list(dict.fromkeys(train[at].x.context for at in range(len(train))))
    questions = [train[at].x.question for at in range(len(train))]
    learn_tokenizer([*contexts, *questions], options["vocabulary"], job.folder / TOKENIZER)
    rare = learn_rarity(contexts)
    size = _size(job.options, LENGTH)
    examples = Examples(train, OwnEncoder(job.folder, rare, size))
    torch.manual_seed(job.seed)
    network = build(name, options, read_tokenizer(job.folder).get_vocab_size(), size.length)
    network.rarity.copy_(torch.from_numpy(rare))  # type: ignore[operator]
    preprocess = _preprocess(train, examples, size, job.options)
    fitted = _train(network, examples, validation, preprocess, job, defaults(name, len(examples.windows)), PACE)
    weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    write_config(job.folder, TASK_NAME, name, options, preprocess=preprocess.model_dump())
    return fitted


def _fit_open(train: Rows, validation: Rows, job: Job) -> Fit:
    import torch

    from modelcommons.workbench.engine.adapters import limited, merged, quiet

    assert job.choice.folder is not None and isinstance(job.options, Options)
    folder, method = job.choice.folder, job.training.method
    config = read_config(folder)
    size = _size(job.options, min(LENGTH, longest(config)), longest(config))
    tokenizer = open_tokenizer(folder)
    examples = Examples(train, OpenEncoder(tokenizer, size, folder))
    preprocess = _preprocess(train, examples, size, job.options)
    torch.manual_seed(job.seed)  # a new head's weights
    with quiet():
        network = limited(open_network(folder), method)
    has_head = any("QuestionAnswering" in str(name) for name in config.get("architectures") or ())
    pace = head_pace(network) if method == "full" and not has_head else {}
    values = open_defaults(method, len(examples.windows))
    fitted = _train(network, examples, validation, preprocess, job, values, pace)
    plain = merged(network, method)
    plain.config.preprocess = preprocess.model_dump()
    with quiet():
        plain.save_pretrained(job.folder)
        tokenizer.save_pretrained(job.folder)
    return fitted


def _size(options: Options, usual: int, most: int | None = None) -> Size:
    """As the recipe says; an open model reads no more than `most` tokens."""
    length = usual if options.max_length == "auto" else options.max_length
    length = length if most is None else min(length, most)
    stride = length // 4 if options.stride == "auto" else options.stride
    return Size(length, min(stride, length // 4))


def _preprocess(train: Rows, examples: Examples, size: Size, options: Options) -> Preprocess:
    impossible = any(not train[at].y.texts for at in range(len(train)))
    return Preprocess(
        max_length=size.length, stride=size.stride, max_answer=examples.longest_answer(options), impossible=impossible
    )


def _first_answer(row: Row) -> tuple[int, int] | None:
    """Where the first known answer begins and ends, characters; None where the question has none."""
    if not row.y.texts:
        return None
    return row.y.starts[0], row.y.starts[0] + len(row.y.texts[0])


def _train(
    network: nn.Module, examples: Examples, validation: Rows, preprocess: Preprocess, job: Job, values: Defaults,
    groups: Mapping[str, float] | None = None,
) -> Fit:  # fmt: skip
    from torch.nn.functional import cross_entropy

    from modelcommons.workbench.engine.train import train as run

    encoder = examples.encoder
    judged = [validation[at] for at in range(0, len(validation), max(1, math.ceil(len(validation) / JUDGED)))]

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        inputs, places = batch
        sides = zip(logits_of(network(**inputs)), places.unbind(1), strict=True)
        costs = [
            cross_entropy(logits.float(), at, label_smoothing=job.training.label_smoothing) for logits, at in sides
        ]
        return (costs[0] + costs[1]) / 2

    windows = [encoder.windows(row.x) for row in judged]

    def score(network: nn.Module) -> float:
        found = Reader(encoder, torch_run(network), preprocess).best(windows)
        return mean_f1(
            judged, [stretch(row.x.context, one.start, one.end) for row, one in zip(judged, found, strict=True)]
        )

    return run(
        network, num_rows=len(examples.windows), batch=examples.batch, loss=loss, score=score, metric="f1",
        direction="higher", limit=1.0, training=job.training, defaults=values, seed=job.seed,
        checkpoints=job.checkpoints, progress=job.progress, lengths=examples.lengths, seconds=job.seconds,
        max_steps=job.max_steps, groups=groups,
    )  # fmt: skip


def mean_f1(rows: Sequence[Row], predictions: Sequence[Mapping[str, Any]]) -> float:
    """Of these answers, by the rules of each question."""
    pairs = zip(rows, predictions, strict=True)
    return float(np.mean([compare(row.y.rules, one["text"], row.y.texts)[1] for row, one in pairs]))
