"""model: a model folder, read without running code from it, as something that scores texts and goes on with them.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "context", "alphabet"?}
of transformers:         its own, and "preprocess" with the number of tokens that are read
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydantic import ValidationError

from modelcommons.errors import DataError, FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, read_config
from modelcommons.workbench.engine.tokenizer import TOKENIZER_FILES, open_tokenizer
from modelcommons.workbench.fields.text.language import tokens as kinds
from modelcommons.workbench.fields.text.language.architectures import ARCHITECTURES
from modelcommons.workbench.fields.text.language.passages import LONGEST_CONTEXT, Passage, Prompt
from modelcommons.workbench.fields.text.language.sampling import draw
from modelcommons.workbench.fields.text.language.tokens import Tokens
from modelcommons.workbench.task import Answer, Row

if TYPE_CHECKING:
    from torch import nn

OPEN_CONTEXT = 512  # tokens that `auto` reads of an open model, where it reads more
AT_ONCE = 2**25  # logits held at a time
LETTERS_A_TOKEN = 24  # so many characters before a passage surely hold a token


@dataclass(frozen=True, slots=True)
class Config:
    """What beside the weights decides an answer."""

    tokens: Tokens
    context: int  # tokens read at once


class Network(Protocol):
    """The network behind a model, in torch or as an ONNX file."""

    def cost(self, ids: np.ndarray, first: int) -> np.ndarray:
        """Nats of each token from `first` on, given those before it in its row: (B, T) int64 -> (B, T - first)."""

    def follow(self, ids: Sequence[int], known: int) -> np.ndarray:
        """Logits of the token that comes next, (V,); the first `known` ids are those of the call before."""


class LanguageModel:
    """A model that is ready to score and to write."""

    labels: Sequence[str] = ()

    def __init__(self, config: Config, network: Network) -> None:
        self.config, self.network = config, network

    # --- scoring ---

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """Passages are scored, prompts are gone on with."""
        scored = iter(self.costs([row.x for row in rows if isinstance(row.x, Passage)]))
        return [
            {"prediction": self.write(row.x) if isinstance(row.x, Prompt) else next(scored)} for row in rows
        ]  # fmt: skip

    def costs(self, passages: Sequence[Passage]) -> list[dict[str, Any]]:
        """Nats and tokens of each passage. Each token is foretold from at least half a context, where there is one."""
        tokens, windows = self.config.tokens, []
        nats = np.zeros(len(passages))
        counts = []
        for at, passage in enumerate(passages):
            ids = tokens.encode(passage.asked)
            windows += [(at, window) for window in self._windows(passage, ids)]
            counts.append(len(ids))
            nats[at] = tokens.extra(passage.asked)
        for at, cost in zip((at for at, _ in windows), self._run([window for _, window in windows]), strict=True):
            nats[at] += cost
        return [
            {"nats": float(f"{cost:.6g}"), "tokens": count} for cost, count in zip(nats.tolist(), counts, strict=True)
        ]

    def _windows(self, passage: Passage, ids: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        """Stretches of tokens, each with the place of the first token that counts; at most a context and one long."""
        before = self._before(passage)
        whole, half = np.concatenate([before, ids]), max(1, self.config.context // 2)
        for start in range(len(before), len(whole), half):
            end = min(start + half, len(whole))
            begin = max(0, end - self.config.context - 1)
            yield whole[begin:end], start - begin

    def _before(self, passage: Passage) -> np.ndarray:
        """Tokens before the passage: its past, behind the token that begins a text."""
        past = passage.past(LETTERS_A_TOKEN * self.config.context)
        ids = self.config.tokens.encode(past) if past else np.zeros(0, np.int64)
        return np.concatenate([[self.config.tokens.end], ids])[-self.config.context :]

    def _run(self, windows: Sequence[tuple[np.ndarray, int]]) -> list[float]:
        """Nats of what counts in each window; windows of one shape go together."""
        found = [0.0] * len(windows)
        step = max(1, AT_ONCE // (self.config.context * self.config.tokens.size))
        shapes: dict[tuple[int, int], list[int]] = {}
        for at, (window, first) in enumerate(windows):
            shapes.setdefault((len(window), first), []).append(at)
        for (_, first), places in shapes.items():
            for start in range(0, len(places), step):
                some = places[start : start + step]
                cost = self.network.cost(np.stack([windows[at][0] for at in some]), first)
                for at, each in zip(some, cost.astype(np.float64).sum(axis=1).tolist(), strict=True):
                    found[at] = each
        return found

    # --- writing ---

    def write(self, prompt: Prompt) -> dict[str, Any]:
        """The continuation, how many tokens it has, and why it ends: length, stop or end (of the text)."""
        text, count, why = "", 0, "length"
        for text, count, why in self._steps(prompt):  # noqa: B007 - the last one is wanted
            pass
        return {"text": text, "tokens": count, "ended": why}

    def stream(self, row: Row) -> Iterator[str]:
        """The continuation bit by bit: together the text that `write` gives.

        Raises:
            DataError: the row is no prompt.
        """
        if not isinstance(row.x, Prompt):
            raise DataError("Expected the beginning of a text to go on with, got a passage to score.")
        told = ""
        for text, _, why in self._steps(row.x):
            # the end may still turn into another character, or into a place to stop
            kept = text if why else text[: max(len(told), len(text) - self._unsure(text, row.x.stop))]
            if len(kept) > len(told):
                yield kept[len(told) :]
                told = kept

    def _steps(self, prompt: Prompt) -> Iterator[tuple[str, int, str]]:
        """After each token: the text so far, its tokens, and why it ends here; empty where it goes on."""
        tokens, rng = self.config.tokens, np.random.default_rng(prompt.seed)
        begun = [tokens.end, *tokens.encode(prompt.text).tolist()]
        ids, known = begun[-self.config.context :], 0
        written: list[int] = []
        for count in range(1, prompt.max_tokens + 1):
            if len(ids) > self.config.context:  # full: read the later half again, so that there is room
                ids, known = ids[-max(1, self.config.context // 2) :], 0
            logits = self.network.follow(ids, known)
            logits[list(tokens.never)] = -np.inf
            at = draw(logits, prompt, rng)
            if at == tokens.end:
                yield tokens.decode(written), count - 1, "end"
                return
            known, ids = len(ids), [*ids, at]
            written.append(at)
            text = tokens.decode(written)
            places = [place for word in prompt.stop if word and (place := text.find(word)) >= 0]
            if places:
                yield text[: min(places)], count, "stop"
                return
            yield text, count, "length" if count == prompt.max_tokens else ""

    def _unsure(self, text: str, stop: Sequence[str]) -> int:
        """Characters at the end that may still change: half a character, the beginning of a place to stop."""
        half = len(text) - len(text.rstrip("\ufffd"))
        starts = (size for word in stop for size in range(1, len(word)) if text.endswith(word[:size]))
        return max(half, max(starts, default=0))


# --- networks -------------------------------------------------------------------------------------------------------


class TorchNetwork:
    """A network of torch; what was read stays in memory while a text is gone on with."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._own = hasattr(network, "read")
        self._past: Any = None

    def cost(self, ids: np.ndarray, first: int) -> np.ndarray:
        import torch

        with torch.inference_mode():
            made = torch.from_numpy(ids)
            return np.asarray(token_costs(self.network, made, first).numpy())

    def follow(self, ids: Sequence[int], known: int) -> np.ndarray:
        import torch

        with torch.inference_mode():
            fresh = torch.tensor([list(ids[known:])])
            past = self._past if known else None
            if self._own:
                logits, self._past = self.network.read(fresh, past)  # type: ignore[operator]
            else:
                output = self.network(input_ids=fresh, past_key_values=past, use_cache=True)
                logits, self._past = output.logits, output.past_key_values
            return np.asarray(logits[0, -1].float().numpy()).astype(np.float64)


