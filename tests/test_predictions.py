"""predictions.jsonl.gz: written canonically whatever the line, read with a standard library alone, damage said."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcommons.errors import FormatError
from modelcommons.formats import merkle, predictions
from modelcommons.formats.canonical import canonical
from modelcommons.workbench.engine import classification

small = st.floats(-1e15, 1e15)  # beyond 2^53 a whole float is written as digits, and comes back as an integer
texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.fixed_dictionaries({"id": texts, "prediction": st.lists(small | texts)}, optional={"margin": small})

PYTHON = sys.executable
LINES = [
    {"id": "news.csv:2", "target": "sports", "prediction": "sports", "margin": 0.25},
    {"id": "中文 😀", "target": "world", "prediction": {"label": "world", "p": [1.0, 0.0, 1e-7]}},
]


def test_a_failed_writing_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "model.jsonl.gz"
    predictions.write(file, LINES)
    before = file.read_bytes()
    with pytest.raises(FormatError):
        predictions.write(file, [*LINES, {"id": "c", "prediction": float("nan")}])
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


@settings(max_examples=50)
@given(made=st.lists(plain, max_size=12, unique_by=lambda line: line["id"]))
def test_lines_come_back_with_digest_and_root(tmp_path_factory: pytest.TempPathFactory, made: list[Any]) -> None:
    file = tmp_path_factory.mktemp("made") / "model.jsonl.gz"
    written = predictions.write(file, made)
    read = predictions.read(file)
    assert list(read) == [read[at] for at in range(len(read))] == made == read[:]
    assert (written.sha256, written.merkle_root, written.count) == (read.sha256, read.merkle_root, len(read))
    assert read.ids == [line["id"] for line in made]
    leaves = [merkle.leaf(read.bytes(at)) for at in range(len(read))]
    for at in range(len(read)):
        assert merkle.proven(read.bytes(at), at, len(read), merkle.proof(leaves, at), read.merkle_root)


@pytest.mark.parametrize("python", [PYTHON, "/bin/false", "/no/such/python"])
def test_another_process_finds_the_same_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str) -> None:
    """And where it cannot, this one does; what lies in the folder is not run."""
    (tmp_path / "hashlib.py").write_text("raise SystemExit('somebody put this here')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setattr(predictions, "WORTH_A_PROCESS", 1)
    written = predictions.write(tmp_path / "a.jsonl.gz", LINES)
    read = predictions.read(tmp_path / "a.jsonl.gz")
    by_hand = merkle.root(map(merkle.leaf, read.raw.splitlines()))
    if python == PYTHON:
        monkeypatch.setattr(merkle, "root_of_lines", None)  # nothing is left to this process
    read.begin_root()
    assert read.merkle_root == written.merkle_root == by_hand


def test_the_file_is_readable_with_gzip_and_json_alone(tmp_path: Path) -> None:
    written = predictions.write(tmp_path / "a.jsonl.gz", LINES)
    with gzip.open(tmp_path / "a.jsonl.gz", "rt", encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == LINES
    raw = gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes())
    assert raw == b"".join(canonical(line) + b"\n" for line in LINES)
    assert written.sha256 == hashlib.sha256(raw).hexdigest()


def test_the_same_lines_give_the_same_file_anywhere(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "deep/other.jsonl.gz"):
        predictions.write(tmp_path / name, LINES)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "deep/other.jsonl.gz").read_bytes()


def test_many_lines_as_columns_are_those_of_the_lines(tmp_path: Path) -> None:
    hours = [f"{day:04}-01-01 {hour:02}:00:00" for day in range(1, 501) for hour in range(24)]
    made = [{"id": hour, "prediction": at % 3 / 2, "target": at / 7} for at, hour in enumerate(hours)]
    predictions.write(tmp_path / "a.jsonl.gz", made)
    read = predictions.read(tmp_path / "a.jsonl.gz")
    assert read.ids == hours
    assert read.table.column("target").to_pylist() == [line["target"] for line in made]


def test_labels_that_look_like_dates_score_the_same_from_columns(tmp_path: Path) -> None:
    days, chance = ["2020-01-01", "2020-01-02"], np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    answers = enumerate(classification.answers(chance, days))
    made = [{"id": str(at), "target": days[at % 2], **answer} for at, answer in answers]
    predictions.write(tmp_path / "a.jsonl.gz", made)
    read = predictions.read(tmp_path / "a.jsonl.gz")
    assert read.table.column("target").to_pylist() == ["2020-01-01", "2020-01-02", "2020-01-01"]
    assert classification.scores(read) == classification.scores(made)


# --- damage ---------------------------------------------------------------------------------------------------------


def packed(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    predictions.write(tmp_path / "a.jsonl.gz", LINES)
    return tmp_path / "a.jsonl.gz"


def test_every_way_of_cutting_or_changing_the_file_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    before = predictions.read(file).raw
    for size in range(1, len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(FormatError, match="is damaged or no gzip file"):
            predictions.read(file)
    for at in range(10, len(whole)):  # the ten bytes of gzip's own header hold a date and the like
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(FormatError):
            assert predictions.read(file).raw != before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no gzip", "is damaged or no gzip file"),
        (packed(b'{"id":"a","prediction":1}\n') + b"more", "is damaged or no gzip file"),
        (packed(b'{"id":"a","prediction":1}\n{"id":"b"'), "ends in the middle of a line"),
        (packed(b'{"id":"a","prediction":1}\n{"id":"b"\n'), "Line 2 of a predictions file is no JSON"),
        (packed(b'{"id":"a","prediction":NaN}\n'), "Line 1 of a predictions file is no JSON"),
        (packed(b"[1]\n"), "Line 1 of a predictions file has no `id` and `prediction`"),
        (packed(b'{"id":1,"prediction":1}\n'), "Line 1 of a predictions file has no `id` and `prediction`"),
        (packed(b'{"id":"a","prediction":1}\n' * 2), "an id comes twice"),
        (packed(b'{"id":"a","prediction":1}\n' * 10_001), "an id comes twice"),
        (packed(b"[1]\n" * 10_001), "Line 1 of a predictions file has no `id` and `prediction`"),
        (packed(b'{"prediction":1}\n' * 10_001), "Line 1 of a predictions file has no `id` and `prediction`"),
        (packed(b'{"id":"a","prediction":1}\n' + b'{"prediction":1}\n' * 10_000), "a line that has no `id`"),
        (packed(b'{"id":"a","prediction":1}\n' + b'{"id":1,"prediction":1}\n' * 10_000), "a line unlike the first"),
        (packed(b'{"id":"a","prediction":1}\n' + b"[1]\n" * 10_000), "or no JSON object"),
    ],
)
def test_a_damaged_file_is_said_to_be_so(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(FormatError, match=words):
        _ = predictions.read(file).ids


def test_a_bomb_is_refused_before_it_is_unpacked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(packed(b"\0" * 2**26))
    assert file.stat().st_size < 2**17
    monkeypatch.setattr(predictions, "LARGEST", 2**20)
    unpacked = 0
    read = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        nonlocal unpacked
        block = read(self, size)
        unpacked += len(block)
        return block

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(FormatError, match="unpacks to more than"):
        predictions.read(file)
    assert unpacked <= 2**20 + predictions.BLOCK


def test_no_lines_are_no_lines(tmp_path: Path) -> None:
    written = predictions.write(tmp_path / "a.jsonl.gz", [])
    read = predictions.read(tmp_path / "a.jsonl.gz")
    assert (len(read), list(read), read.ids, read.merkle_root) == (0, [], [], written.merkle_root)
