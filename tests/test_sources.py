"""sources: a name becomes files on this machine, digested; with their licence, and without a connection when cached."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_hub import TOKEN, Repo, SmallHub, small_hub

from modelcommons.errors import DataError, MissingPackage, NotFound, UnsafeFile
from modelcommons.formats import tables
from modelcommons.formats.digest import folder_sha256, sha256
from modelcommons.workbench import sources
from modelcommons.workbench.sources import about, bundled, hub
from modelcommons.workbench.task import Source


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text,label\na,x\nb,y\n")
    return folder


def splits(source: Source) -> dict[str, str | None]:
    return {file.path: file.split for file in source.files}


# --- files and folders ----------------------------------------------------------------------------------------------


def test_one_file_is_all_of_the_data_whatever_its_name(tmp_path: Path) -> None:
    made(tmp_path, "test.csv", "other.csv")
    source = sources.find(str(tmp_path / "test.csv"))
    assert splits(source) == {"test.csv": None}
    assert source.files[0].sha256 == sha256((tmp_path / "test.csv").read_bytes())
    assert source.sha256 == folder_sha256(tmp_path, ["test.csv"])


FOLDERS: dict[tuple[str, ...], dict[str, str | None]] = {
    ("train.csv", "test.csv", "notes.csv"): {"train.csv": "train", "test.csv": "test"},
    ("a.csv", "b.csv"): {"a.csv": None, "b.csv": None},
    ("data/train-00000-of-00001.parquet", "train.csv"): {"data/train-00000-of-00001.parquet": "train"},
    ("training.jsonl", "dev.jsonl", "evaluation.jsonl"): {
        "training.jsonl": "train", "dev.jsonl": "validation", "evaluation.jsonl": "test",
    },
    ("train/cat/1.png", "test/dog/2.png"): {"train/cat/1.png": "train", "test/dog/2.png": "test"},
    ("cat/test.png", "dog/1.png"): {"cat/test.png": None, "dog/1.png": None},  # a picture's own name says nothing
    ("test/1.png", "train/2.png"): {"test/1.png": None, "train/2.png": None},  # nor does its class
    ("latest.csv", "contest.csv"): {"latest.csv": None, "contest.csv": None},
    (".hidden/train.csv", "_old/train.csv", "a.csv", "read.me"): {"a.csv": None},
}  # fmt: skip


@pytest.mark.parametrize("names", FOLDERS)
def test_the_data_of_a_folder_and_its_parts(tmp_path: Path, names: tuple[str, ...]) -> None:
    made(tmp_path, *names)
    assert splits(sources.find(str(tmp_path))) == FOLDERS[names]


def test_a_card_beside_the_data_rules(tmp_path: Path) -> None:
    made(tmp_path, "old/train.csv", "new/a.csv", "new/b.csv")
    (tmp_path / "README.md").write_text(
        "---\nlicense: cc-by-4.0\nconfigs:\n- config_name: old\n  data_files: old/*.csv\n- config_name: default\n"
        "  data_files:\n  - {split: train, path: new/a.csv}\n  - {split: test, path: [new/b.csv, none.csv]}\n---\n# x\n"
    )
    source = sources.find(str(tmp_path))
    assert splits(source) == {"new/a.csv": "train", "new/b.csv": "test"} and source.licence == "cc-by-4.0"


def test_the_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    before = sources.find(str(made(tmp_path / "a", "train.csv", "test.csv"))).sha256
    assert sources.find(str(made(tmp_path / "b", "train.csv", "test.csv"))).sha256 == before
    with (tmp_path / "b/train.csv").open("a") as file:
        file.write("c,x\n")
    assert sources.find(str(tmp_path / "b")).sha256 != before
    (tmp_path / "a/test.csv").rename(tmp_path / "a/valid.csv")
    assert sources.find(str(tmp_path / "a")).sha256 != before


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("read.me", DataError, "expected a folder, or a file that ends in .parquet"),
        ("empty", DataError, "has no data files"),
        ("no/such/folder", NotFound, "Expected a file or folder at"),
        ("nothing.csv", NotFound, "Expected a file or folder at"),
    ],
)
def test_what_is_no_data_is_said_so(tmp_path: Path, name: str, error: type[Exception], words: str) -> None:
    (tmp_path / "empty").mkdir()
    made(tmp_path, "read.me")
    with pytest.raises(error, match=words):
        sources.find(str(tmp_path / name))


def test_a_folder_of_far_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelcommons.workbench.sources.local.MOST_FILES", 3)
    made(tmp_path, *(f"{number}.csv" for number in range(4)))
    with pytest.raises(DataError, match="more than 3 files"):
        sources.find(str(tmp_path))


# --- licences -------------------------------------------------------------------------------------------------------

MIT = "Permission is hereby granted, free of charge, ... The above copyright notice and this permission\nnotice shall"


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("LICENSE", MIT, "MIT"),
        ("LICENCE.txt", "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0"),
        ("COPYING", "Creative Commons Attribution 4.0 International", "CC-BY-4.0"),
        ("LICENSE", "All rights reserved.", None),
        ("README.md", "---\nlicense: mit\n---\n", "mit"),
        ("README.md", "---\nlicense: other\nlicense_name: ada-1.0\n---\n", "ada-1.0"),
        ("README.md", "---\nlicense: unknown\n---\n", None),
        ("README.md", "---\nlicense: [mit]\n---\n", "mit"),
        ("README.md", "---\nlicense: [mit, gpl]\n---\n", None),
        ("README.md", "---\na: &a [*a]\n---\n", None),
        (
            "_meta.json",
            json.dumps({"licence": "Apache-2.0", "commit": "abc", "source": "github.com/ada/x (y)"}),
            "Apache-2.0",
        ),
        ("_meta.json", "[" * 100_000, None),
    ],
)
def test_a_licence_is_what_the_folder_says(tmp_path: Path, name: str, text: str, licence: str | None) -> None:
    made(tmp_path, "a.csv")
    (tmp_path / name).write_text(text)
    assert about.read(tmp_path).licence == licence
    found = sources.find(str(tmp_path), licence="cc0-1.0")
    assert found.licence == (licence or "cc0-1.0")  # the recipe's word counts where the source says nothing
    if licence == "Apache-2.0":
        assert (found.revision, found.homepage) == ("abc", "https://github.com/ada/x")


def test_a_licence_beside_one_file_may_be_of_something_else(tmp_path: Path) -> None:
    made(tmp_path, "a.csv")
    (tmp_path / "LICENSE").write_text(MIT)
    assert sources.find(str(tmp_path / "a.csv")).licence is None


# --- bundled --------------------------------------------------------------------------------------------------------

# name -> rows, and the digest that a receipt names: the bytes may not depend on the machine
BUNDLED = {
    "digits": (1797, "cdd1d2ea1d2246a64d8ef527d00a70ef0bb47d3c6be8ecbc95097c33c64e9d81"),
    "digit-scenes": (400, "6e5ac6b2358741df83a057e0c7464eb563544847b0c9196d2f5c005d709f572f"),
    "breast-cancer": (569, ""), "macrodata": (203, ""), "elnino": (732, ""), "nile": (100, ""),
    "diabetes": (442, "15119b71799558447522c002b3ef626db6f05ef30b90fd32b6bf10ff774f56d1"),
    "wine": (178, "8c0e75a5e94848a0c854def3749e3c4e04ef839781eb447e39113cd3ae769883"),
    "iris": (150, "52e5b9da9ab64b9f36054106550480cee02571c30de383c6bf47e06f61231d3d"),
    "sunspots": (309, "a1a36acf63ded11687d6f307dfa24ab7f0360d272fef942aa824b87e6eace30a"),
    "morse": (576, "a136e8bd6d829c2994071b897a111d397009716ca563c2094e34bb5a45f2d6c1"),
    "morse-messages": (160, "324e092dac6b7459731aa8c9a60618182074f2a7b6521940227769c178634aa6"),
    "tunes": (120, "16af20427eee87d909cb14656bc8e06ba0a7bdc714879afbad7d2a99f1d39f20"),
    "co2": (2284, "1b9c728e12363b1b1cde1ea3ae75e97094ff157ace3d6599e9c23828c3eb3898"),
}  # fmt: skip


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/modelcommons/bundled"


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_data_is_whole_and_has_the_bytes_it_always_had(cache: Path, name: str) -> None:
    source = sources.find(f"bundled:{name}")
    num_rows, sha256 = BUNDLED[name]
    (table,) = tables.read_source(source).values()
    assert (len(table), table.num_bad) == (num_rows, 0)
    assert source.sha256.startswith(sha256)
    assert source.licence and source.homepage and source.revision and "==" in source.revision


def test_bundled_data_is_written_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sources.find("bundled:iris")
    monkeypatch.setattr(bundled, "_write", None)
    assert sources.find("bundled:iris") == first and first.folder.is_relative_to(cache)


def test_python_docs_come_with_python() -> None:
    source = sources.find("bundled:python-docs")
    table = tables.read_source(source)["all"]
    assert len(table) > 1_000 and source.licence == "PSF-2.0" and table.num_bad == 0


def test_imports_come_with_python() -> None:
    source = sources.find("bundled:python-imports")
    table = tables.read_source(source)["all"]
    assert len(table) > 1_000 and source.licence == "PSF-2.0" and table.num_bad == 0
    assert {"os", "sys"} < set(table.column("item").to_pylist()) < set(sys.stdlib_module_names)


def test_tables_of_items_and_users_stand_beside_the_data(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv", "items.csv", "notes.csv"):
        (tmp_path / name).write_text("a,b\n1,2\n")
    found = {file.path: file.split for file in sources.find(str(tmp_path)).files}
    assert found == {"items.csv": "beside", "test.csv": "test", "train.csv": "train"}
    assert set(tables.read_source(sources.find(str(tmp_path)))) == {"train", "test"}
    for name in ("train.csv", "test.csv", "notes.csv"):
        (tmp_path / name).unlink()
    assert [file.split for file in sources.find(str(tmp_path)).files] == [None]  # nothing is there for it to describe


def test_an_interrupted_writing_leaves_no_half_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def files() -> Iterator[tuple[str, bytes]]:
        yield "a.csv", b"text\nx\n"
        raise KeyboardInterrupt

    monkeypatch.setitem(bundled.SETS, "half", bundled.Bundled("python", "MIT", "", "", files))
    with pytest.raises(KeyboardInterrupt):
        sources.find("bundled:half")
    assert list(cache.iterdir()) == []


def test_an_unknown_name_and_a_missing_package_are_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match=r"no bundled data 'digit'\. Did you mean 'digits'\?"):
        sources.find("bundled:digit")
    with pytest.raises(NotFound, match="Known: digits, breast-cancer"):
        sources.find("bundled:qqq")
    monkeypatch.setitem(bundled.SETS, "x", bundled.Bundled("no-such-package", "MIT", "", "", lambda: iter(())))
    with pytest.raises(MissingPackage, match="pip install no-such-package"):
        sources.find("bundled:x")


# --- the hub --------------------------------------------------------------------------------------------------------


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., SmallHub]]:
    """A hub on loopback, an empty cache of the client's, and a verb that commits files to a repository."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with small_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)

        def commit(name: str, files: dict[str, bytes]) -> SmallHub:
            repo = server.repos.setdefault(name, Repo(private=False))
            repo.commits.append((sha256(repr(files).encode())[:40], files))
            return server

        yield commit


