"""model: a model folder, read without running code from it, as something that says which words were masked.

config.json is the transformers library's own, and `preprocess` with the number of tokens that are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, WEIGHTS, read_config
from modelcommons.workbench.engine.tokenizer import TOKENIZER_FILES
from modelcommons.workbench.fields.text.language.tokens import CODE_POINTS
from modelcommons.workbench.fields.text.pretraining.network import LONGEST, open_length, open_network, outputs
from modelcommons.workbench.fields.text.pretraining.packing import Drawn, collated
from modelcommons.workbench.fields.text.pretraining.pairs import Question
from modelcommons.workbench.fields.text.pretraining.pieces import Encoded, Pieces, read_pieces
from modelcommons.workbench.task import Answer, Row

TOP = 5  # answers that are told of each place
BATCH = 16  # rows answered at a time, of like length
NOTHING = np.zeros(0, np.int64)

Asked = tuple[np.ndarray, np.ndarray | None]  # logits of a row's asked tokens (M, V), and of following or not (2,)


class Network(Protocol):
    """The network behind a model, in torch or as an ONNX file."""

    def run(self, rows: Sequence[Encoded], pad: int) -> list[Asked]:
        """What is said of each row's asked tokens."""


class FillMask:
    """A model that is ready to answer."""

    labels: Sequence[str] = ()

    def __init__(self, pieces: Pieces, network: Network) -> None:
        self.pieces, self.network = pieces, network

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """Of each place the likeliest words and, where one knows what stood there, what that word costs."""
        questions = [row.x for row in rows]
        encoded = [self.pieces.encode(question) for question in questions]
        answers: list[Answer] = [{} for _ in rows]
        for at, shares, follows in self.shares(encoded):
            places = self._places(questions[at], encoded[at], shares)
            answers[at] = {"prediction": {"places": places, "next": follows}}
        return answers

    def shares(self, rows: Sequence[Encoded]) -> Iterator[tuple[int, list[np.ndarray], float | None]]:
        """Index of a row, then for each of its places the log-probability of every token at each of the place's tokens
        (tokens, V) float64, and the probability that the second stretch follows the first."""
        order = sorted(range(len(rows)), key=lambda at: (len(rows[at].ids), at))
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            for at, (logits, next) in zip(
                some, self.network.run([rows[i] for i in some], self.pieces.pad), strict=True
            ):
                places = np.cumsum([len(place) for place in rows[at].asked])
                split = np.split(_log_softmax(logits), places)[: len(places)]
                follows = None
                if next is not None and rows[at].types.any():
                    follows = float(f"{np.exp(_log_softmax(next))[0]:.6g}")
                yield at, split, follows

    def _places(self, question: Question, encoded: Encoded, shares: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{"top": self._top(share)} for share in shares]
        for place, answer, share, wanted in zip(
            question.places, found, shares, encoded.wanted, strict=bool(encoded.wanted)
        ):
            answer["nats"] = float(f"{self._cost(question.word(place), share, wanted):.6g}")
        return found

    def _top(self, share: np.ndarray) -> list[dict[str, Any]]:
        """The likeliest words; of a word of several pieces the likeliest of each, as one word."""
        if not len(share):
            return []
        if len(share) > 1:
            said = [(self.pieces.text(share.argmax(axis=1)), float(share.max(axis=1).sum()))]
        else:
            best = np.argpartition(-share[0], TOP)[:TOP] if share.shape[1] > TOP else np.arange(share.shape[1])
            best = best[np.lexsort((best, -share[0, best]))]
            said = list(zip(self.pieces.words(best), share[0, best].tolist(), strict=True))
        return [{"word": word, "logprob": float(f"{logprob:.6g}")} for word, logprob in said]

    def _cost(self, word: str, share: np.ndarray, wanted: np.ndarray) -> float:
        """Nats of a word: of its pieces, each foretold with all of them masked. One that the pieces cannot write is any
        of Unicode besides; a piece that was cut off is any piece."""
        read = wanted[: len(share)]
        cost = -float(share[np.arange(len(read)), read].sum()) + (len(wanted) - len(read)) * math.log(self.pieces.size)
        if not len(wanted) or (wanted == self.pieces.unknown).any():
            cost += len(word) * math.log(CODE_POINTS)
        return cost


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True, initial=-np.inf)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


# --- networks -------------------------------------------------------------------------------------------------------


class TorchNetwork:
    """A network of torch, asked at its places only."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def run(self, rows: Sequence[Encoded], pad: int) -> list[Asked]:
        import torch

        with torch.inference_mode():
            place = self.network.device  # where training has it
            made = {name: each.to(place) for name, each in _collated(rows, pad).items()}
            logits, next = outputs(self.network, made)
            ends = np.cumsum([len(np.concatenate([*row.asked, NOTHING])) for row in rows])[:-1]
            split = np.split(logits.float().cpu().numpy(), ends)
            following = [None] * len(rows) if next is None else list(next.float().cpu().numpy())
        return list(zip(split, following, strict=True))


class OnnxNetwork:
    """An ONNX file; it gives the logits of all tokens."""

    def __init__(self, path: Path) -> None:
        from modelcommons.workbench.engine.quantize import session

        self._session = session(path)

    def run(self, rows: Sequence[Encoded], pad: int) -> list[Asked]:
        made = {name: each.numpy() for name, each in _collated(rows, pad).items()}
        found = self._session.run({name: made[name] for name in self._session.inputs})
        asked = [np.concatenate([*row.asked, NOTHING]) for row in rows]
        following = list(found[1]) if len(found) > 1 else [None] * len(rows)
        return [(found[0][at, places], next) for at, (places, next) in enumerate(zip(asked, following, strict=True))]


def _collated(rows: Sequence[Encoded], pad: int) -> Mapping[str, Any]:
    """Rows of one batch, each padded to the longest."""
    asked = [np.concatenate([*row.asked, NOTHING]) for row in rows]
    drawn = [Drawn(row.ids, row.types, at, at, -1) for row, at in zip(rows, asked, strict=True)]
    return collated(drawn, pad)


# --- folders --------------------------------------------------------------------------------------------------------


def load(folder: Path, variant: str = "") -> FillMask:
    """A model from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    network: Network = OnnxNetwork(folder / variant) if variant else TorchNetwork(open_network(folder))
    return FillMask(read_pieces(folder, max_length(config, folder)), network)


def files(folder: Path, variant: str = "") -> list[str]:
    """What is read to predict."""
    tokenizer = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return [CONFIG, *tokenizer, variant or WEIGHTS]


def max_length(config: Mapping[str, Any], folder: Path) -> int:
    """Tokens of a row that are read."""
    places = int(config.get("max_position_embeddings") or LONGEST)
    length = (config.get("preprocess") or {}).get("max_length", open_length(config))
    if not isinstance(length, int) or not 0 < length <= places:
        raise FormatError(f"{folder / CONFIG}: expected preprocess.max_length of at most {places}, got {length!r}.")
    return length
