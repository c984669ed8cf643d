"""prepare: what is wrong with the data is counted, shown and, unless the recipe allows it, refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelcommons.errors import DataError, RecipeError
from modelcommons.workbench import sources
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.fields import find
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages import prepare as stage
from modelcommons.workbench.stages.prepare import Prepared, prepare

WORDS = ("apple", "boat", "cloud", "door", "engine", "forest", "glass", "house", "island", "jacket", "kettle", "ladder")
Texts = Sequence[tuple[str, str]]
Run = Callable[..., Prepared]


def texts(num_rows: int, start: int = 0) -> list[tuple[str, str]]:
    """Texts unlike each other, of two classes."""
    return [
        (" ".join(WORDS[(number // 12**place + 5 * place) % 12] for place in range(4)) + f" number {number * 7919}",
         "odd" if number % 2 else "even")
        for number in range(start, start + num_rows)
    ]  # fmt: skip


def write(path: Path, rows: Texts, more: str = "") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
        file.write(more)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Prepares the files in `tmp_path/data` by a recipe whose `data` section is given."""
    (tmp_path / "data").mkdir()

    def prepared(task: str = "text-classification", progress: Silent | None = None, **data: Any) -> Prepared:
        asked = {"task": task, "model": {"new": "bag"}, "data": {"source": str(tmp_path / "data"), **data}}
        source = sources.find(str(tmp_path / "data"))
        return prepare(
            find(task), source, Recipe.model_validate(asked), RunFolder(tmp_path / "run"), progress or Silent()
        )

    return prepared


