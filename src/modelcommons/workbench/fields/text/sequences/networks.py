"""networks: an encoder-decoder of ours, of the transformers library or as an ONNX file, as what a search reads with."""

# B batch, N rows read at once, S source tokens, T target tokens, V vocabulary

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.workbench.fields.text.sequences.search import Reader

if TYPE_CHECKING:
    from torch import Tensor, nn

# sources (B, S) int64, where they have tokens (B, S) int64 -> what reads them
Read = Callable[[np.ndarray, np.ndarray], Reader]


class OwnReader:
    """A network of ours; what was read stays in memory."""

    def __init__(self, network: Any, ids: np.ndarray, mask: np.ndarray) -> None:
        import torch

        self._network, self._machine = network, network.embed.device
        with torch.inference_mode():
            made = (torch.from_numpy(each).to(self._machine) for each in (ids, mask))
            self._memory = network.encode(*made)

    def advance(self, tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            memory = self._memory.of(torch.from_numpy(rows).to(self._machine))
            logits, self._memory = self._network.decode(torch.from_numpy(tokens).to(self._machine)[:, None], memory)
            return np.asarray(logits[:, -1].float().log_softmax(1).cpu().numpy())


class OpenReader:
    """A model of the transformers library; what was read stays in memory."""

    def __init__(self, network: Any, ids: np.ndarray, mask: np.ndarray) -> None:
        import torch

        self._network, self._machine = network, next(network.parameters()).device
        with torch.inference_mode():
            made = torch.from_numpy(ids).to(self._machine)
            self._mask = torch.from_numpy(mask).to(self._machine)
            self._encoded = network.get_encoder()(input_ids=made, attention_mask=self._mask).last_hidden_state
        self._past: Any = None

    def advance(self, tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        with torch.inference_mode():
            order = torch.from_numpy(rows).to(self._machine)
            self._encoded, self._mask = self._encoded[order], self._mask[order]
            if self._past is not None:
                self._past.batch_select_indices(order)
            output = self._network(
                encoder_outputs=BaseModelOutput(last_hidden_state=self._encoded), attention_mask=self._mask,
                decoder_input_ids=torch.from_numpy(tokens).to(self._machine)[:, None], past_key_values=self._past,
                use_cache=True,
            )  # fmt: skip
            self._past = output.past_key_values
            return np.asarray(output.logits[:, -1].float().log_softmax(1).cpu().numpy())


class OnnxReader:
    """An ONNX file; it remembers nothing and reads all again for each token."""

    def __init__(self, session: Any, ids: np.ndarray, mask: np.ndarray) -> None:
        self._session, self._ids, self._mask = session, ids, mask
        self._written = np.zeros((len(ids), 0), np.int64)

    def advance(self, tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
        self._ids, self._mask = self._ids[rows], self._mask[rows]
        self._written = np.concatenate([self._written[rows], tokens[:, None]], axis=1)
        inputs = {"input_ids": self._ids, "attention_mask": self._mask, "decoder_input_ids": self._written}
        logits = self._session.run(inputs)[0][:, -1].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def reads(network: nn.Module) -> Read:
    """What reads with a network of ours or of the transformers library."""
    own = is_own(network)
    return lambda ids, mask: OwnReader(network, ids, mask) if own else OpenReader(network, ids, mask)


def onnx_reads(path: Path) -> Read:
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)
    return lambda ids, mask: OnnxReader(opened, ids, mask)


def is_own(network: nn.Module) -> bool:
    from modelcommons.workbench.fields.text.sequences.transformer import Transformer

    return isinstance(network, Transformer)


def logits_of(network: nn.Module, ids: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
    """Sources (B, S), targets (B, T) -> logits of the tokens after each, (B, T, V)."""
    if is_own(network):
        found: Tensor = network(ids, mask, targets)
        return found
    open_found: Tensor = network(
        input_ids=ids, attention_mask=mask, decoder_input_ids=targets, use_cache=False
    ).logits  # fmt: skip
    return open_found


def exportable(network: nn.Module) -> nn.Module:
    """The network with its logits as its one output: encoder and decoder in one."""
    from torch import nn

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any, attention_mask: Any, decoder_input_ids: Any) -> Any:
            return logits_of(self.network, input_ids, attention_mask, decoder_input_ids)

    return Logits().eval()


def open_network(folder: Path) -> nn.Module:
    """A model of the transformers library.

    Raises:
        FormatError: it is no encoder-decoder that the library knows, or needs code from the folder.
    """
    from transformers import AutoModelForSeq2SeqLM

    from modelcommons.workbench.engine.adapters import open_model

    return open_model(AutoModelForSeq2SeqLM, folder, "encoder-decoder")
