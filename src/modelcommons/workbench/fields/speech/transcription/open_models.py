"""open_models: recognisers of the transformers library that give every frame's characters (Wav2Vec2 and its kin)."""

# B batch, N samples, T frames, K labels, of which 0 is the blank

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.workbench.fields.speech.extractors import extracted
from modelcommons.workbench.fields.speech.transcription.alphabet import Alphabet

if TYPE_CHECKING:
    from torch import nn

OPEN_BEAM = 8
VOCABULARY_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json")


def open_network(folder: Path, num_labels: int | None = None, blank: int = 0) -> nn.Module:
    """A model of the transformers library; with `num_labels`, a new head for so many.

    Raises:
        FormatError: it is no such recogniser that the library knows, or needs code from the folder.
    """
    from transformers import AutoModelForCTC

    from modelcommons.workbench.engine.adapters import quiet

    new: dict[str, Any] = {}
    if num_labels is not None:
        new = {"vocab_size": num_labels, "pad_token_id": blank, "ignore_mismatched_sizes": True}
    with quiet():
        try:
            network: nn.Module = AutoModelForCTC.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="float32", **new
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise FormatError(
                f"{folder} is no recogniser that transformers can load without running code ({error!s:.200}). Expected "
                "one that gives every frame's characters, such as Wav2Vec2."
            ) from error
    return network


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of an open model.

    Raises:
        FormatError: there is none that loads without running code.
        MissingPackage: it needs SentencePiece.
    """
    from transformers import AutoTokenizer

    from modelcommons.workbench.engine.adapters import quiet
    from modelcommons.workbench.engine.tokenizer import need_sentencepiece

    need_sentencepiece(folder)
    with quiet():
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise FormatError(
                f"Expected the vocab.json of a tokenizer in {folder}, found none that loads ({error!s:.200})."
            ) from error


def new_tokenizer(alphabet: Alphabet, folder: Path) -> Any:
    """A tokenizer for these characters, for a model that has none yet; written into `folder`."""
    import json

    from transformers import Wav2Vec2CTCTokenizer

    names = ["<pad>", *alphabet.characters.replace(" ", "|"), "<unk>"]
    path = folder / "vocab.json"
    path.write_text(json.dumps({name: at for at, name in enumerate(names)}, ensure_ascii=False), encoding="utf-8")
    return Wav2Vec2CTCTokenizer(  # type: ignore[no-untyped-call]
        str(path), bos_token=None, eos_token=None, pad_token="<pad>", unk_token="<unk>"
    )


def open_alphabet(tokenizer: Any) -> tuple[Alphabet, np.ndarray]:
    """The characters of a tokenizer in lower case, and the model's outputs for the blank and for each of them, (K,).

    Raises:
        FormatError: it has other tokens than characters.
    """
    blank, gap = tokenizer.pad_token_id, getattr(tokenizer, "word_delimiter_token", "|")
    columns: dict[str, int] = {}
    for token, at in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        char = " " if token == gap else token.lower()
        if len(char) == 1 and at != blank:
            columns.setdefault(char, at)
    if blank is None or not columns:
        raise FormatError("Expected a tokenizer of characters with a padding token, as Wav2Vec2's; got another kind.")
    return Alphabet("".join(columns)), np.array([blank, *columns.values()])


Logits = Callable[[np.ndarray], np.ndarray]  # a model's input, float32 (1, ...) -> float32 (1, T, its tokens)


def torch_logits(network: nn.Module) -> Logits:
    import torch

    machine = next(network.parameters()).device

    def logits(made: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(made).to(machine)).logits.float().cpu().numpy())

    return logits


def onnx_logits(path: Path) -> Logits:
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)
    return lambda made: opened.run({"input_values": made})[0]


def emissions(
    logits: Logits, extractor: Any, columns: np.ndarray
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """Log probabilities of the blank and the characters; a recording at a time, since padding would change them."""
    extract = extracted(extractor)

    def emit(sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [_log_softmax(logits(extract(samples[None]))[0][:, columns]) for samples in sounds]

    return emit


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
