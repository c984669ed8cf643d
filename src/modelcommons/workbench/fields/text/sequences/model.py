"""a model folder, read without running code from it, as something that turns texts into others.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "preprocess"}
of transformers:         its own, and "preprocess"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, read_config
from modelcommons.workbench.engine.tokenizer import TOKENIZER_FILES, open_tokenizer
from modelcommons.workbench.fields.text.language.tokens import read_pieces
from modelcommons.workbench.fields.text.sequences.architectures import ARCHITECTURES
from modelcommons.workbench.fields.text.sequences.codecs import Codec, OpenCodec, PieceCodec
from modelcommons.workbench.fields.text.sequences.memory import MEMORY, Neighbour, PairMemory
from modelcommons.workbench.fields.text.sequences.networks import Read, onnx_reads, open_network, reads
from modelcommons.workbench.fields.text.sequences.pairs import LONGEST
from modelcommons.workbench.fields.text.sequences.search import Rule, Search, search
from modelcommons.workbench.task import Answer, Row

if TYPE_CHECKING:
    from torch import nn

MOST_TOKENS = 256  # of a source or a target, where `auto` chooses
BATCH = 32  # sources answered at a time, of like length
SURE = 1e6  # nats: nothing else could be written
OPEN_FILES = ("source.spm", "target.spm", "generation_config.json")  # beside those of every tokenizer


class Preprocess(BaseModel):
    """What beside weights and tokens decides an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = Field("", description="Stands before every source.")
    max_source: int = Field(256, ge=2, le=LONGEST, description="Tokens of a source that are read.")
    max_target: int = Field(256, ge=2, le=LONGEST, description="Tokens of a target that are written at most.")
    beam: int = Field(5, ge=1, le=64, description="Beginnings kept.")
    length_penalty: float = Field(1.0, ge=0, le=5, description="The larger, the longer.")
    known: float | None = Field(None, gt=0, le=1, description="Likeness from which on the memory answers.")


