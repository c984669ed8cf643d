"""codecs: texts as token ids and back, for our own networks and for open models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from modelcommons.errors import FormatError
from modelcommons.workbench.fields.text.language.tokens import Pieces


class Codec(Protocol):
    size: int  # of the vocabulary
    pad: int  # fills up what is shorter; never read
    start: int  # stands before every target
    end: int  # ends sources and targets
    never: tuple[int, ...]  # tokens that are not written

    def source(self, text: str, most: int) -> list[int]:
        """At most so many tokens, the end included."""

    def target(self, text: str, most: int) -> list[int]:
        """At most so many tokens; with the end where there is room for it."""

    def decode(self, ids: Sequence[int]) -> str: ...


class PieceCodec:
    """Pieces of words made of bytes, learned from the training texts; one token starts, ends and fills up."""

    never: tuple[int, ...] = ()

    def __init__(self, pieces: Pieces, prefix: str = "") -> None:
        self._pieces, self._prefix = pieces, prefix
        self.size = pieces.size
        self.pad = self.start = self.end = pieces.end

    def source(self, text: str, most: int) -> list[int]:
        return [*self._pieces.encode(self._prefix + text).tolist()[: most - 1], self.end]

    def target(self, text: str, most: int) -> list[int]:
        return [*self._pieces.encode(text).tolist(), self.end][:most]

    def decode(self, ids: Sequence[int]) -> str:
        return self._pieces.decode(ids)


class OpenCodec:
    """The tokens of an open model, by the transformers library."""

    def __init__(self, tokenizer: Any, config: Any, folder: Path, prefix: str = "") -> None:
        start, pad, end = config.decoder_start_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id
        if start is None or pad is None or end is None:
            raise FormatError(
                f"Expected tokens that start, end and fill up a target in {folder}, one is missing. Name another model."
            )
        self._tokenizer, self._prefix = tokenizer, prefix
        self.size, self.pad, self.start, self.end = len(tokenizer), int(pad), int(start), int(end)
        self.never: tuple[int, ...] = tuple({self.pad, self.start} - {self.end})

    def source(self, text: str, most: int) -> list[int]:
        return list(self._tokenizer(self._prefix + text, truncation=True, max_length=most)["input_ids"])

    def target(self, text: str, most: int) -> list[int]:
        ids = list(self._tokenizer(text_target=text, verbose=False)["input_ids"])
        return [*(ids[:-1] if ids[-1:] == [self.end] else ids), self.end][:most]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
