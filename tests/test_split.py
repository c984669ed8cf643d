"""split: no row moves when rows are added, no group straddles, the test is what came last."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcommons.errors import DataError
from modelcommons.workbench.engine.split import PARTS, by_hash, by_sizes, by_time, divide, shares
from modelcommons.workbench.task import Row, Split

shares_of_rows = st.floats(0.05, 0.6)
names = st.lists(st.text(), max_size=60)


@dataclass
class Some:
    """Rows in memory."""

    rows: list[Row] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def ids(self) -> list[str]:
        return [row.id for row in self.rows]

    def take(self, indices: np.ndarray) -> Some:
        return Some([self.rows[at] for at in indices.tolist()])


def some(num_rows: int, start: int = 0) -> Some:
    return Some([Row(f"row {at}", at, group=f"author {at % 40}") for at in range(start, start + num_rows)])


def part_of(names: list[str], validation: float, test: float, salt: str = "") -> dict[str, str]:
    found = by_hash(names, validation, test, salt)
    return {names[at]: part for part in PARTS for at in found[part].tolist()}


@given(names, names, shares_of_rows, shares_of_rows)
def test_no_row_moves_when_rows_are_added(old: list[str], new: list[str], validation: float, test: float) -> None:
    before, after = part_of(old, validation, test), part_of([*new, *old], validation, test)
    assert before.items() <= after.items()


@given(names, shares_of_rows, shares_of_rows)
def test_every_row_is_in_one_part_and_in_order(names: list[str], validation: float, test: float) -> None:
    for found in (by_hash(names, validation, test), by_time(len(names), validation, test)):
        assert sorted(np.concatenate([found[part] for part in PARTS]).tolist()) == list(range(len(names)))
        assert all(found[part].dtype == np.int64 and (np.diff(found[part]) > 0).all() for part in PARTS)


def test_shares_are_kept_and_a_larger_one_only_takes() -> None:
    ids = [f"news.csv:{line}" for line in range(20_000)]
    found = by_hash(ids, validation=0.1, test=0.2)
    assert len(found["test"]) == pytest.approx(4_000, rel=0.05)
    assert len(found["validation"]) == pytest.approx(1_600, rel=0.1)
    larger = by_hash(ids, validation=0.1, test=0.3)
    assert set(found["test"].tolist()) < set(larger["test"].tolist())
    assert part_of(ids, 0.1, 0.2, "salt") != part_of(ids, 0.1, 0.2)


def test_the_hash_is_what_it_was_in_the_first_version() -> None:
    # a receipt names its rows by this: sha256 of NUL and the id, the first eight bytes over 2^64, then the next eight.
    # `printf '\0a' | sha256sum` begins with 022a6979e6dab7aa 5ae4c3e5e45f7e97
    assert shares(["a"]).tolist() == [[0x022A6979E6DAB7AA / 2**64, 0x5AE4C3E5E45F7E97 / 2**64]]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=80), shares_of_rows, shares_of_rows)
def test_the_test_is_what_came_last_and_equal_times_stay_together(
    times: list[int], validation: float, test: float
) -> None:
    when = np.array(times)
    found = by_time(when, validation, test)
    ends = [(when[found[part]].min(), when[found[part]].max()) for part in PARTS if len(found[part])]
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    assert len(found["test"]) >= round(len(times) * test)


def test_times_may_be_dates_in_any_order() -> None:
    days = np.array(["2024-01-03", "2024-01-01", "2024-01-05", "2024-01-02", "2024-01-04"], "datetime64[s]")
    found = by_time(days, validation=0.25, test=0.2)
    assert {part: rows.tolist() for part, rows in found.items()} == {"train": [0, 1, 3], "validation": [4], "test": [2]}


def test_no_group_straddles() -> None:
    train, validation, test, words = divide({"all": some(2_000)}, Split(by="group", validation=0.2, test=0.3))
    groups = [{row.group for row in part.rows} for part in (train, validation, test)]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert sum(map(len, groups)) == 40 and words == "validation and test by hash of the group"


def test_a_row_without_group_is_its_own() -> None:
    alone = Some([Row(f"row {at}", at, group="row 0" if at == 0 else None) for at in range(300)])
    by_group = divide({"all": alone}, Split(by="group"))
    by_id = divide({"all": alone}, Split(by="hash"))
    assert [part.ids() for part in by_group[:3]] == [part.ids() for part in by_id[:3]]


def test_without_any_group_there_is_nothing_to_divide_by() -> None:
    alone = Some([Row(f"row {at}", at) for at in range(300)])
    with pytest.raises(DataError, match=r"no row has one\. Name their column: data\.columns\.group"):
        divide({"all": alone}, Split(by="group"))


def test_where_no_time_is_known_the_order_of_the_rows_is_said_to_decide() -> None:
    _, _, test, words = divide({"all": some(10)}, Split(by="time", test=0.2))
    assert test.ids() == some(10).ids()[-2:] and words == "validation and test by order of the rows"


def test_official_parts_are_kept_as_they_are() -> None:
    parts = {"train": some(500), "test": some(50, 1_000)}
    train, validation, test, words = divide(parts, Split())
    assert test is parts["test"] and words == "official train and test; validation by hash of the id"
    assert sorted(train.ids() + validation.ids()) == sorted(parts["train"].ids())
    whole = parts | {"validation": some(20, 2_000)}
    assert [part.ids() for part in divide(whole, Split())[:3]] == [whole[name].ids() for name in PARTS]


def test_sizes_are_exact_and_in_order() -> None:
    how = Split(sizes=(6, 2, 1))
    train, validation, test, _ = divide({"all": some(10)}, how)
    assert [row.x for part in (train, validation, test) for row in part.rows] == list(range(9))
    assert [len(part) for part in (train, validation, test)] == [6, 2, 1]
    with pytest.raises(DataError, match="add up to 12 rows, the data has 10"):
        by_sizes(10, (6, 3, 3))


def test_a_task_says_what_auto_means_and_what_time_is() -> None:
    def backwards(rows: Some) -> np.ndarray:
        return np.array([-row.x for row in rows.rows])

    test = divide({"all": some(10)}, Split(by="auto", test=0.2), auto="time", times=backwards)[2]
    assert [row.x for row in test.rows] == [0, 1]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"test": some(5)}, "Expected training rows, found only test"),
        ({"all": some(2)}, "Of 2 rows none came into"),
        ({"all": some(0)}, "Of 0 rows none came into train"),
        ({"train": some(1), "test": some(1)}, "Of 1 rows none came into validation"),
    ],
)
def test_a_part_without_rows_is_said_so(parts: dict[str, Some], words: str) -> None:
    for by in ("hash", "time"):
        with pytest.raises(DataError, match=words):
            divide(parts, Split(by=by))
