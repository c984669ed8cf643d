"""ranks: the processes that train one model together, started by torchrun. The first leads, the others follow.

Each takes its part of the rows of a step, and their gradients are added up, so that a step means what it means in one
process (data parallelism; Li et al. 2020, "PyTorch Distributed"). Between processes go numbers and JSON, never pickles.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from modelcommons.errors import Stopped

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

PATIENCE = timedelta(days=7)  # the others wait while the first scores, shrinks or downloads
BUCKET = 25 * 2**20 // 4  # numbers that are added up at once


def count() -> int:
    """How many processes torchrun started; 1 without it, whatever else calls its variables by the same names."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def leads() -> bool:
    """Whether this is the process that scores, writes and speaks."""
    return rank() == 0


def join() -> None:
    """Meets the others, over gloo between processors and nccl between accelerators."""
    import torch
    from torch import distributed

    if count() == 1 or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)


def joined() -> bool:
    """Whether this process has met the others."""
    if count() == 1:
        return False
    from torch import distributed

    return distributed.is_initialized()


def part() -> None:
    """Leaves the others."""
    from torch import distributed

    if joined():
        distributed.destroy_process_group()


def shared(value: Any = None) -> Any:
    """What the first process says, in all of them: a value that JSON can hold."""
    if count() == 1:
        return value
    import torch
    from torch import distributed

    raw = bytearray(json.dumps(value).encode()) if leads() else bytearray()
    size = torch.tensor([len(raw)])
    with _all_there():
        distributed.broadcast(size, 0)
        message = torch.frombuffer(raw, dtype=torch.uint8) if leads() else torch.empty(int(size), dtype=torch.uint8)
        distributed.broadcast(message, 0)
    return json.loads(message.numpy().tobytes())


def mine(indices: np.ndarray) -> np.ndarray:
    """The part of a batch's rows, int64 (rows,), that this process takes; of few rows perhaps none."""
    return indices[rank() :: count()]


def total(values: list[float]) -> list[float]:
    """The sum over all processes of each of these numbers, of which every process has as many."""
    if count() == 1 or not values:
        return values
    import torch
    from torch import distributed

    added = torch.tensor(values, dtype=torch.float64)
    with _all_there():
        distributed.all_reduce(added)
    return added.tolist()


def add_up(network: nn.Module, values: list[float]) -> list[float]:
    """Gives the network in every process the sum of all processes' gradients; returns the sums of their values."""
    if count() == 1:
        return values
    import torch
    from torch import distributed

    weights = [weight for weight in network.parameters() if weight.requires_grad]
    sums = total([float(weight.grad is not None) for weight in weights] + values)
    touched = [weight for weight, times in zip(weights, sums, strict=False) if times]
    for bucket in _buckets(touched):
        parts = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in bucket]
        whole = torch.cat([part.flatten() for part in parts])
        with _all_there():
            distributed.all_reduce(whole)
        pieces = torch.split(whole, [weight.numel() for weight in bucket])
        for weight, piece in zip(bucket, pieces, strict=True):
            weight.grad = piece.view_as(weight)
    return sums[len(weights) :]


@contextmanager
def _all_there() -> Iterator[None]:
    """Raises: Stopped: another process ended while this one wanted to speak with it."""
    try:
        yield
    except RuntimeError as error:
        raise Stopped("Another of the processes that train together ended; see what it said.") from error


def _buckets(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Weights of one kind side by side, as many as are added up at once."""
    bucket: list[Tensor] = []
    size = 0
    for weight in weights:
        if bucket and (size + weight.numel() > BUCKET or weight.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(weight)
        size += weight.numel()
    if bucket:
        yield bucket
