"""names: the one gate, asked directly: the whole hostile corpus is refused, and what people use passes unchanged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_hostile_names import NAMES, PATHS, REVISIONS

from modelcommons.errors import Unprocessable
from modelcommons.hub import names


def text(case: bytes) -> str:
    return case.decode("utf-8", "surrogateescape")


def passed(gate: Callable[[str], str], cases: list[bytes]) -> list[bytes]:
    """The cases that a gate lets through."""
    found = []
    for case in cases:
        try:
            gate(text(case))
        except Unprocessable:
            continue
        found.append(case)
    return found


def test_hostile_paths_are_refused() -> None:
    assert passed(names.path, PATHS) == []
    # a folder may end in a slash, and the root is one
    assert set(passed(names.folder, PATHS)) == {b"", b"/", b"a/"}


def test_hostile_names_are_refused() -> None:
    assert passed(names.repo_name, NAMES) == []
    assert {case.lower() for case in passed(names.account, NAMES)} <= {b"a.git", b"x.ipynb"}


def test_hostile_revisions_are_refused() -> None:
    assert passed(names.revision, REVISIONS) == []
    assert passed(names.ref_name, REVISIONS) == []


@pytest.mark.parametrize(
    "path",
    [
        "README.md", ".gitattributes", ".gitignore", "data/train-00000-of-00003.parquet",
        "a b/c (1).txt", "数据/中文.txt", "naïve/Ärger.txt", "x" * 255, "/".join(["d"] * 32), "50%25.txt", "#1.txt",
        "a&b=c;d.txt", "..a", "a..b", "...a",
        "git", "control", "console.txt", "auxiliary", "emoji 🙂.png", "a'b.txt", "[x]{y}.txt", "~a",
        "$HOME", "-rf", ".git2",
    ],
)  # fmt: skip
def test_a_path_that_people_use_passes_unchanged(path: str) -> None:
    assert names.path(path) == path and names.folder(path + "/") == path


@pytest.mark.parametrize("name", ["bert-base-uncased", "Llama-3.1-8B", "a", "A1", "x_y.z", "gpt2", "x" * 96])
def test_a_name_that_people_use_passes(name: str) -> None:
    assert names.repo_name(name) == name == names.account(name)


@pytest.mark.parametrize(
    "name",
    [
        "main", "refs/heads/main", "refs/tags/v1.0", "refs/pr/12", "feature/a-b_c", "v1.0+cpu", "0" * 40, "a@b",
        "x" * 128,
    ],
)  # fmt: skip
def test_a_revision_that_people_use_passes(name: str) -> None:
    assert names.revision(name) == name


@given(st.text(max_size=40))
def test_what_passes_is_a_path_below(path: str) -> None:
    """No text whatever: what the gate lets through stays below the folder it is joined to, and passes again."""
    try:
        assert names.path(path) == path
    except Unprocessable:
        return
    assert not {"", ".", ".."} & set(path.split("/"))
    assert not set("\\:\0\n") & set(path)


@given(st.text(alphabet="aA.-_/@{}~^:*?[\\ \x7f~éß0", max_size=12))
def test_git_takes_every_ref_that_passes(name: str) -> None:
    """As git's own check-ref-format, by its rules (git-check-ref-format(1))."""
    try:
        names.ref_name(name)
    except Unprocessable:
        return
    assert not any(part.startswith(".") or part.endswith((".lock", ".")) or not part for part in name.split("/"))
    assert not set(name) & set(" ~^:?*[\\\x7f") and ".." not in name and "@{" not in name and name != "@"
    assert not name.startswith("-")
