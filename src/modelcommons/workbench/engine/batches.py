"""batches: in which order rows are trained on, a function of seed and epoch alone; and which are answered together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

WINDOW = 50  # batches: within so many, rows are sorted by length, so that a batch holds rows of like length
PADDING = 64  # that much of it in a batch is cheaper than calling a network once more


def epoch_batches(
    num_rows: int, batch_size: int, seed: int, epoch: int, lengths: Sequence[int] | np.ndarray | None = None
) -> list[np.ndarray]:
    """Row indices (int64) of each batch of one epoch; every row once, the last batch may be smaller.

    Args:
        lengths: one per row; turns on length bucketing, which saves padding: rows are sorted by length inside windows
            of a random order, and the batches are shuffled again.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(num_rows)
    if lengths is None:
        return [order[start : start + batch_size] for start in range(0, num_rows, batch_size)]
    sizes, step = np.asarray(lengths), batch_size * WINDOW
    batches = []
    for start in range(0, num_rows, step):
        window = order[start : start + step]
        window = window[np.argsort(sizes[window], kind="stable")]
        batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
    return [batches[index] for index in rng.permutation(len(batches))]


def answer_batches(lengths: Sequence[int] | np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Row indices (int64) of each batch from short rows to long ones; every row once.

    A batch ends after `most` rows, and before a row that would bring it more padding than `PADDING` and than an eighth
    of what it holds: texts asked at once may be few and very unlike.
    """
    sizes = np.asarray(lengths)
    order = np.argsort(sizes, kind="stable")
    start, held = 0, 0  # where the batch begins, and the length of its rows together
    for at, size in enumerate(sizes[order].tolist()):
        padding = (at - start) * size - held
        if at > start and (at - start == most or padding > max(PADDING, held // 8)):
            yield order[start:at]
            start, held = at, 0
        held += size
    if len(order):
        yield order[start:]
