"""tables: text files of every kind read into columns; what cannot be read is counted with its place."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcommons.errors import DataError, FormatError
from modelcommons.formats import columns, lines, tables
from modelcommons.formats.cache import cache_folder, replacing

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


def values(table: tables.Table) -> list[dict[str, Any]]:
    return [table.row(at) for at in range(len(table))]


# --- CSV ------------------------------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n,\"' ;\t"), max_size=8)


@settings(max_examples=60)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=8))
def test_what_csv_writes_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([("text", "other"), *((f"x{one}", f"y{two}") for one, two in rows)])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    assert values(tables.read([path])) == [{"text": f"x{one}", "other": f"y{two}"} for one, two in rows]


def test_kinds_are_found_over_all_rows(write: Write) -> None:
    path = write("a.csv", (
        "n,x,day,code,word,mixed,empty\n1,1,2024-01-01,0812,a,1,\n-2,2.5,2024-01-02 03:04:05,0813,,b,\n"
        ",1e-3,,0,c,2024-01-01,\n NA ,NA,,,d,,\n"
    ))  # fmt: skip
    table = tables.read([path])
    assert table.kinds == {
        "n": "integer", "x": "number", "day": "time", "code": "text", "word": "text", "mixed": "text", "empty": "text",
    }  # fmt: skip
    assert [row["n"] for row in values(table)] == [1, -2, None, None]
    assert table.row(0)["code"] == "0812"
    assert table.column("n").to_pylist() == [1, -2, None, None]
    assert table.numbers("x").values.tolist()[:3] == [1.0, 2.5, 0.001]
    assert table.times("day")[1] == np.datetime64("2024-01-02T03:04:05") and np.isnat(table.times("day")[2])
    assert table.missing("word").tolist() == [False, True, False, False]
    assert [table.where(at) for at in range(4)] == ["a.csv:2", "a.csv:3", "a.csv:4", "a.csv:5"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "text,label\nx,1\n"),
        ("a.csv", "\ufefftext,label\r\nx,1\r\n"),
        ("a.csv", "text;label\n\nx;1\n\n"),
        ("a.csv", "text\tlabel\nx\t1"),
        ("a.tsv", "text\tlabel\nx\t1\n"),
        ("a.TSV", '"text"\t label\n"x"\t1\n'),
        ("a.jsonl", '{"text": "x", "label": 1}\n\n'),
        ("a.ndjson", '{"label": 1, "text": "x"}'),
    ],
)
def test_the_same_row_in_every_dialect(write: Write, name: str, text: str) -> None:
    assert values(tables.read([write(name, text)])) == [{"text": "x", "label": 1}]


def test_a_line_that_cannot_be_read_costs_that_line_only(write: Write) -> None:
    path = write("a.csv", 'text,label\ngood,1\ntoo,many,fields\n"never closed,2\nfew\n"two\nlines",3\n"a"b,4\nend,5\n')
    table = tables.read([path])
    assert [(row["text"], row["label"]) for row in values(table)] == [("good", 1), ("two\nlines", 3), ("end", 5)]
    assert [table.where(at) for at in range(3)] == ["a.csv:2", "a.csv:6", "a.csv:9"]
    assert [(bad.where, bad.reason) for bad in table.bad] == [
        ("a.csv:3", "3 fields, expected 2"),
        ("a.csv:4", "a quote is opened and not closed"),
        ("a.csv:5", "1 field, expected 2"),
        ("a.csv:8", "text follows a closing quote"),
    ]
    assert (table.num_bad, table.num_read) == (4, 7)


def test_many_bad_lines_are_counted_and_five_are_shown(write: Write) -> None:
    table = tables.read([write("a.csv", "text,label\n" + "x,1\n" + "x,1,2\n" * 90)])
    assert table.num_bad == 90 and [bad.where for bad in table.bad] == [f"a.csv:{line}" for line in range(3, 8)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "a.csv is empty. Expected a header and rows"),
        ("a.jsonl", "", "a.jsonl is empty. Expected objects and rows"),
        ("a.csv", "text,label\n", "a.csv has no rows"),
        ("a.csv", "text,label\n1,2,3\n", "none of its 1 lines could be read .a.csv:2: 3 fields, expected 2"),
        ("a.csv", "text,text\nx,y\n", "a.csv:1 names the column 'text' twice"),
        ("a.csv", "1,2.5\n3,4\n", "a.csv:1 holds numbers, expected the names of the columns"),
        ("a.csv", '"text,label\nx,1\n', "a.csv:1 is no header: a quote is opened and not closed"),
        ("a.csv", "\n\n", "a.csv:1 is no header: it is blank"),
        ("a.csv", "text\nx\n".encode("utf-16"), "begins with the mark of UTF-16.*iconv -f UTF-16 -t UTF-8"),
        ("a.csv", "text\nx\n".encode("utf-16-le"), "a.csv:1 holds a NUL byte.*iconv -f UTF-16LE"),
        ("a.csv", b"text\nx\0\n", "a.csv:2 holds a NUL byte.*Remove it"),
        ("a.csv", "text\nschön\n".encode("cp1252"), "a.csv:2, byte 4 is not UTF-8; it looks like Windows-1252"),
        ("a.csv", "text\n春眠不觉晓\n".encode("gb18030"), "a.csv:2, byte 1 is not UTF-8; it looks like GB18030"),
        ("a.csv", b"text\nsch\xc3\xb6n\nsch\xf6n\n", "a.csv:3, byte 4 is not UTF-8 .*the file mixes encodings"),
        ("a.csv", b"text\nsch\xf6n\nsch\xc3\xb6n\n", "a.csv:2, byte 4 is not UTF-8 .*the file mixes encodings"),
        ("a.jsonl", "[1]\nx\n", "none of its 2 lines could be read .a.jsonl:1: list, expected a JSON object"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(
    write: Write, name: str, content: str | bytes, words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        tables.read([write(name, content)])
    assert "\n" not in str(caught.value)


def test_numbers_that_are_none_are_listed(write: Write) -> None:
    numbers = tables.read([write("a.csv", "x\n1\nnan\ninf\nword\n\nNA\n-1e999\n2\n")]).numbers("x")
    assert numbers.values[[0, -1]].tolist() == [1, 2] and np.isnan(numbers.values[1:-1]).all()
    assert [bad.where for bad in numbers.first] == ["a.csv:3", "a.csv:4", "a.csv:5", "a.csv:8"]
    assert numbers.first[2].reason == "x is 'word', expected a finite number"


# --- lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 2, 3, 5, 4096])
def test_lines_are_the_same_in_blocks_of_any_size(write: Write, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(lines, "BLOCK", max(block, 3))
    text = "\ufeffa,春\r\nb,😀\n\nend"
    assert list(lines.lines(write("a.csv", text))) == ["a,春\r\n", "b,😀\n", "\n", "end"]


def test_encodings_that_mix_in_different_blocks_are_said_to_mix(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 16)
    path = write("a.csv", "schön\n".encode() + b"plain\n" * 20 + "schön\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"a\.csv:22, byte 4 is not UTF-8 .*the file mixes encodings"):
        list(lines.lines(path))


def test_a_line_without_end_is_refused_before_memory_is_full(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 1000)
    monkeypatch.setattr(lines, "LONGEST_LINE", 5000)
    with pytest.raises(DataError, match=r"a\.csv:2 is longer than"):
        list(lines.lines(write("a.csv", "text\n" + "x" * 100_000)))


# --- JSON Lines -----------------------------------------------------------------------------------------------------


def test_json_lines_of_different_keys_and_types(write: Write) -> None:
    rows = [
        {"text": "a", "n": 1, "more": {"k": [1]}, "flag": True, "code": "0812"},
        {"text": "b", "n": None, "flag": False, "late": "x", "code": "7"},
    ]
    path = write("a.jsonl", "\n".join([json.dumps(rows[0]), "{", json.dumps(rows[1]), "[" * 100_000]))
    table = tables.read([path])
    assert table.kinds == {
        "text": "text", "n": "integer", "more": "json", "flag": "text", "code": "text", "late": "text",
    }  # fmt: skip
    assert table.row(0) == {"text": "a", "n": 1, "more": {"k": [1]}, "flag": "true", "code": "0812", "late": None}
    assert [bad.where for bad in table.bad] == ["a.jsonl:2", "a.jsonl:4"]
    assert table.bad[0].reason.startswith("invalid JSON") and table.bad[1].reason == "JSON is nested too deeply"


def test_too_many_keys_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match="5,000 different keys, expected at most 4,096"):
        tables.read([write("a.jsonl", "\n".join(f'{{"k{number}": 1}}' for number in range(5_000)))])


# --- Parquet --------------------------------------------------------------------------------------------------------


def test_parquet_brings_its_own_types_and_class_names(tmp_path: Path) -> None:
    png = b"\x89PNG rest"
    data = pa.table({
        "text": pa.array(["a", "b", None]).dictionary_encode(),
        "label": [1, 0, 7],
        "image": [{"bytes": png, "path": "x"}] * 3,
        "day": pa.array([0, 1, 2], pa.timestamp("s")),
        "vector": [[1.0], [2.0], []],
    })  # fmt: skip
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["ham", "spam"]}}}}
    pq.write_table(data.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / "a.parquet")
    table = tables.read([tmp_path / "a.parquet"])
    assert table.kinds == {"text": "text", "label": "category", "image": "image", "day": "time", "vector": "json"}
    assert [table.row(at)["label"] for at in range(3)] == ["spam", "ham", None]  # 7 has no name
    assert table.codes("label").tolist() == [1, 0, -1] and table.classes("label") == ("ham", "spam")
    assert table.row(0)["image"] == png and table.row(0)["vector"] == [1.0]
    assert table.where(2) == "a.parquet:2"


def test_a_parquet_file_that_is_cut_off_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": list(range(1000))}), path)
    whole = path.read_bytes()
    for content in (whole[:-10], whole[:100], b"PAR1" * 3, b"text\nx\n"):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"a\.parquet is no whole Parquet file"):
            tables.read([path])
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), path)
    with pytest.raises(DataError, match=r"a\.parquet has no rows"):
        tables.read([path])


# --- several files, rows, refusals ----------------------------------------------------------------------------------


def test_files_are_joined_and_rows_keep_their_places(write: Write) -> None:
    paths = [write("a.csv", "x,y\n1,a\n2,b\n"), write("b.csv", "x,y\n3.5,c\nbad\n4,d\n")]
    table = tables.read(paths, ["part/a.csv", "b.csv"])
    assert table.kinds["x"] == "number"
    assert list(table.ids()) == ["part/a.csv:2", "part/a.csv:3", "b.csv:2", "b.csv:4"]
    assert [row["x"] for row in values(table)] == [1, 2, 3.5, 4]
    assert table.bad[0].where == "b.csv:3"
    with pytest.raises(DataError, match=r"c\.csv has the columns x, z, expected those of a\.csv: x, y"):
        tables.read([paths[0], write("c.csv", "x,z\n1,2\n")])


def test_refused_rows_are_counted_and_the_rest_stays_in_place(write: Write) -> None:
    table = tables.read([write("a.csv", "x,y\n" + "".join(f"{n},{'a' if n % 2 else ''}\n" for n in range(20)) + "1\n")])
    left = table.refuse(table.missing("y"), "no label")
    again = left.refuse(left.numbers("x").values > 10, lambda at: f"x is {left.row(at)['x']}")
    assert [row["x"] for row in values(again)] == [1, 3, 5, 7, 9]
    assert (again.num_bad, again.num_read, len(again.bad)) == (16, 21, 5)
    assert again.bad[0].reason == "1 field, expected 2" and again.bad[1].reason == "no label"
    assert [again.where(at) for at in range(5)] == ["a.csv:3", "a.csv:5", "a.csv:7", "a.csv:9", "a.csv:11"]
    assert again.refuse(np.zeros(5, bool), "nothing") is again


def test_rows_are_made_one_by_one_when_asked_for(write: Write) -> None:
    table = tables.read([write("a.csv", "name,x\n" + "".join(f"n{n},{n}\n" for n in range(10)))])
    made: list[str] = []

    def make(row: dict[str, Any], id: str) -> int:
        made.append(id)
        return int(row["x"])

    rows = table.rows(make, ["x"], id="name").take(np.array([7, 3, 5])).take(np.array([2, 0]))
    assert not made and list(rows.ids()) == ["n5", "n7"]
    assert rows[1] == 7 and made == ["n7"] and rows[-1] == 7 and list(rows) == [5, 7]
    with pytest.raises(IndexError):
        rows[2]


def test_classes_of_words_and_numbers_and_codes_into_others(write: Write) -> None:
    table = tables.read([write("a.csv", "word,n\nspam,10\nham,9\n,\nspam,10\n")])
    assert table.classes("word") == ("ham", "spam") and table.classes("n") == ("9", "10")
    assert table.codes("word").tolist() == [1, 0, -1, 1] and table.codes("n").tolist() == [1, 0, -1, 1]
    assert table.codes("word", ["spam", "eggs"]).tolist() == [0, -1, -1, 0]


def test_pictures_in_folders_are_rows_with_labels(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(name.encode())
    table = tables.loose(tmp_path, ["cat/1.png", "dog/2.png"])
    assert values(table) == [{"image": b"cat/1.png", "label": "cat"}, {"image": b"dog/2.png", "label": "dog"}]
    assert list(table.ids()) == ["cat/1.png", "dog/2.png"]


# --- the cache ------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache that every file goes through."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(columns, "IN_MEMORY", 0)
    return tmp_path / "cache/modelcommons/tables"


TEXT = "x,word\n" + "".join(f"{n},w{n}\n" for n in range(40_000)) + "1,2,3\n"


def test_a_large_file_is_converted_once_and_read_the_same(
    write: Write, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.csv", TEXT)
    first = tables.read([path])
    assert len(list(cache.iterdir())) == 2 and cache.parent.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(columns, "_open_csv", None)  # from now on only the cache can answer
    again = tables.read([path])
    monkeypatch.undo()
    plain = tables.read([path])
    for other in (first, again):
        assert (other.kinds, other.bad, other.num_bad) == (plain.kinds, plain.bad, plain.num_bad)
        assert other.column("word").equals(plain.column("word")) and list(other.ids()) == list(plain.ids())


def test_rows_and_columns_are_the_same_in_pieces_of_any_size(
    write: Write, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = ["", "inf", "7", "x", "-2.5"]
    path = write("a.csv", "x,y\n" + "".join(f"{n % 3},{cells[n % 5]}\n" for n in range(200)))
    drawn = np.random.default_rng(0).integers(0, 120, 90)
    seen = []
    for size in (1_000, 7):  # all at once; in pieces that end in the middle of chunks
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache / str(size)))
        monkeypatch.setattr(columns, "BATCH_ROWS", size + 2)
        monkeypatch.setattr(tables, "AT_ONCE", size)
        monkeypatch.setattr(tables, "FEW", size)
        whole = tables.read([path])
        refused = whole.refuse(np.arange(200) % 5 == 3, "y is a word")
        for table in (whole, refused):
            numbers = table.numbers("y")
            rows = table.rows(lambda values, id: (id, values["x"], values["y"]), id="y")
            ids = (list(table.ids()), list(table.ids(None, drawn)), list(rows.take(drawn).ids()))
            codes = (table.codes("x").tolist(), table.codes("x", ["2"]).tolist(), table.codes("y").tolist())
            seen.append((repr(numbers.values.tolist()), numbers.bad.tolist(), numbers.first, codes, ids, values(table)))
    assert seen[:2] == seen[2:] and seen[0] != seen[1]


def test_changed_content_is_read_anew_and_what_nobody_reads_is_forgotten(write: Write, cache: Path) -> None:
    path = write("a.csv", "x\n1\n")
    tables.read([path])
    write("a.csv", "x\n2\n")
    assert tables.read([path]).row(0) == {"x": 2}
    assert len(list(cache.glob("*.arrow"))) == 2
    for about in cache.glob("*.json"):
        os.utime(about, (0, time.time() - columns.KEPT_SECONDS - 60))
    write("a.csv", "x\n3\n")
    assert tables.read([path]).row(0) == {"x": 3}
    assert len(list(cache.glob("*.arrow"))) == 1


def test_an_interrupted_conversion_leaves_nothing(write: Write, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.csv", TEXT)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(columns, "_kind", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        tables.read([path])
    assert list(cache.iterdir()) == []
    assert len(tables.read([path])) == 40_000


def test_a_replacement_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        part.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_the_cache_is_for_its_owner_only(cache: Path) -> None:
    assert cache_folder("tables") == cache and cache.parent.stat().st_mode & 0o777 == 0o700


def test_a_row_is_found_without_going_through_all_chunks() -> None:
    asked: list[int] = []

    class Chunk(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            asked.append(index)
            return super().__getitem__(index)

        def __len__(self) -> int:
            asked.append(-1)
            return super().__len__()

    column = SimpleNamespace(chunks=[Chunk(map(pa.scalar, range(3 * at, 3 * at + 3))) for at in range(100)])
    cells = tables._Cells(column)  # type: ignore[arg-type]
    asked.clear()
    assert [cells[row] for row in (0, 2, 3, 298, 299)] == [0, 2, 3, 298, 299] and asked == [0, 2, 0, 1, 2]


def test_rows_of_many_chunks_are_those_of_one() -> None:
    column = pa.chunked_array([[f"{at}", None] for at in range(60)])
    cells, whole = tables._Cells(column), column.to_pylist()
    some = np.random.default_rng(0).permutation(120)
    assert cells.picked(some) == [whole[at] for at in some] == [cells[int(at)] for at in some]
