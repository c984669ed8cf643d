"""a model folder, read without running code from it, as something that answers: our own networks, open models, exports.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "id2label", "preprocess"}
of transformers:         its own, and "preprocess" with the number of tokens that are read
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, labels, read_config
from modelcommons.workbench.engine.batches import answer_batches
from modelcommons.workbench.engine.classification import Answer, answers
from modelcommons.workbench.engine.tokenizer import TOKENIZER, TOKENIZER_FILES, open_tokenizer
from modelcommons.workbench.fields.text.architectures import ARCHITECTURES
from modelcommons.workbench.fields.text.encoders import (
    BagEncoder,
    Encoder,
    open_encoder,
    own_encoder,
)
from modelcommons.workbench.fields.text.ngrams import grams
from modelcommons.workbench.task import Row

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 64  # texts answered at a time, at most
LONGEST = 8192  # tokens; more in a config is a mistake or an attack

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]  # inputs by name -> logits (B, labels)


class Classifier:
    """A model that is ready to answer."""

    def __init__(self, labels: Sequence[str], encoder: Encoder, run: Run) -> None:
        self.labels, self.encoder, self._run = labels, encoder, run

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return answers(self.probabilities([row.x for row in rows]), self.labels) if rows else []

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """float64 (texts, labels)."""
        encoded = self.encoder.encode(texts)
        found = np.empty((len(texts), len(self.labels)))
        for some in answer_batches(encoded.lengths, BATCH):
            logits = self._run(self.encoder.collate([encoded[index] for index in some])).astype(np.float64)
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            found[some] = powers / powers.sum(axis=1, keepdims=True)
        return found


def load(folder: Path, variant: str = "") -> Classifier:
    """A classifier from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    network = load_network(folder, config) if not variant or config.get("architecture") == "bag" else None
    encoder = _encoder(folder, config, network)
    run = _onnx_run(folder / variant) if variant else torch_run(network)
    return Classifier(labels(config, folder), encoder, run)


def files(folder: Path, variant: str = "") -> list[str]:
    """What is read to predict; a bag's rarities stand in its weights, whatever variant runs."""
    tokenizer = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    weights = [WEIGHTS] if not variant or read_config(folder).get("architecture") == "bag" else []
    return [CONFIG, *tokenizer, *weights, *([variant] if variant else [])]


def load_network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    """The network with its weights, for evaluation."""
    check_weights(folder)
    own = config["model_type"] == MODEL_TYPE
    network = _own_network(folder, config) if own else open_network(folder)
    return network.eval()


def _own_network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.text.models import build

    try:
        options = ARCHITECTURES[config["architecture"]].model_validate(config["options"])
        count = len(labels(config, folder))
        network = build(config["architecture"], options.model_dump(), count, max_length(config, folder))
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, ValidationError, RuntimeError) as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network


def open_network(folder: Path, names: Sequence[str] | None = None) -> nn.Module:
    """A model of the transformers library; with `names`, a new head for these labels.

    Raises:
        FormatError: it is no text classifier that the library knows, or needs code from the folder.
    """
    from transformers import AutoModelForSequenceClassification

    from modelcommons.workbench.engine.adapters import open_model

    return open_model(AutoModelForSequenceClassification, folder, "text classifier", names)


def max_length(config: Mapping[str, Any], folder: Path) -> int:
    """Tokens of a text that are read."""
    known = int(config.get("max_position_embeddings") or 512)
    length = (config.get("preprocess") or {}).get("max_length", min(known, 512))
    if not isinstance(length, int) or not 0 < length <= LONGEST:
        raise FormatError(f"{folder / CONFIG}: expected preprocess.max_length of at most {LONGEST}, got {length!r}.")
    return length


def _encoder(folder: Path, config: Mapping[str, Any], network: nn.Module | None) -> Encoder:
    if config.get("architecture") == "bag":
        rarity: Any = getattr(network, "rarity", None)
        return BagEncoder(grams(config["options"]), rarity.numpy())
    length = max_length(config, folder)
    if config["model_type"] == MODEL_TYPE:
        return own_encoder(folder, length)
    if network is None and (folder / TOKENIZER).is_file():  # an export answers without torch and transformers
        return own_encoder(folder, length, int(config.get("pad_token_id") or 0))
    return open_encoder(open_tokenizer(folder), length)


def torch_run(network: nn.Module | None) -> Run:
    import torch

    assert network is not None

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            made = {name: torch.from_numpy(array) for name, array in inputs.items()}
            return np.asarray(logits_of(network(**made)).float().numpy())

    return run


def _onnx_run(path: Path) -> Run:
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)
    return lambda inputs: opened.run(inputs)[0]


def logits_of(output: Any) -> Tensor:
    """A network's logits: ours give the tensor itself, those of transformers an output with a name for it."""
    logits: Tensor = getattr(output, "logits", output)
    return logits


def exportable(network: nn.Module, own: str) -> nn.Module:
    """The network with its logits as its one output and inputs by name; `own`: our architecture, or nothing."""
    from torch import nn

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Tensor, weights: Tensor) -> Tensor:
            return logits_of(self.network(input_ids=input_ids, weights=weights))

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return logits_of(self.network(input_ids=input_ids, attention_mask=attention_mask))

    return (Bag() if own == "bag" else Tokens()).eval()
