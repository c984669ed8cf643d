"""rows_push: datasets publishes 100,000 rows, several splits, and a configuration of its own."""

from __future__ import annotations

import random

from checks import api, main
from datasets import Dataset, DatasetDict, Features, Value

ROWS = 100_000


def rows() -> dict[str, list[object]]:
    """The same 100,000 rows wherever they are made."""
    numbers = random.Random(0)
    return {
        "id": list(range(ROWS)),
        "text": [f"row {i}: 数 {numbers.getrandbits(64):x}" for i in range(ROWS)],
        "score": [numbers.random() for _ in range(ROWS)],
    }


def check_push_a_hundred_thousand_rows() -> None:
    features = Features({"id": Value("int64"), "text": Value("string"), "score": Value("float64")})
    Dataset.from_dict(rows(), features=features).push_to_hub("ada/rows", num_shards=3)
    names = api().list_repo_files("ada/rows", repo_type="dataset")
    assert sum(name.endswith(".parquet") for name in names) == 3 and "README.md" in names, names


def check_push_splits_and_a_configuration() -> None:
    parts = DatasetDict(
        {name: Dataset.from_dict({"n": list(range(size))}) for name, size in (("train", 90), ("test", 10))}
    )
    parts.push_to_hub("ada/parts")
    parts.push_to_hub("ada/parts", "small", private=True)
    parts["test"].push_to_hub("ada/parts", split="extra")
    assert not api().dataset_info("ada/parts").private, "a second push does not change who may see it"


def check_push_privately_and_as_a_proposal() -> None:
    data = Dataset.from_dict({"n": [1, 2, 3]})
    data.push_to_hub("guild/rows-private", private=True)
    assert api().dataset_info("guild/rows-private").private
    data.push_to_hub("guild/rows-private", split="more", create_pr=True)
    refs = api().list_repo_refs("guild/rows-private", repo_type="dataset", include_pull_requests=True)
    assert [pull.ref for pull in refs.pull_requests or []] == ["refs/pr/1"]


def check_plain_files_are_a_data_set_too() -> None:
    api().create_repo("ada/csv", repo_type="dataset")
    lines = "\n".join(f"{i},{i * i}" for i in range(1000))
    for split in ("train", "test"):
        api().upload_file(
            path_or_fileobj=f"n,square\n{lines}\n".encode(), path_in_repo=f"{split}.csv", repo_id="ada/csv",
            repo_type="dataset",
        )  # fmt: skip


if __name__ == "__main__":
    main()
