"""encoders: from texts to the numbers a network reads: hashed n-grams, or a tokenizer learned or brought along."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.workbench.fields.text.ngrams import LONGEST, Grams, padded

TOKENIZER = "tokenizer.json"
AT_ONCE = 1000  # texts
SPECIAL = ("[PAD]", "[UNK]")  # 0 and 1


class Encoder(Protocol):
    def encode(self, texts: Sequence[str]) -> list[Any]:
        """Each text as what `collate` takes."""

    def length(self, encoded: Any) -> int:
        """How much of a batch's width it takes."""

    def collate(self, encoded: Sequence[Any]) -> dict[str, np.ndarray]:
        """One batch by the names of the network's inputs."""


class BagEncoder:
    """A text as its n-grams and how often each comes."""

    def __init__(self, grams: Grams, rarity: np.ndarray) -> None:
        self.grams, self.rarity = grams, rarity  # rarity: (buckets,) float32

    def encode(self, texts: Sequence[str]) -> list[Any]:
        return [self.grams.of(text) for text in texts]

    def length(self, encoded: Any) -> int:
        return len(encoded[0])

    def collate(self, encoded: Sequence[Any]) -> dict[str, np.ndarray]:
        buckets, weights = padded(encoded, self.rarity)
        return {"input_ids": buckets, "weights": weights}


class TokenEncoder:
    """A text as token ids, padded on the right."""

    def __init__(self, ids_of: Callable[[list[str]], list[list[int]]], pad: int) -> None:
        self._ids_of, self._pad = ids_of, pad

    def encode(self, texts: Sequence[str]) -> list[Any]:
        found = []
        for start in range(0, len(texts), AT_ONCE):
            some = [text[:LONGEST] for text in texts[start : start + AT_ONCE]]
            found += [np.array(ids or [self._pad], np.int64) for ids in self._ids_of(some)]
        return found

    def length(self, encoded: Any) -> int:
        return len(encoded)

    def collate(self, encoded: Sequence[Any]) -> dict[str, np.ndarray]:
        most = max(map(len, encoded))
        ids = np.full((len(encoded), most), self._pad, np.int64)
        mask = np.zeros((len(encoded), most), np.int64)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        return {"input_ids": ids, "attention_mask": mask}


def learn_tokenizer(texts: Sequence[str], vocabulary: int, path: Path) -> None:
    """Learns pieces of words from texts and writes `tokenizer.json`; Chinese characters stand alone.

    The same texts give the same file. By itself the library numbers the first pieces as its hash table happens to lie,
    in another order each time, and breaks ties by these numbers: a training that was resumed would go on with other
    pieces than it began with. So it is given them in order, and a tokenizer is made of what it learned.

    Source: Wu et al., Google's Neural Machine Translation System (2016), section 4.1, by the tokenizers library.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, trainers

    learner = _wordpiece(models.WordPiece(unk_token=SPECIAL[1]))
    first = [*SPECIAL, *(f"##{letter}" for letter in sorted(_inner_letters(learner, texts)))]
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=first, show_progress=False)
    learner.train_from_iterator(_cut(texts), trainer)
    pieces = learner.get_vocab(with_added_tokens=False)
    tokenizer: Tokenizer = _wordpiece(models.WordPiece(pieces, unk_token=SPECIAL[1]))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.save(str(path))


def _wordpiece(model: Any) -> Any:
    """A tokenizer that cuts a text into words before the model cuts these into pieces."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer(lowercase=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _inner_letters(tokenizer: Any, texts: Iterable[str]) -> set[str]:
    """Every character that stands in a word, but not first."""
    found: set[str] = set()
    for text in _cut(texts):
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            found.update(word[1:])
    return found


def _cut(texts: Iterable[str]) -> Iterator[str]:
    return (text[:LONGEST] for text in texts)


def own_encoder(folder: Path, max_length: int) -> TokenEncoder:
    """By the folder's own tokenizer.json.

    Raises:
        FormatError: it is damaged.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises Exception itself
        raise FormatError(f"{folder / TOKENIZER} is damaged or no tokenizer ({error!s:.200}). Get it again.") from error
    tokenizer.enable_truncation(max_length)
    return TokenEncoder(lambda texts: [found.ids for found in tokenizer.encode_batch(texts)], 0)


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer of an open model, by the transformers library.

    Raises:
        FormatError: there is none, or it needs code from the folder.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise FormatError(f"Expected a tokenizer in {folder}, found none that loads ({error!s:.200}).") from error


def open_encoder(tokenizer: Any, max_length: int) -> TokenEncoder:
    """By an open model's tokenizer; segment ids are left to the model, which takes one segment."""

    def ids_of(texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        return found

    return TokenEncoder(ids_of, tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0)