CARD = b"---\nlicense: cc-by-4.0\n---\n# News\n"
NEWS = {"train.csv": b"text,label\na,x\n", "test.csv": b"text,label\nb,y\n", "README.md": CARD, "model.bin": b"pickle",
        "news.py": b"import os"}  # fmt: skip


def test_a_hub_data_set_is_pinned_to_its_commit_and_only_its_data_is_fetched(put: Callable[..., SmallHub]) -> None:
    server = put("ada/news", NEWS)
    source = sources.find("ada/news")
    assert splits(source) == {"test.csv": "test", "train.csv": "train"}
    assert source.revision == server.repos["ada/news"].head[0]
    assert (source.licence, source.homepage) == ("cc-by-4.0", f"{server.url}/datasets/ada/news")
    assert {name for name in server.asked if name.startswith("file")} <= {
        f"file {n}" for n in ("README.md", *splits(source))
    }
    assert not (source.folder / "news.py").exists() and not (source.folder / "model.bin").exists()


def test_a_revision_is_what_was_asked_for(put: Callable[..., SmallHub]) -> None:
    server = put("ada/news", NEWS)
    old = server.repos["ada/news"].head[0]
    put("ada/news", NEWS | {"train.csv": b"text,label\nc,z\n"})
    new, before = sources.find("ada/news"), sources.find("ada/news", old)
    assert (before.revision, new.revision) == (old, server.repos["ada/news"].head[0]) and before.sha256 != new.sha256
    assert before.folder.joinpath("train.csv").read_bytes() == NEWS["train.csv"]
    with pytest.raises(NotFound, match="ada/news has no revision 'v9'"):
        sources.find("ada/news", "v9")


