"""device: what this machine is fast at."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16"]

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # what mallopt(3) calls M_...


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


@contextmanager
def kept_memory() -> Iterator[None]:
    """The C library keeps what a step frees for the next one.

    By itself it hands large pieces back to the system and takes them anew, and the system clears every page of them
    again. glibc only, and its main heap: with another library, and in a thread beside the main one, little changes.
    At the end it is as glibc adjusts itself, whatever the environment (MALLOC_...) asked for.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(MMAP_MAX, 0)  # all pieces come from the heap
    libc.mallopt(TRIM_THRESHOLD, -1)  # and what is free at its end stays there
    try:
        yield
    finally:
        libc.mallopt(MMAP_MAX, 65_536)
        libc.mallopt(MMAP_THRESHOLD, 2**25)
        libc.mallopt(TRIM_THRESHOLD, 2**26)
        libc.malloc_trim(0)


def to_device(made: Any, layout: torch.memory_format) -> Any:
    """Every tensor of a batch there; pictures (four dimensions) in this layout."""
    if isinstance(made, Tensor):
        return made.to(device(), memory_format=layout) if made.ndim == 4 else made.to(device())
    if isinstance(made, Mapping):
        return {key: to_device(value, layout) for key, value in made.items()}
    return type(made)(to_device(value, layout) for value in made) if isinstance(made, (tuple, list)) else made
