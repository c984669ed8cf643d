"""bad input: whatever is wrong with it, the command says it in a sentence, ends with 2, and leaves nothing."""

from __future__ import annotations

import json
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from called import Commons, Told

TEXT = "task: text-classification\nmodel: {new: bag}\ndata: {source: ./data.csv, license: cc0-1.0}\n"
SERIES = TEXT.replace("text-classification", "time-series-forecasting").replace("bag", "linear")
IMAGE = TEXT.replace("text-classification", "image-classification").replace("bag", "cnn").replace("data.csv", "data")
MODEL = "task: text-classification\nmodel: {from: ./model}\ndata: {source: ./data.csv, license: cc0-1.0}\n"
GOOD = "text,label\n" + "".join(f"this is text number {n},{'odd' if n % 2 else 'even'}\n" for n in range(60))


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that cannot be reached."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def lay(files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def listing() -> set[str]:
    return {path.as_posix() for path in Path().rglob("*")}


def sentence(told: Told) -> str:
    """The one sentence, without the lines of finished stages before it."""
    *before, last = told.err.splitlines()
    assert all(line.split(" ")[0] in ("get", "prepare") for line in before), told.err
    assert told.code == 2 and told.out == "" and "Traceback" not in told.err
    assert last[-1] in ".?", f"ends like a sentence: {last}"
    assert "a mistake of ours" not in last
    return last


# --- data -----------------------------------------------------------------------------------------------------------


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG file that says it is so large; its pixels may be missing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def pictures(**broken: bytes) -> dict[str, str | bytes]:
    """Two classes of 8x8 pictures; `broken` replaces or adds files of class a."""
    good = {f"data/{name}/{n}.png": png(8, 8, (b"\0" + bytes([n]) * 8) * 8) for name in "ab" for n in range(12)}
    return {**good, **{f"data/a/{name}.png": content for name, content in broken.items()}}


def series(*rows: str) -> str:
    days = [f"2024-{1 + n // 28:02}-{1 + n % 28:02},{n % 7}" for n in range(28)]
    return "\n".join(["date,value", *days, *rows]) + "\n"


