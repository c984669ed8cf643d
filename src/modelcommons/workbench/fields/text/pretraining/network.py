"""network: a BERT, or another masked language model of the transformers library, asked at some places only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcommons.formats.model_folder import WEIGHTS, check_weights
from modelcommons.formats.safetensors import check

if TYPE_CHECKING:
    from torch import Tensor, nn

NEXT = "cls.seq_relationship.weight"  # the head that tells whether a stretch follows another
LONGEST = 512  # tokens that are read of an open model


def new_network(options: Mapping[str, Any], size: int, ask_next: bool) -> nn.Module:
    """A BERT with fresh weights, from torch's current seed; feed-forward is four times as wide, as in the paper.

    Places begin as waves (Vaswani et al., Attention Is All You Need, 2017, section 3.5), so that what stands beside a
    word is found by one turn of them; from noise, a small network takes thousands of steps to learn that.
    """
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

    config = BertConfig(
        vocab_size=size, hidden_size=options["width"], num_hidden_layers=options["layers"],
        num_attention_heads=options["heads"], intermediate_size=4 * options["width"],
        max_position_embeddings=options["length"], hidden_dropout_prob=options["dropout"],
        attention_probs_dropout_prob=0.0,  # see unpadded.py
    )  # fmt: skip
    network: Any = (BertForPreTraining if ask_next else BertForMaskedLM)(config)
    places = network.bert.embeddings.position_embeddings.weight
    with torch.no_grad():
        places.copy_(_waves(*places.shape) * (math.sqrt(2) * config.initializer_range))  # as strong as the words
    return network  # type: ignore[no-any-return]


def _waves(places: int, width: int) -> Tensor:
    """Sines and cosines of the places, (places, width), wavelengths from 2 pi to 10,000 times that."""
    import torch

    angle = torch.arange(places)[:, None] * 10_000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]


def open_network(folder: Path) -> nn.Module:
    """A masked language model from its folder; a BERT that has its second head with it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: they are damaged, or no masked language model that the library knows without code from the folder.
    """
    from transformers import AutoModelForMaskedLM, BertForPreTraining

    from modelcommons.workbench.engine.adapters import open_model

    check_weights(folder)
    kind = BertForPreTraining if NEXT in check(folder / WEIGHTS).tensors else AutoModelForMaskedLM
    return open_model(kind, folder, "masked language model").eval()


def open_length(config: Mapping[str, Any]) -> int:
    """Tokens that an open model reads."""
    return min(int(config.get("max_position_embeddings") or LONGEST), LONGEST)


def is_bert(network: Any) -> bool:
    """Whether pairs need no padding and the vocabulary's layer can be asked at some places only."""
    return str(network.config.model_type) == "bert"


def asks_next(network: Any) -> bool:
    """Whether it tells if the second stretch follows the first."""
    return hasattr(getattr(network, "cls", None), "seq_relationship")


def outputs(network: Any, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
    """Logits of the tokens at the asked places (M, V), and of `it follows` and `it is another` (P, 2)."""
    if not is_bert(network):
        logits = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return logits.flatten(0, 1)[batch["asked"]], None
    hidden = _hidden(network.bert, batch)
    logits = network.cls.predictions(hidden[batch["asked"]])
    if not asks_next(network):
        return logits, None
    pooled = network.bert.pooler(hidden[batch["first"]][:, None])  # a pair's first token stands for it
    return logits, network.cls.seq_relationship(pooled)


def _hidden(bert: Any, batch: Mapping[str, Any]) -> Tensor:
    """Vectors of the tokens among which the heads look for theirs: of laid pairs the chosen ones, else all."""
    if "chosen" in batch:
        from modelcommons.workbench.fields.text.pretraining.unpadded import hidden

        return hidden(bert, batch)
    names = ("input_ids", "attention_mask", "token_type_ids")
    made: Tensor = bert(**{name: batch[name] for name in names}).last_hidden_state
    return made.flatten(0, 1)  # (P * C, D)


def exportable(network: nn.Module) -> nn.Module:
    """The network with all its logits, by the names of a tokenizer's arrays."""
    from torch import nn

    bert, both = is_bert(network), asks_next(network)

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Any:
            made: Any = self.network(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return (made.prediction_logits, made.seq_relationship_logits) if both else made.logits

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            return self.network(input_ids=input_ids, attention_mask=attention_mask).logits

    return (Bert() if bert else Plain()).eval()
