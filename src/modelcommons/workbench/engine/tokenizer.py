"""tokenizer: pieces of words learned from texts, the same for the same texts, and read again; or an open model's."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcommons.errors import FormatError, MissingPackage

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
SPECIAL = ("[PAD]", "[UNK]")  # 0 and 1
LONGEST = 20_000  # characters of a text that are learned from

# every file that a tokenizer of the transformers library may be read from
TOKENIZER_FILES = (
    TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json",
    "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
SENTENCEPIECE = (".model", ".spm")  # how the names of SentencePiece's files end


def learn_tokenizer(texts: Sequence[str], vocabulary: int, path: Path, special: Sequence[str] = SPECIAL) -> None:
    """Learns pieces of words from texts and writes `tokenizer.json`; Chinese characters stand alone.

    The same texts give the same file. By itself the library numbers the first pieces as its hash table happens to lie,
    in another order each time, and breaks ties by these numbers: a training that was resumed would go on with other
    pieces than it began with. So it is given them in order, and a tokenizer is made of what it learned.

    Source: Wu et al., Google's Neural Machine Translation System (2016), section 4.1, by the tokenizers library.

    Args:
        special: tokens that stand for no text, numbered from 0; the first two are `SPECIAL`.
    """
    from tokenizers import AddedToken, decoders, models, trainers

    learner = _wordpiece(models.WordPiece(unk_token=SPECIAL[1]))
    first = [*special, *(f"##{letter}" for letter in sorted(_inner_letters(learner, texts)))]
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=first, show_progress=False)
    learner.train_from_iterator((text[:LONGEST] for text in texts), trainer)
    pieces = learner.get_vocab(with_added_tokens=False)
    tokenizer: Tokenizer = _wordpiece(models.WordPiece(pieces, unk_token=SPECIAL[1]))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
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
    for text in (text[:LONGEST] for text in texts):
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            found.update(word[1:])
    return found


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder.

    Raises:
        FormatError: its tokenizer.json is missing or damaged.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises Exception itself
        raise FormatError(f"{folder / TOKENIZER} is damaged or no tokenizer ({error!s:.200}). Get it again.") from error


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer of an open model, by the transformers library.

    Raises:
        FormatError: there is none, or it needs code from the folder.
        MissingPackage: see `need_sentencepiece`.
    """
    from transformers import AutoTokenizer

    need_sentencepiece(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise FormatError(f"Expected a tokenizer in {folder}, found none that loads ({error!s:.200}).") from error


def need_sentencepiece(folder: Path) -> None:
    """Raises: MissingPackage: the tokenizer in this folder is SentencePiece's own file, and nothing here reads it."""
    names = [path.name for path in folder.iterdir() if path.suffix in SENTENCEPIECE]
    if names and not (folder / TOKENIZER).is_file() and importlib.util.find_spec("sentencepiece") is None:
        raise MissingPackage(
            f"The tokenizer in {folder}, {min(names)}, needs 'sentencepiece'. Install it: pip install sentencepiece."
        )
