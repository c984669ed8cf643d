"""device: what this machine is fast at."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16"]


@cache
def device() -> torch.device:
    """The accelerator when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def reseed(seed: int) -> None:
    """As `torch.manual_seed`, which on a machine without an accelerator writes down a stack trace for each kind of it,
    and keeps them all: too much for every step.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


@cache
def fast_bf16() -> bool:
    """Whether bf16 matrix products are faster than fp32 here: an accelerator that has them, or AVX512-BF16 or AMX.

    fp16 is never used: processors have no fast path for it (1 GFLOP/s where bf16 gives 420; design notes, AMD Zen 4).
    """
    if device().type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return " avx512_bf16" in flags or " amx_bf16" in flags


def precision(wish: Literal["auto", "fp32", "bf16"]) -> Precision:
    """The number format for the products of a training step; weights and sums stay fp32."""
    if wish == "auto":
        return "bf16" if fast_bf16() else "fp32"
    return wish


def free_memory() -> int:
    """Bytes that can be used without swapping."""
    if device().type == "cuda":
        return torch.cuda.mem_get_info()[0]
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 4 * 2**30


def to_device(made: Any, layout: torch.memory_format) -> Any:
    """Every tensor of a batch there; pictures (four dimensions) in this layout."""
    if isinstance(made, Tensor):
        return made.to(device(), memory_format=layout) if made.ndim == 4 else made.to(device())
    if isinstance(made, Mapping):
        return {key: to_device(value, layout) for key, value in made.items()}
    return type(made)(to_device(value, layout) for value in made) if isinstance(made, (tuple, list)) else made