class SequenceModel:
    """A model that is ready to answer."""

    labels: Sequence[str] = ()

    def __init__(self, codec: Codec, read: Read, preprocess: Preprocess, memory: PairMemory | None = None) -> None:
        self.codec, self._read, self.preprocess, self._memory = codec, read, preprocess, memory

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """The text, and the normalised nats by which it is better than what came second."""
        known = self.known([row.x for row in rows])
        sources = [self.codec.source(row.x, self.preprocess.max_source) for row in rows]
        order = sorted((at for at in range(len(rows)) if known[at] is None), key=lambda at: len(sources[at]))
        found: list[Answer] = [_answer(one.target, SURE) if one else {} for one in known]
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            *_, searches = self._searches([sources[at] for at in some])
            for at, one in zip(some, searches, strict=True):
                found[at] = _answer(self.codec.decode(one.best.tokens), min(one.margin, SURE))  # JSON has no infinity
        return found

    def stream(self, row: Row) -> Iterator[str]:
        """The answer as far as all beginnings that are kept agree; together what `predict` gives."""
        (known,) = self.known([row.x])
        if known:
            yield known.target
            return
        told = ""
        for (one,) in self._searches([self.codec.source(row.x, self.preprocess.max_source)]):
            text = self.codec.decode(one.best.tokens if one.done else one.settled())
            kept = text if one.done else text.rstrip("\ufffd")  # half a character
            if kept.startswith(told) and len(kept) > len(told):
                yield kept[len(told) :]
                told = kept

    def known(self, texts: Sequence[str]) -> list[Neighbour | None]:
        """The pair of the memory that answers each text; None where the network does."""
        least = self.preprocess.known
        if self._memory is None or least is None or not texts:
            return [None] * len(texts)
        return [one if one.likeness >= least else None for one in self._memory.nearest(texts)]

    def nats(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """What each target costs behind its source, (pairs,)."""
        found = np.zeros(len(pairs))
        for start in range(0, len(pairs), BATCH):
            some = pairs[start : start + BATCH]
            ids, mask = padded(
                [self.codec.source(text, self.preprocess.max_source) for text, _ in some], self.codec.pad
            )
            targets, there = padded(
                [self.codec.target(text, self.preprocess.max_target) for _, text in some], self.codec.pad
            )
            reader, rows = self._read(ids, mask), np.arange(len(some))
            before = np.full(len(some), self.codec.start)
            for step in range(targets.shape[1]):
                log_probs = reader.advance(before, rows)
                before = targets[:, step]
                found[start + rows] -= np.where(there[:, step], log_probs[rows, before], 0.0)
        return found

    def _searches(self, sources: Sequence[Sequence[int]]) -> Iterator[list[Search]]:
        return search(self._read(*padded(sources, self.codec.pad)), len(sources), rule(self.codec, self.preprocess))


def _answer(text: str, margin: float) -> Answer:
    return {"margin": float(f"{margin:.6g}"), "prediction": {"text": text}}


def rule(codec: Codec, preprocess: Preprocess) -> Rule:
    """How targets are searched for."""
    return Rule(
        codec.start, codec.end, preprocess.max_target, preprocess.beam, preprocess.length_penalty, codec.never
    )  # fmt: skip


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (rows, most) int64, filled up, and 1 where there is one (rows, most) int64."""
    ids = np.full((len(rows), max(map(len, rows))), pad, np.int64)
    mask = np.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = row, 1
    return ids, mask


# --- folders --------------------------------------------------------------------------------------------------------


def load(folder: Path, variant: str = "") -> SequenceModel:
    """A model from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    preprocess = _preprocess(config, folder)
    read = onnx_reads(folder / variant) if variant else reads(load_network(folder, config))
    memory = None if preprocess.known is None else PairMemory.read(folder)
    return SequenceModel(_codec(folder, config, preprocess), read, preprocess, memory)


def files(folder: Path, variant: str = "") -> list[str]:
    """What is read to predict."""
    beside = [name for name in (*TOKENIZER_FILES, *OPEN_FILES, MEMORY) if (folder / name).is_file()]
    return [CONFIG, *beside, variant or WEIGHTS]


def load_network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    """The network with its weights, for evaluation."""
    check_weights(folder)
    network = _own_network(folder, config) if config["model_type"] == MODEL_TYPE else open_network(folder)
    return network.eval()


def _own_network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.text.sequences.transformer import Transformer

    try:
        options = ARCHITECTURES[config["architecture"]].model_validate(config["options"])
        network = Transformer(read_pieces(folder).size, **options.model_dump(exclude={"vocabulary"}))
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, ValidationError, RuntimeError) as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network


def _preprocess(config: Mapping[str, Any], folder: Path) -> Preprocess:
    try:
        if config["model_type"] != MODEL_TYPE and not config.get("preprocess"):  # an open model as it came
            return Preprocess(max_source=open_length(config), max_target=open_length(config))
        return Preprocess.model_validate(config["preprocess"])
    except (KeyError, ValidationError) as error:
        raise FormatError(f"{folder / CONFIG}: `preprocess` is not that of such a model ({error!s:.200}).") from error


def _codec(folder: Path, config: Mapping[str, Any], preprocess: Preprocess) -> Codec:
    if config["model_type"] == MODEL_TYPE:
        return PieceCodec(read_pieces(folder), preprocess.prefix)
    return open_codec(folder, preprocess.prefix)


def open_length(config: Mapping[str, Any]) -> int:
    """Tokens of a source or a target that are read of an open model, where `auto` chooses."""
    known = next((config[key] for key in ("max_position_embeddings", "n_positions") if config.get(key)), MOST_TOKENS)
    return min(MOST_TOKENS, int(known))


def open_codec(folder: Path, prefix: str) -> OpenCodec:
    """The tokens of an open model.

    Raises:
        FormatError: its tokenizer or its config cannot be read.
    """
    from transformers import AutoConfig

    tokenizer = open_tokenizer(folder)
    return OpenCodec(tokenizer, AutoConfig.from_pretrained(folder, local_files_only=True), folder, prefix)