def test_without_a_connection_the_cache_answers(put: Callable[..., SmallHub], monkeypatch: pytest.MonkeyPatch) -> None:
    server = put("ada/news", NEWS)
    online = sources.find("ada/news")
    num_asked = len(server.asked)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse_to_connect)
    offline = sources.find("ada/news")
    assert offline == online and sources.find("ada/news", online.revision) == online
    assert len(server.asked) == num_asked
    with pytest.raises(
        NotFound, match=r"'ada/other': no such folder is here, it is not in the cache, and .* cannot be reached"
    ):
        sources.find("ada/other")
    (online.folder / "train.csv").unlink()  # a cache that lost a file is no cache
    with pytest.raises(NotFound, match="it is not in the cache"):
        sources.find("ada/news")


def test_the_client_writes_nothing_between_our_lines(
    put: Callable[..., SmallHub], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    listener = logging.Handler()
    monkeypatch.setattr(listener, "emit", lambda record: said.append(record.getMessage()))
    client = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(client, "handlers", [*client.handlers, listener])
    put("ada/bare", {"train.csv": NEWS["train.csv"]})  # neither card nor licence
    assert sources.find("ada/bare").licence is None and not said


def refuse_to_connect(*_: object, **__: object) -> None:
    raise hub._transport_error()("no route to host")


def test_the_network_itself_may_be_gone(put: Callable[..., SmallHub], monkeypatch: pytest.MonkeyPatch) -> None:
    put("ada/news", NEWS)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(NotFound, match=r"cannot be reached .*Connect once, or name a folder"):
        sources.find("ada/news")


def test_parquet_of_a_hub_data_set_with_parts(put: Callable[..., SmallHub], tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), tmp_path / "x.parquet")
    raw = (tmp_path / "x.parquet").read_bytes()
    put("ada/big", {f"data/{part}-0000{n}.parquet": raw for part in ("train", "test") for n in range(2)})
    parts = tables.read_source(sources.find("ada/big"))
    assert {split: len(table) for split, table in parts.items()} == {"train": 4, "test": 4}


def test_a_data_set_that_is_a_script_is_never_run(put: Callable[..., SmallHub]) -> None:
    put("ada/script", {"script.py": b"open('/tmp/ran', 'w')", "README.md": CARD})
    with pytest.raises(UnsafeFile, match="scripts are never executed"):
        sources.find("ada/script")
    put("ada/empty", {"README.md": CARD})
    with pytest.raises(DataError, match="ada/empty has no data files"):
        sources.find("ada/empty")


def test_an_unknown_data_set_is_not_there_or_not_for_you(put: Callable[..., SmallHub]) -> None:
    with pytest.raises(NotFound, match=r"There is no dataset 'ada/none' at .*hf auth login"):
        sources.find("ada/none")


def test_a_name_from_the_hub_cannot_reach_a_file_of_this_machine(put: Callable[..., SmallHub], tmp_path: Path) -> None:
    mine = made(tmp_path / "mine", "train.csv") / "train.csv"
    for name in (str(mine), "../../../train.csv", "a/../../../../../mine/train.csv", "..\\train.csv"):
        put("ada/evil", {name: b"text,label\na,x\n"})
        with pytest.raises(DataError, match="ada/evil has no data files"):
            sources.find("ada/evil")