class Told(Silent):
    """Keeps what is said of the data."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, stage: str, text: str) -> None:
        self.lines.append(text)


def ids(prepared: Prepared, part: str) -> set[str]:
    return set(getattr(prepared.parts, part).ids())


# --- rows that cannot be used ---------------------------------------------------------------------------------------


def test_bad_rows_are_counted_shown_with_line_and_reason_and_refused(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "data/a.csv", texts(60), "too,many,fields\n,no text\nno label,\nfew\n1,2,3\n1,2,3,4\n")
    with pytest.raises(DataError) as caught:
        run()
    assert str(caught.value) == (
        "6 of 66 rows cannot be used (a.csv:62: 3 fields, expected 2; a.csv:65: 1 field, expected 2; "
        "a.csv:66: 3 fields, expected 2; a.csv:67: 4 fields, expected 2; a.csv:63: no text in column 'text'; ...). "
        "Mend them, or leave them out: data.allow_bad_rows: 0.091."
    )
    with pytest.raises(DataError, match="6 of 66"):
        run(allow_bad_rows=0.09)
    report = run(allow_bad_rows=0.091).report  # the share that the sentence names is enough
    assert (report["rows"]["read"], report["rows"]["bad"], len(report["bad"])) == (66, 6, 5)
    assert report["bad"][0] == {"where": "a.csv:62", "reason": "3 fields, expected 2"}


def test_bad_rows_that_are_allowed_are_shown_too(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "data/a.csv", texts(60), "too,many,fields\nfew\n")
    told = Told()
    run(allow_bad_rows=0.1, progress=told)
    assert "left out a.csv:62: 3 fields, expected 2; a.csv:63: 1 field, expected 2" in told.lines


def test_the_latest_rows_are_the_test_where_time_divides(run: Run, tmp_path: Path) -> None:
    """By the column of that role, whatever the order of the rows; a row without a time cannot be used."""
    rows = [{"id": str(at), "at": f"20{99 - at}-01-01", "text": t, "label": y} for at, (t, y) in enumerate(texts(80))]
    rows[7]["at"] = ""
    (tmp_path / "data/a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    divided: dict[str, Any] = {"split": {"by": "time"}, "columns": {"time": "at"}}
    with pytest.raises(DataError, match=r"a\.jsonl:8: no time in column 'at'"):
        run(**divided)
    prepared = run(**divided, allow_bad_rows=0.1)
    assert ids(prepared, "test") == {str(at) for at in (*range(7), *range(8, 17))}
    assert prepared.report["split"] == "validation and test by time"
    assert [column["role"] for column in prepared.report["columns"]] == ["id", "time", "text", "label"]
    with pytest.raises(DataError, match="Expected times or numbers in column 'text', its values are of kind text"):
        run(split={"by": "time"}, columns={"time": "text"})


def test_pictures_are_divided_by_time_too(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for at in range(40):
        Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / f"data/{at}.png")
        rows.append(f"{at}.png,{'ab'[at % 2]},{at * 7 % 40}")
    (tmp_path / "data/table.csv").write_text("image,label,taken\n" + "\n".join(rows))
    prepared = run("image-classification", split={"by": "time"}, columns={"time": "taken"}, checks=[])
    latest = {f"table.csv:{at + 2}" for at in range(40) if at * 7 % 40 >= 32}
    assert {id.partition("#")[0] for id in ids(prepared, "test")} == latest
    assert prepared.report["split"] == "validation and test by time"


def test_double_ids_are_refused(run: Run, tmp_path: Path) -> None:
    rows = [{"id": str(at % 50), "text": text, "label": label} for at, (text, label) in enumerate(texts(60))]
    (tmp_path / "data/a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match="10 rows have the id of an earlier row, the first is '"):
        run(columns={"id": "id"})


def test_one_class_is_refused(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "data/train.csv", [(text, "same") for text, _ in texts(60)])
    write(tmp_path / "data/test.csv", texts(20, 100))
    with pytest.raises(
        DataError, match=r"All \d+ training rows are of the class 'same'. Expected at least two classes"
    ):
        run()


# --- duplicates and leaks -------------------------------------------------------------------------------------------


@pytest.fixture
def planted(tmp_path: Path, run: Run) -> Run:
    """60 + 20 + 20 rows; in train 3 exact duplicates, one of another class; of the test 2 rows stand in train, 1 in
    validation, and 2 nearly."""
    train, validation, test = texts(60), texts(20, 100), texts(20, 200)
    train[57:] = [train[0], train[1], (train[2][0], "else")]
    test[0], test[1], test[2] = train[10], (train[11][0] + " ", "odd"), validation[0]
    test[3], test[4] = ((train[at][0].replace("number", "numbers") + " and so on and on", "odd") for at in (12, 13))
    train[12], train[13] = ((train[at][0] + " and so on and on", "odd") for at in (12, 13))
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        write(tmp_path / f"data/{name}.csv", rows)
    return run


def test_planted_duplicates_are_dropped_from_train(planted: Run) -> None:
    prepared = planted()
    assert prepared.report["duplicates"] == {
        "exact": 3, "in_validation": 0, "conflicting": 1, "dropped": 3, "near": 0, "near_examples": [],
        "examples": [["train.csv:2", "train.csv:59"], ["train.csv:3", "train.csv:60"], ["train.csv:4", "train.csv:61"]],
    }  # fmt: skip
    assert ids(prepared, "train").isdisjoint({"train.csv:59", "train.csv:60", "train.csv:61"})
    assert prepared.report["rows"] == {"read": 100, "bad": 0, "train": 57, "validation": 20, "test": 20}
    kept = planted(duplicates="keep")
    assert kept.report["duplicates"]["exact"] == 3 and kept.report["rows"]["train"] == 60


def test_planted_leaks_are_reported_and_the_test_keeps_its_rows(planted: Run) -> None:
    prepared = planted()
    assert prepared.leaked == {"test.csv:2", "test.csv:3", "test.csv:4"}
    leaks = prepared.report["leaks"]
    assert (leaks["exact"], leaks["near"], leaks["dropped"]) == (3, 2, 0)
    assert leaks["near_examples"] == [["train.csv:14", "test.csv:5"], ["train.csv:15", "test.csv:6"]]
    assert len(prepared.parts.test) == 20


def test_leaks_dropped_leave_train_and_validation_never_the_test(planted: Run) -> None:
    prepared = planted(leaks="drop")
    assert prepared.leaked == frozenset()
    assert prepared.report["leaks"]["dropped"] == 3
    assert prepared.report["rows"] == {"read": 100, "bad": 0, "train": 55, "validation": 19, "test": 20}
    assert ids(prepared, "train").isdisjoint({"train.csv:12", "train.csv:13"})
    assert "validation.csv:2" not in ids(prepared, "validation")


def test_a_training_row_that_stands_in_validation_is_dropped_from_train(run: Run, tmp_path: Path) -> None:
    rows = texts(60)
    write(tmp_path / "data/train.csv", rows)
    write(tmp_path / "data/validation.csv", [*texts(20, 100), rows[5]])
    write(tmp_path / "data/test.csv", texts(20, 200))
    prepared = run()
    assert prepared.report["duplicates"]["in_validation"] == prepared.report["duplicates"]["dropped"] == 1
    assert "train.csv:7" not in ids(prepared, "train")


def test_nothing_left_is_said_so(run: Run, tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        write(tmp_path / f"data/{name}.csv", texts(10))
    with pytest.raises(DataError, match="Nothing is left to train or choose by"):
        run(leaks="drop")


def test_checks_that_were_not_asked_for_are_not_made(planted: Run) -> None:
    report = planted(checks=["schema"]).report
    assert not {"duplicates", "leaks", "classes", "personal_data"} & report.keys()
    assert report["rows"]["train"] == 60 and [column["name"] for column in report["columns"]] == ["text", "label"]


def test_classes_are_counted_by_part_and_unseen_ones_named(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "data/train.csv", texts(60))
    write(tmp_path / "data/test.csv", [*texts(19, 100), ("something else entirely", "new")])
    report = run().report
    assert report["classes"]["test"] == {"even": 10, "new": 1, "odd": 9} and report["unseen_classes"] == ["new"]
    assert sum(report["classes"]["train"].values()) == report["rows"]["train"]


# --- personal data --------------------------------------------------------------------------------------------------


@pytest.fixture
def private(tmp_path: Path, run: Run) -> Run:
    rows = texts(60)
    rows[0] = ("write to ada@example.com or bob@example.org today", "even")
    rows[1] = ("the card 4012 8888 8888 1881 is mine", "odd")
    write(tmp_path / "data/train.csv", rows)
    write(tmp_path / "data/test.csv", [*texts(19, 100), ("call +44 20 7946 0018 now", "odd")])
    return run


def all_texts(prepared: Prepared) -> str:
    parts = (prepared.parts.train, prepared.parts.validation, prepared.parts.test)
    return "\n".join(part[at].x for part in parts for at in range(len(part)))


def test_personal_data_is_counted_and_left_by_default(private: Run) -> None:
    prepared = private()
    assert prepared.report["personal_data"] == {
        "policy": "report", "hits": {"email": 2, "phone": 1, "payment_card": 1}, "rows": 3,
    }  # fmt: skip
    assert "ada@example.com" in all_texts(prepared)


def test_personal_data_is_masked_in_every_part(private: Run) -> None:
    prepared = private(personal_data="mask")
    seen = all_texts(prepared)
    assert "write to [email] or [email] today" in seen and "the card [payment_card] is mine" in seen
    assert "call [phone] now" in seen and "example" not in seen
    assert prepared.ids_sha256 == private().ids_sha256  # the rows are the same rows


def test_personal_data_is_refused_where_the_recipe_says_so(private: Run) -> None:
    with pytest.raises(DataError, match=r"found 2 e-mail addresses, 1 phone number, 1 payment card number in 3 rows\."):
        private(personal_data="refuse")
    with pytest.raises(RecipeError, match="'mask' needs rows of text and the check 'personal-data'"):
        private(personal_data="mask", checks=["schema"])


# --- what is written, and kept --------------------------------------------------------------------------------------


def test_the_report_is_written_and_says_where_the_rows_came_from(planted: Run, tmp_path: Path) -> None:
    said: list[str] = []

    class Telling(Silent):
        def line(self, stage: str, text: str) -> None:
            said.append(f"{stage} {text}")

    prepared = planted(progress=Telling())
    assert json.loads((tmp_path / "run/prepare/report.json").read_text()) == prepared.report
    assert prepared.report["source"]["sha256"] == sources.find(str(tmp_path / "data")).sha256
    assert prepared.report["ids_sha256"] == prepared.ids_sha256
    (words,) = said
    assert words.startswith(
        "prepare 57 + 20 + 20 rows · 0 bad rows · 3 exact duplicates (3 rows dropped) · 3 test rows seen"
    )


def test_slow_findings_are_kept_for_the_same_data_and_checks_only(
    private: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = private()
    calls = []
    slow = stage._slow
    monkeypatch.setattr(stage, "_slow", lambda *given: calls.append(1) or slow(*given))
    assert private().report == first.report and not calls
    assert private(duplicates="keep").report["personal_data"] == first.report["personal_data"] and len(calls) == 1
    (tmp_path / "run/prepare/slow.json").write_text("{ half")
    assert private().report == first.report and len(calls) == 2
    write(tmp_path / "data/test.csv", texts(20, 300))
    assert private().report["personal_data"]["rows"] == 2 and len(calls) == 3


def test_the_same_recipe_gives_the_same_rows(planted: Run) -> None:
    one, two = planted(), planted()
    assert one.ids_sha256 == two.ids_sha256 and one.report == two.report and one.leaked == two.leaked
