"""filesystem: HfFileSystem and hf:// addresses, as pandas, pyarrow and datasets use them."""

from __future__ import annotations

import random

from checks import TOKENS, WORK, api, fresh, main, raises
from huggingface_hub import CommitOperationAdd, HfFileSystem

DATA = random.Random(0).randbytes(3_000_000)


def made(kind: str = "model") -> str:
    repo = fresh(kind)
    operations = [CommitOperationAdd(path, path.encode()) for path in ("a.txt", "d/b.txt", "d/e/c.csv")]
    api().create_commit(
        repo, [*operations, CommitOperationAdd("d/large.bin", DATA)], commit_message="All", repo_type=kind
    )
    return repo


def files(who: str = "ada") -> HfFileSystem:
    return HfFileSystem(token=False if who == "nobody" else TOKENS[who], skip_instance_cache=True)


def check_ls_info_find_glob_walk() -> None:
    repo = made()
    fs = files()
    assert {path.removeprefix(repo + "/") for path in fs.ls(repo, detail=False)} == {".gitattributes", "a.txt", "d"}
    assert {path.removeprefix(repo + "/") for path in fs.find(repo)} == {
        ".gitattributes", "a.txt", "d/b.txt", "d/e/c.csv", "d/large.bin",
    }  # fmt: skip
    assert fs.glob(f"{repo}/d/**/*.csv") == [f"{repo}/d/e/c.csv"]
    info = fs.info(f"{repo}/d/large.bin")
    assert info["type"] == "file" and info["size"] == len(DATA) and info["lfs"]
    assert fs.info(f"{repo}/d")["type"] == "directory"
    assert next(names for _, names, _ in fs.walk(repo)) == ["d"]
    assert fs.exists(f"{repo}/a.txt") and not fs.exists(f"{repo}/none.txt") and fs.isdir(f"{repo}/d/e")
    assert fs.du(f"{repo}/d/e") == len("d/e/c.csv")
    with raises(FileNotFoundError):
        fs.ls(f"{repo}/none")
    with raises(FileNotFoundError):
        files("nobody").ls("ada/no-such-repository")


def check_open_and_seek() -> None:
    repo = made("dataset")
    fs = files()
    with fs.open(f"datasets/{repo}/d/large.bin", "rb", block_size=100_000) as file:
        assert file.read(10) == DATA[:10]
        assert file.seek(2_500_000) == 2_500_000 and file.read(1000) == DATA[2_500_000:2_501_000]
        assert file.seek(-5, 2) and file.read() == DATA[-5:]
        assert file.seek(0) == 0 and file.read() == DATA
    assert fs.read_text(f"datasets/{repo}/d/b.txt") == "d/b.txt"
    assert fs.cat_file(f"datasets/{repo}/d/large.bin", start=7, end=20) == DATA[7:20]
    with fs.open(f"datasets/{repo}/d/large.bin", "rb", block_size=0) as stream:
        assert stream.read(1_000_000) == DATA[:1_000_000]


def check_write_copy_remove() -> None:
    repo = made()
    fs = files()
    with fs.open(f"{repo}/new/w.txt", "wb") as file:
        file.write(b"written")
    assert fs.cat(f"{repo}/new/w.txt") == b"written"
    with fs.open(f"{repo}/new/large.bin", "wb") as file:
        for start in range(0, len(DATA), 1_000_000):
            file.write(DATA[start : start + 1_000_000])
    assert fs.cat(f"{repo}/new/large.bin") == DATA
    fs.cp_file(f"{repo}/new/w.txt", f"{repo}/copied.txt")
    fs.invalidate_cache()
    assert fs.cat(f"{repo}/copied.txt") == b"written"
    fs.rm(f"{repo}/copied.txt")
    fs.rm(f"{repo}/new", recursive=True)
    fs.invalidate_cache()
    assert not fs.exists(f"{repo}/copied.txt") and not fs.exists(f"{repo}/new")
    (WORK / "put.txt").write_text("put")
    fs.put_file(str(WORK / "put.txt"), f"{repo}/put.txt")
    fs.get_file(f"{repo}/put.txt", str(WORK / "got.txt"))
    assert (WORK / "got.txt").read_text() == "put"
    # PermissionError or the client's own, by version
    with raises(Exception), files("dan").open(f"{repo}/by-dan.txt", "wb") as file:
        file.write(b"x")


def check_revisions() -> None:
    repo = made()
    fs = files()
    first = api().model_info(repo).sha
    api().create_branch(repo, branch="other/one")
    with fs.open(f"{repo}@other%2Fone/a.txt", "wb") as file:
        file.write(b"changed")
    fs.invalidate_cache()
    assert fs.cat(f"{repo}@other%2Fone/a.txt") == b"changed"
    assert fs.cat(f"{repo}@{first}/a.txt") == fs.cat(f"{repo}/a.txt") == b"a.txt"
    assert fs.cat(f"hf://{repo}/a.txt") == b"a.txt"
    with raises(FileNotFoundError):
        fs.ls(f"{repo}@no-such")


def check_pandas_reads_and_writes() -> None:
    import pandas

    repo = fresh("dataset")
    frame = pandas.DataFrame({"n": range(1000), "word": [f"word {i}" for i in range(1000)]})
    frame.to_parquet(f"hf://datasets/{repo}/frame.parquet")
    frame.to_csv(f"hf://datasets/{repo}/frame.csv", index=False)
    pandas.testing.assert_frame_equal(pandas.read_parquet(f"hf://datasets/{repo}/frame.parquet"), frame)
    assert pandas.read_csv(f"hf://datasets/{repo}/frame.csv")["word"].tolist() == frame["word"].tolist()


if __name__ == "__main__":
    main()
