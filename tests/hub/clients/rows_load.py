"""rows_load: what rows_push published is loaded and streamed by another process, row for row."""

from __future__ import annotations

from checks import TOKENS, main, raises
from datasets import get_dataset_config_names, get_dataset_split_names, load_dataset
from datasets.exceptions import DatasetNotFoundError
from rows_push import ROWS, rows


def check_load() -> None:
    found = load_dataset("ada/rows", split="train")
    expected = rows()
    assert found.num_rows == ROWS
    assert all(found[:][name] == expected[name] for name in expected)


def check_stream() -> None:
    expected = rows()
    stream = load_dataset("ada/rows", split="train", streaming=True)
    count = 0
    for i, row in enumerate(stream):
        assert row == {name: expected[name][i] for name in expected}, i
        count += 1
    assert count == ROWS
    assert [row["id"] for row in stream.skip(50_000).take(3)] == [50_000, 50_001, 50_002]


def check_splits_and_configurations() -> None:
    assert set(get_dataset_config_names("ada/parts")) == {"default", "small"}
    assert set(get_dataset_split_names("ada/parts")) == {"train", "test", "extra"}
    found = load_dataset("ada/parts", "small")
    assert found["train"]["n"][:] == list(range(90)) and found["test"].num_rows == 10


def check_private_and_proposals() -> None:
    with raises(DatasetNotFoundError):  # before it is in the cache, from where anybody here could have it
        load_dataset("guild/rows-private", token=TOKENS["dan"])
    assert load_dataset("guild/rows-private", split="train")["n"][:] == [1, 2, 3]
    found = load_dataset("guild/rows-private", revision="refs/pr/1", split="more")
    assert found.num_rows == 3


def check_plain_files() -> None:
    found = load_dataset("ada/csv")
    assert found["test"]["square"][-1] == 999 * 999 and found["train"].num_rows == 1000


def check_a_data_set_that_is_not_there() -> None:
    with raises(DatasetNotFoundError):
        load_dataset("ada/no-such-rows")


if __name__ == "__main__":
    main()