# what is wrong -> recipe, files, and what is said of it
DATA: dict[str, tuple[str, dict[str, str | bytes], str]] = {
    "an empty file": (TEXT, {"data.csv": ""}, "data.csv is empty. Expected a header and rows."),
    "a header only": (
        TEXT,
        {"data.csv": "text,label\n"},
        "data.csv has no rows. Expected a header and at least one row.",
    ),
    "a column that is not there": (
        TEXT.replace("cc0-1.0", "cc0-1.0, columns: {text: body}"),
        {"data.csv": GOOD},
        "data.columns.text: there is no column 'body'. The columns are text, label.",
    ),
    "no column of labels": (
        TEXT,
        {"data.csv": GOOD.replace("label", "mark")},
        "Expected a column of labels, found none among text, mark. Name it in the recipe: data.columns.label.",
    ),
    "one class": (
        TEXT,
        {"data.csv": GOOD.replace("odd", "even")},
        "Expected at least two classes in 'label', found 1: even. Give texts of another class too, "
        "or name another column: data.columns.label.",
    ),
    "labels that are missing, NaN or infinite": (
        TEXT,
        {"data.csv": GOOD + "one,\ntwo,nan\nthree,NaN\nfour,-inf\n"},
        "4 of 64 rows cannot be used (data.csv:62: no label in column 'label'; ",
    ),
    "rows with too many cells": (
        TEXT,
        {"data.csv": GOOD + "a,b,c\nd,e,f\n"},
        "2 of 62 rows cannot be used (data.csv:62: 3 fields, expected 2; data.csv:63: 3 fields, expected 2). "
        "Mend them, or leave them out: data.allow_bad_rows: 0.033.",
    ),
    "a quote that is never closed": (
        TEXT,
        {"data.csv": GOOD + '"open,odd\nand on,even\n'},
        "(data.csv:62: a quote is opened and not closed). Mend",
    ),
    "mixed encodings": (
        TEXT,
        {"data.csv": GOOD.encode() + "caffè,odd\n".encode() + "naïve,odd\n".encode("latin-1")},
        "data.csv:63, byte 3 is not UTF-8 (it looks like Windows-1252), while other lines are: "
        "the file mixes encodings. "
        "Convert its parts to UTF-8 one by one, then join them.",
    ),
    "another encoding": (
        TEXT,
        {"data.csv": GOOD.encode() + "激活我的卡,odd\n".encode("gb18030")},
        "data.csv:62, byte 1 is not UTF-8; it looks like GB18030. Convert it: iconv -f GB18030 -t UTF-8 OLD > NEW.",
    ),
    "UTF-16": (
        TEXT,
        {"data.csv": GOOD.encode("utf-16")},
        "data.csv:1 begins with the mark of UTF-16, expected UTF-8. ",
    ),
    "NUL bytes": (
        TEXT,
        {"data.csv": GOOD.encode() + b"a\0b,odd\n"},
        "data.csv:62 holds a NUL byte, expected UTF-8 text.",
    ),
    "a picture called csv": (TEXT, {"data.csv": png(8, 8)}, "data.csv is a PNG picture, expected UTF-8 text."),
    "a folder without data": (
        TEXT.replace("data.csv", "data"),
        {"data/a.doc": ""},
        "has no data files. Expected some that",
    ),
    "a kind of file nobody reads": (
        TEXT.replace("csv", "xlsx"),
        {"data.xlsx": ""},
        "data.xlsx: expected a folder, or a file",
    ),
    "JSON Lines that are not JSON": (
        TEXT.replace("csv", "jsonl"),
        {"data.jsonl": '{"text": "a", "label"\n' * 9},
        "data.jsonl has no rows; none of its 9 lines could be read (data.jsonl:1: invalid JSON (Expecting ",
    ),
    "JSON Lines that are a bomb": (
        TEXT.replace("csv", "jsonl"),
        {"data.jsonl": '{"text": "a", "label": "b"}\n{"text": "b", "label": "c"}\n' + "[" * 100_000 + "\n"},
        "data.jsonl:3: JSON is nested too deeply",
    ),
    "Parquet that is cut off": (
        TEXT.replace("csv", "parquet"),
        {"data.parquet": b"PAR1" + bytes(50)},
        "data.parquet is no whole Parquet file",
    ),
    "no such file": (TEXT, {}, "data.csv, found nothing. Check the path, or name a hub data set."),
    "a hub data set without a connection": (
        TEXT.replace("./data.csv", "nobody/nothing"),
        {},
        "Expected the dataset 'nobody/nothing': no such folder is here, it is not in the cache, and "
        "http://127.0.0.1:9 cannot be reached "
        "(ConnectError). Connect once, or name a folder.",
    ),
    "NaN in a series": (
        SERIES,
        {"data.csv": series("2024-01-29,NaN", "2024-01-30,nan")},
        "2 of 30 rows cannot be used (data.csv:30: value is 'nan', expected a finite number; data.csv:31: ",
    ),
    "infinities in a series": (
        SERIES,
        {"data.csv": series("2024-01-29,inf", "2024-01-30,-Infinity", "2024-01-31,1e999")},
        "3 of 31 rows cannot be used (data.csv:30: value is 'inf', expected a finite number; data.csv:31: value is '",
    ),
    "words in a series": (SERIES, {"data.csv": series("2024-01-29,many")}, "(data.csv:30: value is 'many', expected a"),
    "no times in a series": (
        SERIES,
        {"data.csv": "a,b\n" + "1.5,2.5\n" * 50},
        "Expected a time column; none of a, b is named or looks like one. Name it: data.columns: {time: NAME}.",
    ),
    "no numbers in a series": (
        SERIES,
        {"data.csv": "date,b\n" + "".join(f"2024-01-{n:02},x\n" for n in range(1, 29))},
        "Expected at least one column of numbers beside 'date'; the columns are date, b. Write numbers as 1234.5,",
    ),
    "a time twice": (
        SERIES,
        {"data.csv": series("2024-01-03,5")},
        "(data.csv:30: time stamp 2024-01-03 00:00:00 came before",
    ),
    "a series that is too short": (
        SERIES,
        {"data.csv": series()},
        "Expected at least 24 training steps to forecast 12; data.csv leaves 4 of its 28. Give more data, or a smaller",
    ),
    "a corrupt picture": (
        IMAGE,
        pictures(broken=b"\x89PNG\r\n\x1a\nrubbish"),
        "1 of 25 rows cannot be used (a/broken.png: expected a picture (PNG, JPEG, GIF, BMP, WEBP, TIFF), got other",
    ),
    "a picture that is cut off": (
        IMAGE,
        pictures(cut=png(8, 8, b"\0" * 20)),
        "(a/cut.png: expected a whole picture, got one that is cut off or corrupt (image file is truncated",
    ),
    "a text called png": (IMAGE, pictures(words=b"hello"), "(a/words.png: expected a picture"),
    "an empty picture": (IMAGE, pictures(empty=b""), "(a/empty.png: expected a picture"),
    "a picture that is a bomb": (
        IMAGE,
        pictures(bomb=png(60_000, 60_000)),
        "(a/bomb.png: expected at most 50,000,000 pixels, got many more). Mend",
    ),
    "pictures of one class": (
        IMAGE,
        {name: content for name, content in pictures().items() if "/b/" not in name},
        "Expected at least two classes in 'label', found 1: a. Give pictures of another class too,",
    ),
    "pictures of which none can be read": (
        IMAGE,
        {f"data/{name}/{n}.png": b"no" for name in "ab" for n in range(3)},
        "None of the pictures can be read; b/2.png: expected a picture",
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data_are_said_in_a_sentence(commons: Commons, case: str) -> None:
    recipe, files, words = DATA[case]
    lay({"recipe.yaml": recipe, **files})
    before = listing()
    assert words in sentence(commons("check", "recipe.yaml"))
    assert listing() == before, "checking writes nothing"


def test_a_run_that_is_refused_leaves_no_model(commons: Commons) -> None:
    lay({"recipe.yaml": TEXT, "data.csv": GOOD.replace("odd", "even")})
    told = commons("run", "recipe.yaml", "--folder", "run")
    assert "at least two classes" in sentence(told)
    assert {path.name for path in Path("run").iterdir()} <= {"lock", "recipe.yaml", "prepare"}
    assert not [path for path in Path().rglob("*") if path.name.endswith(".part")]


def test_with_json_the_sentence_is_a_value(commons: Commons) -> None:
    lay({"recipe.yaml": TEXT, "data.csv": ""})
    told = commons("check", "recipe.yaml", "--json", "-q")
    wanted = {"error": "DataError", "message": DATA["an empty file"][2], "exit_code": 2}
    assert (told.code, told.err, json.loads(told.out)) == (2, "", {"error": wanted})


# --- models ---------------------------------------------------------------------------------------------------------


class Canary:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, ("the-pickle-ran", "w")  # type: ignore[return-value]


def weights() -> bytes:
    from safetensors.numpy import save

    return save({"classifier.weight": np.zeros((4, 4), np.float32)})


CONFIG = json.dumps({"task": "text-classification", "model_type": "bert", "architectures": ["BertModel"]})
MODELS: dict[str, tuple[dict[str, str | bytes], str]] = {
    "no folder": ({}, "Expected a model folder"),
    "a folder without a model": ({"model/readme.txt": ""}, "Expected a model folder"),
    "weights cut off": (
        {"model/config.json": CONFIG, "model/model.safetensors": weights()[:-9]},
        "model.safetensors is cut off: its header",
    ),
    "weights cut off in the header": (
        {"model/config.json": CONFIG, "model/model.safetensors": weights()[:40]},
        "model.safetensors is cut off: its header",
    ),
    "weights that are empty": (
        {"model/config.json": CONFIG, "model/model.safetensors": b""},
        "model.safetensors is no safetensors file:",
    ),
    "a header that claims too much": (
        {"model/config.json": CONFIG, "model/model.safetensors": struct.pack("<Q", 2**60) + b"{}"},
        "expected a header of at most 16,777,216 bytes, it claims",
    ),
    "a pickle instead of safetensors": (
        {"model/config.json": CONFIG, "model/pytorch_model.bin": pickle.dumps(Canary())},
        "pytorch_model.bin is a pickle; loading it could run code, so it is never loaded. Ask for safetensors,",
    ),
    "a pickle called safetensors": (
        {"model/config.json": CONFIG, "model/model.safetensors": pickle.dumps(Canary())},
        "; loading it could run code. Ask for safetensors,",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_bad_models_are_said_in_a_sentence(commons: Commons, case: str) -> None:
    files, words = MODELS[case]
    lay({"recipe.yaml": MODEL, "data.csv": GOOD, **files})
    before = listing()
    assert words in sentence(commons("check", "recipe.yaml"))
    assert listing() == before, "nothing written, and no pickle ran"
    assert words in sentence(commons("predict", "./model", "a text"))
    assert listing() == before


def test_a_model_from_the_hub_without_a_connection(commons: Commons) -> None:
    lay({"recipe.yaml": MODEL.replace("./model", "nobody/nothing"), "data.csv": GOOD})
    words = (
        "Expected the model 'nobody/nothing': no such folder is here, it is not in the cache, and http://127.0.0.1:9"
    )
    assert sentence(commons("check", "recipe.yaml")).startswith(words)
    assert sentence(commons("predict", "nobody/nothing", "a text")).startswith(words)


# --- recipes --------------------------------------------------------------------------------------------------------

LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
RECIPES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "recipe.yaml: expected `key: value` lines, such as `task: image-classification`."),
    "an alias bomb": (LAUGHS, "recipe.yaml:1: expected values only, got the anchor `&a`. Write the value out."),
    "deep": ("a: " + "[" * 10_000, "recipe.yaml:1: expected at most"),
    "huge": ("a: " + "x" * 2**21, "recipe.yaml: expected at most"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(60_000)), "recipe.yaml"),
    "a tag that runs code": (
        "task: !!python/object/apply:os.system [id]\n",
        "recipe.yaml:1: expected values only, got the tag",
    ),
    "a merge key": (
        "a: {<<: {b: 1}}\n",
        "recipe.yaml:1: expected values only, got a merge key `<<`. Write the keys out.",
    ),
    "two documents": (TEXT + "---\n" + TEXT, "expected one document, got a second one after `---`."),
    "not UTF-8": (TEXT.encode() + b"# caf\xe9\n", "recipe.yaml: expected UTF-8, got another byte at"),
    "tabs": ("data:\n\tsource: x\n", "indent with spaces, not tabs."),
    "an unknown key": (TEXT + "tune: {epohcs: 3}\n", "recipe.yaml:4: tune.epohcs is not a key. Did you mean 'epochs'?"),
    "an unknown task": (TEXT.replace("text-class", "txt-class"), "Did you mean 'text-classification'?"),
    "an unknown architecture": (TEXT.replace("bag", "bga"), "Did you mean 'bag'?"),
    "an unknown protocol": (TEXT + "evaluate: {protocol: sms-spam/v9}\n", "sms-spam/v9"),
    "a variable that is not set": (
        TEXT.replace("./data.csv", "'${NOBODY}'"),
        "expected the environment variable NOBODY",
    ),
    "a parent that is not there": ("extends: other.yaml\n" + TEXT, "extends: there is no recipe at other.yaml."),
}


@pytest.mark.parametrize("case", RECIPES)
def test_bad_recipes_are_said_in_a_sentence(commons: Commons, case: str) -> None:
    recipe, words = RECIPES[case]
    lay({"recipe.yaml": recipe, "data.csv": GOOD})
    before = listing()
    for command in (("check",), ("run",), ("run", "--dry-run")):
        assert words in sentence(commons(*command, "recipe.yaml"))
    assert listing() == before


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tune.epochs", "command line: expected key=value, such as tune.epochs=3, got 'tune.epochs'."),
        ("tune.epohcs=3", "command line: tune.epohcs is not a key. Did you mean 'epochs'?"),
        ("tune.epochs=lots", "command line: tune.epochs: expected a number above 0 or 'auto', got 'lots'."),
        ("tune.epochs=[", "command line: tune.epochs:1: expected YAML:"),
        ("tune..epochs=3", "command line: expected key=value"),
        ("tune.epochs=!!python/name:os.system", "expected values only, got the tag"),
    ],
)
def test_bad_overrides_are_said_in_a_sentence(commons: Commons, override: str, words: str) -> None:
    lay({"recipe.yaml": TEXT, "data.csv": GOOD})
    assert words in sentence(commons("run", "recipe.yaml", override))


def test_a_recipe_that_is_not_there(commons: Commons) -> None:
    assert sentence(commons("run", "news.yaml")) == "There is no recipe at news.yaml. Write one: commons init TASK."
    Path("folder").mkdir()
    assert "Expected a recipe at folder, it cannot be read" in sentence(commons("check", "folder"))