class OnnxNetwork:
    """An ONNX file; it remembers nothing and reads all again for each token."""

    def __init__(self, path: Path) -> None:
        from modelcommons.workbench.engine.quantize import session

        self._session = session(path)

    def cost(self, ids: np.ndarray, first: int) -> np.ndarray:
        logits = self._session.run({"input_ids": ids[:, :-1]})[0][:, first - 1 :].astype(np.float64)
        peak = logits.max(axis=-1, keepdims=True)
        total = peak[..., 0] + np.log(np.exp(logits - peak).sum(axis=-1))
        return np.asarray(total - np.take_along_axis(logits, ids[:, first:, None], axis=-1)[..., 0])

    def follow(self, ids: Sequence[int], known: int) -> np.ndarray:
        return np.asarray(self._session.run({"input_ids": np.array([list(ids)])})[0][0, -1]).astype(np.float64)


def token_costs(network: nn.Module, ids: Any, first: int) -> Any:
    """Nats of the tokens from `first` on, (B, T) -> (B, T - first) float32."""
    from torch.nn.functional import cross_entropy

    logits = logits_of(network, ids[:, :-1])[:, first - 1 :].float()
    return cross_entropy(logits.flatten(0, 1), ids[:, first:].flatten(), reduction="none").view(len(ids), -1)


