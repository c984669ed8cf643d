"""the gate for YAML: every bomb refused; values read by the core schema, and written so that they come back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcommons.errors import FormatError
from modelcommons.formats import yaml

BOMBS = {
    "billion laughs": "a: &a [x, x]\n"
    + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
    "merge bomb": "a: &a {k: 1}\nb: {<<: [*a, *a]}\n",
    "merge key without an anchor": "b: {<<: {a: 1}}\n",
    "a long sexagesimal number": "a: " + "1:" * 60_000 + "1",
    "400 KB": "a: " + "1:" * 200_000 + "1",
    "deep lists": "[" * 100_000,
    "deep mappings": "{a: " * 20_000,
    "deep block lists": "- " * 60_000,
    "deep questions": "? " * 60_000,
    "many keys": "".join(f"k{number}: 1\n" for number in range(12_000)),
    "1 MB of keys": "".join(f"k{number}: 1\n" for number in range(100_000)),
    "many items": "[" + "a," * 60_000 + "]",
    "a long key": "a" * 120_000 + ": 1",
    "a long questioned key": "? " + "a" * 30_000 + "\n: 1",
    "a long quoted text": "a: '" + "\n" * 120_000 + "'",
    "a long plain text": "a: " + "b " * 60_000,
    "a long block text": "a: |\n" + " b\n" * 40_000,
    "many documents": "---\na\n" * 20_000,
    "code": "!!python/object/apply:os.system [id]",
    "a tagged text": "a: !!binary aGk=",
    "an anchor": "a: &a 1",
    "an alias as a key": "*a : 1",
    "the same key twice": "a: 1\na: 2",
    "a list as a key": "[a]: 1",
    "a tab": "a:\n\t- 1",
    "two colons": "a: b: c",
    "no end": "a: [1",
    "no UTF-8": b"\xff\xfe",
    "a zero byte": "a: \x00",
    "half a character": "a: \ud800",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(name: str) -> None:
    with pytest.raises(FormatError) as caught:
        yaml.load(BOMBS[name], "bomb.yaml")
    assert str(caught.value).startswith("bomb.yaml:") and len(str(caught.value)) < 300


def test_values_are_those_of_the_core_schema() -> None:
    text = "{a: no, b: 1e-3, c: '1', d: ~, e: [x, 0o17, 0x1F], f: 12:30, g: 2024-01-01, h: TRUE, i: .inf, j: 007, 1: k}"
    assert yaml.load(text, "x.yaml") == {
        "a": "no", "b": 1e-3, "c": "1", "d": None, "e": ["x", 15, 31], "f": "12:30", "g": "2024-01-01", "h": True,
        "i": ".inf", "j": 7, "1": "k",
    }  # fmt: skip
    assert yaml.load("", "x.yaml") is None
    assert yaml.load("\ufeffa: 1\r\nb: 2\r\n", "x.yaml") == {"a": 1, "b": 2}


def test_each_key_and_item_knows_its_line() -> None:
    document = yaml.read("a: 1\nb:\n  c: [x,\n    y]\n  d:\n  - z\n", "x.yaml")
    assert document.lines == {
        ("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "c", 0): 3, ("b", "c", 1): 4, ("b", "d"): 5, ("b", "d", 0): 6,
    }  # fmt: skip


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT.filter(lambda key: len(key) < 100), inner),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_is_written_comes_back(value: object) -> None:
    assert yaml.load(yaml.dump(value), "x.yaml") == value


@pytest.mark.parametrize(
    "text", ["1e-3", "no", "12:30", "null", "", " x", "a\nb", "\x85", "0x1F", "#", "${A}", "- a", "'"]
)
def test_a_text_stays_a_text(text: str) -> None:
    assert yaml.load(yaml.dump({"key": text}), "x.yaml") == {"key": text}
