"""adapters: which weights of an open model are trained: all of them, the head, or low-rank additions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelcommons.errors import FormatError

if TYPE_CHECKING:
    from torch import nn

RANK = 8  # of low-rank adapters


def limited(network: nn.Module, method: Literal["full", "head", "lora"], head: Sequence[str] = ()) -> nn.Module:
    """The open model with only those weights free that the method trains.

    lora: low-rank adapters beside every linear layer (in a model that has none but its head: every convolution that is
    not one of groups, which peft cannot merge), and the head.
    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), through peft.

    Args:
        head: names of the modules that it is; where none are named, the last linear layer.
    """
    from torch import nn

    if method == "full":
        return network
    layers = {name: module for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))}
    heads = list(head) or [[name for name, module in layers.items() if isinstance(module, nn.Linear)][-1]]
    if method == "head":
        network.requires_grad_(False)
        for name in heads:
            network.get_submodule(name).requires_grad_(True)
        return network
    from peft import LoraConfig, get_peft_model

    body = {name: layer for name, layer in layers.items() if not f"{name}.".startswith(tuple(f"{h}." for h in heads))}
    linear = [name for name, layer in body.items() if isinstance(layer, nn.Linear)]
    targets = linear or [name for name, layer in body.items() if isinstance(layer, nn.Conv2d) and layer.groups == 1]
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets, modules_to_save=heads)
    with quiet():
        return get_peft_model(network, config)


def merged(network: Any, method: Literal["full", "head", "lora"]) -> Any:
    """The trained model as one plain model of the transformers library: what is shipped is what is scored."""
    return network.merge_and_unload() if method == "lora" else network


def open_model(auto: Any, folder: Path, what: str, labels: Sequence[str] | None = None) -> nn.Module:
    """A model of the transformers library, fp32; with `labels`, a new head where the old one has other classes.

    Args:
        auto: the library's class for models of this kind.
        what: they are, in a message: image classifier.

    Raises:
        FormatError: it is none that the library knows, or needs code from the folder.
    """
    from huggingface_hub.errors import StrictDataclassError

    new: dict[str, Any] = {}
    if labels is not None:
        id2label = dict(enumerate(labels))
        new = {"id2label": id2label, "label2id": {v: k for k, v in id2label.items()}, "ignore_mismatched_sizes": True}
    with quiet():
        try:
            network: nn.Module = auto.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="float32", **new
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, StrictDataclassError) as error:
            raise FormatError(
                f"{folder} is no {what} that transformers can load without running code ({error!s:.200})."
            ) from error
    return network


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers from writing bars and advice over our own progress."""
    from transformers.utils import logging as chatter

    before, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chatter.set_verbosity(logging.ERROR)
        chatter.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            chatter.set_verbosity(before)
            if bars:
                chatter.enable_progress_bar()  # type: ignore[no-untyped-call]