def logits_of(network: nn.Module, ids: Any) -> Any:
    """(B, T) -> (B, T, V), of a network of ours or of the transformers library."""
    if hasattr(network, "read"):
        return network(ids)
    return network(input_ids=ids, use_cache=False).logits


def exportable(network: nn.Module) -> nn.Module:
    """The network with its logits as its one output."""
    from torch import nn

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any) -> Any:
            return logits_of(self.network, input_ids)

    return Logits().eval()


# --- folders --------------------------------------------------------------------------------------------------------


def load(folder: Path, variant: str = "") -> LanguageModel:
    """A language model from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    if variant:
        return LanguageModel(read_tokens(folder, config), OnnxNetwork(folder / variant))
    network = load_network(folder, config)
    return LanguageModel(read_tokens(folder, config), TorchNetwork(network))


def files(folder: Path, variant: str = "") -> list[str]:
    """What is read to predict."""
    tokenizer = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return [CONFIG, *tokenizer, variant or WEIGHTS]


def load_network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    """The network with its weights, for evaluation."""
    check_weights(folder)
    network = _own_network(folder, config) if config["model_type"] == MODEL_TYPE else open_network(folder)
    return network.eval()


def _own_network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.text.language.gpt import Gpt

    try:
        options = ARCHITECTURES[config["architecture"]].model_validate(config["options"])
        size = read_tokens(folder, config).tokens.size
        network = Gpt(size, **options.model_dump())
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, ValidationError, RuntimeError) as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network


def open_network(folder: Path) -> nn.Module:
    """A model of the transformers library.

    Raises:
        FormatError: it is no language model that the library knows, or needs code from the folder.
    """
    from transformers import AutoModelForCausalLM

    from modelcommons.workbench.engine.adapters import open_model

    return open_model(AutoModelForCausalLM, folder, "language model")


def read_tokens(folder: Path, config: Mapping[str, Any]) -> Config:
    """Tokens and context of a folder.

    Raises:
        FormatError: the config says nothing of them that can be read.
    """
    try:
        if config["model_type"] != MODEL_TYPE:
            longest = open_context(config)
            context = int((config.get("preprocess") or {}).get("context", min(longest, OPEN_CONTEXT)))
            found: Tokens = kinds.OpenTokens(open_tokenizer(folder), int(config["vocab_size"]), folder)
        else:
            longest, context = LONGEST_CONTEXT, int(config["context"])
            match config["options"]["tokens"]:
                case "characters":
                    found = kinds.Characters(str(config["alphabet"]))
                case "bytes":
                    found = kinds.Bytes()
                case _:
                    found = kinds.read_pieces(folder)
        if not 0 < context <= longest:
            raise ValueError(f"context {context}, expected at most {longest}")
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{folder / CONFIG}: expected the tokens and the context of a language model ({error!s:.200})."
        ) from error
    return Config(found, context)


def open_context(config: Mapping[str, Any]) -> int:
    """Tokens that an open model can read at once."""
    known = next((config[key] for key in ("max_position_embeddings", "n_positions") if config.get(key)), OPEN_CONTEXT)
    return min(int(known), LONGEST_CONTEXT)
