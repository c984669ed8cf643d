"""pieces: texts as token ids with the words they belong to, and pairs laid out as a model of its kind reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.workbench.engine.tokenizer import SPECIAL, TOKENIZER, learn_tokenizer, open_tokenizer, read_tokenizer
from modelcommons.workbench.fields.text.pretraining.pairs import MASK, Place, Question

ROLES = {
    "pad_token": SPECIAL[0],
    "unk_token": SPECIAL[1],
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": MASK,
}
AT_ONCE = 1000  # texts


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as a model reads it."""

    ids: np.ndarray  # (T,) int64
    types: np.ndarray  # (T,) int64: which stretch, where the model tells them apart
    asked: tuple[np.ndarray, ...]  # of each place its tokens, counted from the row's first; cut-off ones are not there
    wanted: tuple[np.ndarray, ...]  # what stood there, all of it; empty where nobody knows


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands around one stretch, or two, and how these are numbered."""

    around: tuple[np.ndarray, ...]  # ids before, (between,) and after the stretches
    types: tuple[int, ...]  # of before, first stretch, (between, second stretch,) and after

    @property
    def size(self) -> int:
        return sum(map(len, self.around))

    def join(self, stretches: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Ids and types, each (T,) int64."""
        parts = [self.around[0]]
        for stretch, rest in zip(stretches, self.around[1:], strict=True):
            parts += [stretch, rest]
        return np.concatenate(parts).astype(np.int64), np.repeat(self.types, [len(part) for part in parts])


class Pieces:
    """A tokenizer of the transformers library, and how many tokens of a row its model reads."""

    def __init__(self, tokenizer: Any, length: int, folder: Path) -> None:
        if not getattr(tokenizer, "is_fast", False) or tokenizer.mask_token_id is None:
            raise FormatError(
                f"The tokenizer in {folder} has no mask, or cannot say where its tokens stand. Name a model of "
                "the kind of BERT."
            )
        self._tokenizer, self.length, self.size = tokenizer, length, len(tokenizer)
        self.mask, self.unknown = int(tokenizer.mask_token_id), tokenizer.unk_token_id
        self.pad = int(tokenizer.pad_token_id or 0)
        self.special = np.array(sorted(tokenizer.all_special_ids), np.int64)
        self._one, self._two = _layout(tokenizer, "a"), _layout(tokenizer, "a", "a")

    def save(self, folder: Path) -> None:
        self._tokenizer.save_pretrained(folder)

    # --- training texts ---

    def of(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each text its token ids, and the number of the word that each is of, int64."""
        found = []
        for start in range(0, len(texts), AT_ONCE):
            made = self._tokenizer(list(texts[start : start + AT_ONCE]), add_special_tokens=False, verbose=False)
            for ids, each in zip(made["input_ids"], made.encodings, strict=True):
                words = [-1 if word is None else word for word in each.word_ids]
                found.append((np.array(ids, np.int64), np.array(words, np.int64)))
        return found

    def room(self, sizes: Sequence[int]) -> list[int]:
        """How many tokens of each stretch are read: the longer one is cut until all fit."""
        left = self.length - (self._one if len(sizes) == 1 else self._two).size
        if sum(sizes) <= left:
            return list(sizes)
        if len(sizes) == 1:
            return [left]
        short = min(min(sizes), left // 2)
        return [short, left - short] if sizes[0] <= sizes[1] else [left - short, short]

    def join(self, stretches: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Stretches that fit as one row: ids, types, and where each stretch begins."""
        layout = self._one if len(stretches) == 1 else self._two
        ids, types = layout.join(stretches)
        begins = [len(layout.around[0])]
        if len(stretches) == 2:
            begins.append(begins[0] + len(stretches[0]) + len(layout.around[1]))
        return ids, types, begins

    # --- questions ---

    def encode(self, question: Question, hidden: Sequence[Place] = ()) -> Encoded:
        """A question with masks at its places, and at those that are `hidden` beside."""
        sides = [
            side.replace(MASK, self._tokenizer.mask_token) if not question.places else side for side in question.sides
        ]
        made = self._tokenizer(sides, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        stretches = [np.array(ids, np.int64) for ids in made["input_ids"]]
        offsets = [np.array(each, np.int64).reshape(-1, 2) for each in made["offset_mapping"]]
        if question.places:
            asked = [(place.side, _inside(offsets[place.side], place)) for place in question.places]
            wanted = tuple(stretches[side][at] for side, at in asked)
        else:
            asked = [
                (side, np.array([at]))
                for side, ids in enumerate(stretches)
                for at in np.flatnonzero(ids == self.mask).tolist()
            ]
            wanted = ()
        for side, at in [*asked, *((place.side, _inside(offsets[place.side], place)) for place in hidden)]:
            stretches[side][at] = self.mask
        cut = self.room([len(ids) for ids in stretches])
        ids, types, begins = self.join([ids[:most] for ids, most in zip(stretches, cut, strict=True)])
        return Encoded(ids, types, tuple(at[at < cut[side]] + begins[side] for side, at in asked), wanted)

    def words(self, ids: np.ndarray) -> list[str]:
        """Each token as the text it stands for."""
        return [self.text(np.array([at])) for at in ids.tolist()]

    def text(self, ids: np.ndarray) -> str:
        return str(self._tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False)).strip()


def learn_pieces(texts: Sequence[str], vocabulary: int, length: int, folder: Path) -> Pieces:
    """Learns pieces from texts and writes them as a tokenizer of the transformers library."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    learn_tokenizer(texts, vocabulary, folder / TOKENIZER, tuple(ROLES.values()))
    tokenizer = read_tokenizer(folder)
    begin, end = ROLES["cls_token"], ROLES["sep_token"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A {end}", pair=f"{begin} $A {end} $B:1 {end}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (begin, end)],
    )  # fmt: skip
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, model_max_length=length, **ROLES
    )
    made.save_pretrained(folder)
    return Pieces(made, length, folder)


def read_pieces(folder: Path, length: int) -> Pieces:
    """Raises: FormatError: there is no tokenizer, or one without a mask."""
    return Pieces(open_tokenizer(folder), length, folder)


def _layout(tokenizer: Any, *sides: str) -> Layout:
    """Learned from an example: which special tokens a tokenizer puts around stretches, and how it numbers these."""
    made = tokenizer(*sides, return_token_type_ids=True)
    of = np.array([-1 if side is None else side for side in made.sequence_ids(0)])
    ids, types = np.array(made["input_ids"], np.int64), np.array(made["token_type_ids"], np.int64)
    around, kinds, start = [], [], 0
    for side in range(len(sides)):
        places = np.flatnonzero(of == side)
        around.append(ids[start : places[0]])
        kinds += [int(types[start]) if places[0] > start else 0, int(types[places[0]])]
        start = int(places[-1]) + 1
    return Layout((*around, ids[start:]), (*kinds, int(types[-1])))


def _inside(offsets: np.ndarray, place: Place) -> np.ndarray:
    """Tokens that stand for a character of the place."""
    return np.flatnonzero((offsets[:, 0] < place.end) & (offsets[:, 1] > place.start) & (offsets[:, 1] > offsets[:, 0]))
