"""reader: a model folder, read without running code from it, as something that finds answers in texts.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "preprocess"}
of transformers:         its own, and "preprocess" with the tokens of a window, of its neighbours and of an answer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, read_config
from modelcommons.workbench.engine.tokenizer import TOKENIZER_FILES, open_tokenizer, read_tokenizer
from modelcommons.workbench.fields.text.classifier import LONGEST
from modelcommons.workbench.fields.text.spans.architectures import ARCHITECTURES, LENGTH, LONGEST_ANSWER
from modelcommons.workbench.fields.text.spans.overlap import stretch
from modelcommons.workbench.fields.text.spans.questions import Asked
from modelcommons.workbench.fields.text.spans.windows import (
    Encoder,
    Found,
    Logits,
    OpenEncoder,
    OwnEncoder,
    Size,
    Window,
    best,
    log_probability,
)
from modelcommons.workbench.task import Answer, Row

if TYPE_CHECKING:
    from torch import nn

BATCH = 32  # windows read at a time, of like length

# inputs by name -> logits of begin and end, (B, T) each
Run = Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, np.ndarray]]


class Preprocess(BaseModel):
    """What beside weights and tokens decides an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    max_length: int = Field(LENGTH, ge=8, le=LONGEST)
    stride: int = Field(LENGTH // 4, ge=0)
    max_answer: int = Field(LONGEST_ANSWER, ge=1)
    impossible: bool = False  # whether `no answer` is one

    @property
    def size(self) -> Size:
        return Size(self.max_length, self.stride)


class Reader:
    """A model that is ready to answer."""

    labels: Sequence[str] = ()

    def __init__(self, encoder: Encoder, run: Run, preprocess: Preprocess) -> None:
        self.encoder, self.preprocess, self._run = encoder, preprocess, run

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """The stretch of each context that answers best, without blanks at its edges; empty where none does."""
        found = self.find([row.x for row in rows])
        return [
            {"prediction": stretch(row.x.context, each.start, each.end), "margin": float(f"{each.margin:.6g}")}
            for row, each in zip(rows, found, strict=True)
        ]

    def find(self, asked: Sequence[Asked]) -> list[Found]:
        return self.best([self.encoder.windows(each) for each in asked])

    def best(self, windows: Sequence[list[Window]]) -> list[Found]:
        """The best stretch over each question's windows."""
        most, impossible = self.preprocess.max_answer, self.preprocess.impossible
        return [best(*each, most, impossible) for each in zip(windows, self._logits(windows), strict=True)]

    def log_probabilities(self, asked: Sequence[Asked], places: Sequence[tuple[int, int]]) -> np.ndarray:
        """How likely each question is answered by the stretch at its place, characters; nats, (questions,)."""
        windows = [self.encoder.windows(each) for each in asked]
        read = zip(windows, self._logits(windows), places, strict=True)
        return np.array([log_probability(some, logits, *place) for some, logits, place in read])

    def _logits(self, windows: Sequence[list[Window]]) -> list[list[Logits]]:
        """What the network says of each window; those of like length are read together."""
        flat = [window for each in windows for window in each]
        order = sorted(range(len(flat)), key=lambda at: len(flat[at].ids))
        found: dict[int, Logits] = {}
        for begin in range(0, len(order), BATCH):
            some = order[begin : begin + BATCH]
            start, end = (
                side.astype(np.float64) for side in self._run(self.encoder.collate([flat[at] for at in some]))
            )
            for row, at in enumerate(some):
                count = len(flat[at].ids)
                found[at] = Logits(start[row, :count], end[row, :count])
        told = (found[at] for at in range(len(flat)))
        return [[next(told) for _ in each] for each in windows]


def load(folder: Path, variant: str = "") -> Reader:
    """A reader from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    own = config["model_type"] == MODEL_TYPE
    network = load_network(folder, config) if own or not variant else None
    run = _onnx_run(folder / variant) if variant else torch_run(network)
    preprocess = read_preprocess(config, folder)
    if not own:
        return Reader(OpenEncoder(open_tokenizer(folder), preprocess.size, folder), run, preprocess)
    rare: Any = getattr(network, "rarity", None)
    return Reader(OwnEncoder(folder, rare.numpy(), preprocess.size), run, preprocess)


def files(folder: Path, variant: str = "") -> list[str]:
    """What is read to predict; rarities of words stand in our own weights, whatever variant runs."""
    tokenizer = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    weights = [WEIGHTS] if not variant or read_config(folder)["model_type"] == MODEL_TYPE else []
    return [CONFIG, *tokenizer, *weights, *([variant] if variant else [])]


def read_preprocess(config: Mapping[str, Any], folder: Path) -> Preprocess:
    """Sizes of a folder; those of an open model that nobody tuned yet follow from what it can read."""
    known = config.get("preprocess")
    if known is None and config["model_type"] != MODEL_TYPE:
        length = min(LENGTH, longest(config))
        return Preprocess(max_length=length, stride=length // 4, impossible=True)
    try:
        return Preprocess.model_validate(known)
    except ValidationError as error:
        raise FormatError(
            f"{folder / CONFIG}: expected the sizes of windows in `preprocess` ({error!s:.200})."
        ) from error


def longest(config: Mapping[str, Any]) -> int:
    """Tokens that an open model can read at once."""
    places = int(config.get("max_position_embeddings") or 512)
    # RoBERTa and its kin count places from behind the padding token
    return min(LONGEST, places - 2 if places % 8 == 2 else places)


def load_network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    """The network with its weights, for evaluation."""
    check_weights(folder)
    network = _own_network(folder, config) if config["model_type"] == MODEL_TYPE else open_network(folder)
    return network.eval()


def _own_network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.text.spans.models import build

    try:
        options = ARCHITECTURES[config["architecture"]].model_validate(config["options"])
        size, length = read_tokenizer(folder).get_vocab_size(), read_preprocess(config, folder).max_length
        network = build(config["architecture"], options.model_dump(), size, length)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, ValidationError, RuntimeError) as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network


def open_network(folder: Path) -> nn.Module:
    """A model of the transformers library; an encoder without a head that finds answers gets a new one.

    Raises:
        FormatError: it is no model that the library knows for this, or needs code from the folder.
    """
    from transformers import AutoModelForQuestionAnswering

    from modelcommons.workbench.engine.adapters import open_model

    return open_model(AutoModelForQuestionAnswering, folder, "model for question answering")


def torch_run(network: nn.Module | None) -> Run:
    import torch

    assert network is not None

    def run(inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        machine = next(network.parameters()).device
        with torch.inference_mode():
            made = {name: torch.from_numpy(array).to(machine) for name, array in inputs.items()}
            start, end = logits_of(network(**made))
            return start.float().cpu().numpy(), end.float().cpu().numpy()

    return run


def _onnx_run(path: Path) -> Run:
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)

    def run(inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        start, end = opened.run({name: inputs[name] for name in opened.inputs})
        return start, end

    return run


def logits_of(output: Any) -> tuple[Any, Any]:
    """Logits of begin and end: ours come as they are, those of transformers with names."""
    return output if isinstance(output, tuple) else (output.start_logits, output.end_logits)


def exportable(network: nn.Module, own: bool, typed: bool) -> nn.Module:
    """The network with its two logits as outputs and inputs by name; `typed`: it reads types of tokens."""
    from torch import nn

    class Typed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> tuple[Any, Any]:
            return logits_of(
                self.network(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            )

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any, attention_mask: Any) -> tuple[Any, Any]:
            return logits_of(self.network(input_ids=input_ids, attention_mask=attention_mask))

    return network if own else (Typed() if typed else Plain()).eval()
