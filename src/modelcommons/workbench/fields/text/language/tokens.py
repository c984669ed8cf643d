"""tokens: a text as numbers and back: characters, bytes, or pieces of words; nothing of the text is lost.

What a text costs is told per character, so models with different tokens can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelcommons.errors import FormatError

TOKENIZER = "tokenizer.json"
END = "<|endoftext|>"
CODE_POINTS = 0x110000  # of Unicode: an unknown character is any of them, each as likely


class Tokens(Protocol):
    size: int  # of the vocabulary
    end: int  # the token that stands before and behind a text
    never: tuple[int, ...]  # tokens that are not written, `end` aside

    def encode(self, text: str) -> np.ndarray:
        """Token ids, (tokens,) int64, without `end`."""

    def decode(self, ids: Sequence[int]) -> str: ...

    def extra(self, text: str) -> float:
        """Nats that the text costs beside its tokens: which characters the unknown ones are."""


class Characters:
    """Every character of the training text is a token; those that it has not are unknown."""

    def __init__(self, alphabet: str) -> None:
        self.alphabet, self.end = alphabet, 0
        self.never: tuple[int, ...] = (1,)
        self.size = len(alphabet) + 2  # end, unknown
        self._code = np.ones(CODE_POINTS, np.int32)
        self._code[_points(alphabet)] = np.arange(2, self.size)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Characters:
        return cls("".join(sorted(set().union(*map(set, texts)))))

    def encode(self, text: str) -> np.ndarray:
        return np.asarray(self._code[_points(text)], np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.alphabet[at - 2] if at >= 2 else "" for at in ids)

    def extra(self, text: str) -> float:
        return math.log(CODE_POINTS) * int((self.encode(text) == 1).sum())


class Bytes:
    """The 256 bytes of UTF-8: any text of any script."""

    size = 257
    end = 256
    never: tuple[int, ...] = ()

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(at for at in ids if at < 256).decode("utf-8", "replace")

    def extra(self, text: str) -> float:
        return 0.0


class Pieces:
    """Pieces of words made of bytes, by the tokenizers library."""

    never: tuple[int, ...] = ()

    def __init__(self, tokenizer: Any, folder: Path) -> None:
        end = tokenizer.token_to_id(END)
        if end is None:
            raise FormatError(f"{folder / TOKENIZER}: expected the token {END}, found none. Get the model again.")
        self._tokenizer, self.size, self.end = tokenizer, tokenizer.get_vocab_size(), end

    def encode(self, text: str) -> np.ndarray:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode([at for at in ids if at != self.end]))

    def extra(self, text: str) -> float:
        return 0.0


class OpenTokens:
    """The tokens of an open model, by the transformers library."""

    never: tuple[int, ...] = ()

    def __init__(self, tokenizer: Any, size: int, folder: Path) -> None:
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.bos_token_id
        if end is None:
            raise FormatError(f"The tokenizer in {folder} has no token for the end of a text. Name another model.")
        self._tokenizer, self.size, self.end = tokenizer, size, int(end)

    def encode(self, text: str) -> np.ndarray:
        found = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return np.array(found, np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        kept = [at for at in ids if at != self.end]
        return str(self._tokenizer.decode(kept, clean_up_tokenization_spaces=False))

    def extra(self, text: str) -> float:
        return 0.0


def learn_pieces(texts: Iterable[str], vocabulary: int, folder: Path) -> Pieces:
    """Learns pieces from texts and writes `tokenizer.json`; the same texts give the same file.

    Source: Sennrich, Haddow & Birch, Neural Machine Translation of Rare Words with Subword Units (2016), over bytes as
    in Radford et al., Language Models are Unsupervised Multitask Learners (2019), by the tokenizers library.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / TOKENIZER))
    return Pieces(tokenizer, folder)


def read_pieces(folder: Path) -> Pieces:
    """Raises: FormatError: the folder's tokenizer.json is missing or damaged."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises Exception itself
        raise FormatError(f"{folder / TOKENIZER} is damaged or no tokenizer ({error!s:.200}). Get it again.") from error
    return Pieces(tokenizer, folder)


def _points(text: str) -> np.ndarray:
    """Code points, uint32; what is no whole character (a lone surrogate) passes as it is."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
