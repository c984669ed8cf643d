"""split: train, validation and test that stay what they are when rows are added.

By hash, a row's part depends on its own id (or its group's name) and nothing else: adding rows moves none. By time, the
latest rows are the test. By sizes, exact numbers of rows in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from modelcommons.errors import DataError

PARTS = ("train", "validation", "test")


class How(Protocol):
    """`data.split` of a recipe."""

    @property
    def by(self) -> Literal["auto", "hash", "group", "time"]: ...
    @property
    def validation(self) -> float: ...
    @property
    def test(self) -> float: ...
    @property
    def salt(self) -> str: ...
    @property
    def sizes(self) -> tuple[int, int, int] | None: ...


class Rows(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...
    def ids(self) -> Iterable[str]: ...
    def take(self, indices: np.ndarray) -> Any: ...


Some = TypeVar("Some", bound=Rows)


def divide(
    parts: Mapping[str, Some],
    how: How,
    auto: Literal["hash", "group", "time"] = "hash",
    groups: Callable[[Some], Sequence[str]] | None = None,
    times: Callable[[Some], np.ndarray] | None = None,
) -> tuple[Some, Some, Some, str]:
    """Train, validation and test from what was read, and how they came about, in words.

    Official parts are kept; what is missing is taken from `train` (or from `all`).

    Args:
        parts: `all`, or some of `train`, `validation`, `test`.
        auto: what `how.by == "auto"` means for the task that calls.
        groups: each row's group; `row.group` when not given.
        times: each row's time, anything that sorts; the rows' own order when not given.

    Raises:
        DataError: there are no training rows, no groups to divide by, or a part would be empty.
    """
    left = parts.get("train", parts.get("all"))
    if left is None:
        raise DataError(
            f"Expected training rows, found only {' and '.join(parts)}. Add a file with `train` in its name."
        )
    by = auto if how.by == "auto" else how.by
    wanted = {name: share for name, share in (("validation", how.validation), ("test", how.test)) if name not in parts}
    if how.sizes is not None and len(wanted) == 2:
        chosen, words = by_sizes(len(left), how.sizes), f"the first {sum(how.sizes):,} rows in order"
    elif by == "time":
        chosen = by_time(len(left) if times is None else times(left), **wanted)
        words = "order of the rows" if times is None else "time"
    elif by == "group":
        chosen, words = by_hash(groups(left) if groups else _groups(left), salt=how.salt, **wanted), "hash of the group"
    else:
        chosen, words = by_hash(left.ids(), salt=how.salt, **wanted), "hash of the id"
    made = {name: parts[name] if name in parts and name != "train" else left.take(chosen[name]) for name in PARTS}
    for name in PARTS:
        if not len(made[name]):
            raise DataError(
                f"Of {len(left):,} rows none came into {name}, by {words}. Give more rows, or other shares."
            )
    official = [name for name in PARTS if name in parts]
    text = "; ".join(
        [
            *([f"official {' and '.join(official)}"] if official else []),
            *([f"{' and '.join(wanted)} by {words}"] if wanted else []),
        ]
    )
    return made["train"], made["validation"], made["test"], text


def by_hash(names: Iterable[str], validation: float = 0.0, test: float = 0.0, salt: str = "") -> dict[str, np.ndarray]:
    """Row indices (int64, in order) by part. Rows of one name (an id, a group) stay together.

    A name is in the test when a number in [0, 1) made from its sha256 is below `test`; the others are in validation
    when a second such number is below `validation`. So no row moves when rows are added, and growing one share moves
    rows only into it.

    Args:
        test: share of all rows.
        validation: share of the rows that are not in the test.
    """
    chance = shares(names, salt)  # (rows, 2)
    is_test = chance[:, 0] < test
    is_validation = ~is_test & (chance[:, 1] < validation)
    return _indices(is_validation, is_test)


def shares(names: Iterable[str], salt: str = "") -> np.ndarray:
    """Two independent numbers in [0, 1) for each name, shape (rows, 2), from sha256(salt + NUL + name)."""
    start = hashlib.sha256(salt.encode() + b"\0")

    def digests() -> Iterator[bytes]:
        for name in names:
            digest = start.copy()
            digest.update(name.encode("utf-8", "surrogatepass"))
            yield digest.digest()[:16]

    return np.frombuffer(b"".join(digests()), ">u8").reshape(-1, 2) / 2.0**64


def by_time(times: np.ndarray | int, validation: float = 0.0, test: float = 0.0) -> dict[str, np.ndarray]:
    """Row indices by part: the latest rows are the test, those before them validation. Equal times stay together.

    Args:
        times: each row's time, shape (rows,); or the number of rows, where their order is the time.
    """
    if isinstance(times, int):
        times = np.arange(times)
    if not len(times):
        return {name: np.empty(0, np.int64) for name in PARTS}
    ordered = np.sort(times, kind="stable")
    num_test = round(len(times) * test)
    num_validation = round((len(times) - num_test) * validation)
    is_test = _from(times, ordered, len(times) - num_test)
    is_late = _from(times, ordered, len(times) - num_test - num_validation)
    return _indices(is_late & ~is_test, is_test)


def by_sizes(num_rows: int, sizes: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Row indices by part: exact numbers of train, validation and test rows, in order; rows after them are left out.

    Raises:
        DataError: there are fewer rows than the sizes add up to.
    """
    if sum(sizes) > num_rows:
        raise DataError(
            f"data.split.sizes add up to {sum(sizes):,} rows, the data has {num_rows:,}. Make them smaller."
        )
    ends = np.cumsum(sizes)
    return {name: np.arange(end - size, end) for name, end, size in zip(PARTS, ends, sizes, strict=True)}


def _from(times: np.ndarray, ordered: np.ndarray, position: int) -> np.ndarray:
    """Which rows are at or after the time at `position` of the ordered times; none when that is the end."""
    if position >= len(ordered):
        return np.zeros(len(times), bool)
    return np.asarray(times >= ordered[position])


def _indices(is_validation: np.ndarray, is_test: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "train": np.flatnonzero(~is_validation & ~is_test),
        "validation": np.flatnonzero(is_validation),
        "test": np.flatnonzero(is_test),
    }


def _groups(rows: Rows) -> list[str]:
    """Each row's group; a row without one is a group of its own.

    Raises:
        DataError: no row has one.
    """
    groups = [rows[index].group for index in range(len(rows))]
    if not any(groups):
        raise DataError("Expected groups to divide the rows by, no row has one. Name their column: data.columns.group.")
    return [group or id for group, id in zip(groups, rows.ids(), strict=True)]
