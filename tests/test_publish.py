"""publish: one step to the new folder, and the unmodified client to a hub."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import made_up
import pytest
from huggingface_hub import ModelCard
from small_hub import READ_ONLY, TOKEN, SmallHub, small_hub

from modelcommons.errors import CommonsError, Forged, FormatError, LicenceError, NotFound, UsageError
from modelcommons.formats import bom, card, yaml
from modelcommons.formats.digest import file_sha256
from modelcommons.workbench import folder as folders
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.folder import RunFolder, replacing
from modelcommons.workbench.stages.publish import Published, publish
from modelcommons.workbench.stages.upload import upload


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SmallHub]:
    with small_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        yield hub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "model"
    for name, text in {
        "README.md": "---\nlicense: mit\n---\n\n# x\n",
        "config.json": "{}",
        "model.safetensors": "weights",
        "onnx/model_int8.onnx": "export",
        "predictions/model.jsonl.gz": "lines",
        "receipts/model.json": "{}",
        "report.html": "<p>",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


# --- one step -------------------------------------------------------------------------------------------------------


def build(folder: Path, generation: int) -> None:
    with replacing(folder) as part:
        for number in range(5):
            (part / f"sub{number}").mkdir()
            (part / f"sub{number}" / "file").write_text(str(generation))


def generations(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.rglob("file"))]


def killed_at_line(folder: Path, generation: int, number: int) -> bool:
    """A child process replaces the folder and is killed when it comes to its `number`-th line; False: it finished."""
    child = os.fork()
    if child == 0:
        left = number

        def count(frame: FrameType, event: str, _: object) -> object:
            nonlocal left
            if frame.f_code.co_filename != folders.__file__:
                return None
            left -= event == "line"
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return count

        try:
            sys.settrace(count)
            build(folder, generation)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_kill_leaves_the_old_folder_or_the_new(tmp_path: Path) -> None:
    """At every line, one after the other."""
    folder = tmp_path / "model"
    build(folder, 0)
    line, seen = 1, set()
    while killed_at_line(folder, line, line):
        found = generations(folder)
        assert len(found) == 5 and len(set(found)) == 1, f"killed at line {line}"
        assert found[0] in {str(line), *(seen or "0")}
        seen, line = {found[0]}, line + 1
    assert line > 30 and generations(folder) == [str(line)] * 5
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_where_folders_cannot_be_swapped_the_old_one_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two renames instead of one: a kill between them leaves no folder; the next run puts the old one back first."""
    monkeypatch.setattr(folders, "RENAME_EXCHANGE", 1 << 20)  # a flag that the kernel refuses
    folder = tmp_path / "model"
    build(folder, 0)
    build(folder, 1)
    assert generations(folder) == ["1"] * 5 and len(list(tmp_path.iterdir())) == 1
    folder.rename(tmp_path / ".model.old")
    with pytest.raises(ZeroDivisionError), replacing(folder) as part:
        assert generations(folder) == ["1"] * 5
        part.joinpath("half").touch()
        raise ZeroDivisionError
    assert generations(folder) == ["1"] * 5 and len(list(tmp_path.iterdir())) == 1


# --- upload ---------------------------------------------------------------------------------------------------------


def send(model: Path, *leave_out: str) -> str:
    return upload(model, "ada/news", "private", leave_out, "Publish news")


def test_a_folder_arrives_as_one_commit(hub: SmallHub, model: Path, tmp_path: Path) -> None:
    commit = send(model)
    repo = hub.repos["ada/news"]
    assert repo.private and repo.head[0] == commit and len(repo.commits) == 2
    assert {name: raw.decode() for name, raw in repo.head[1].items()} == {
        path.relative_to(model).as_posix(): path.read_text() for path in model.rglob("*") if path.is_file()
    }


def test_the_client_gets_back_what_was_sent(hub: SmallHub, model: Path, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    send(model)
    back = Path(snapshot_download("ada/news", endpoint=hub.url, cache_dir=tmp_path / "cache"))
    for path in model.rglob("*"):
        assert path.is_dir() or (back / path.relative_to(model)).read_bytes() == path.read_bytes()


def test_the_same_folder_makes_no_second_commit(hub: SmallHub, model: Path) -> None:
    assert send(model) == send(model)
    assert len(hub.repos["ada/news"].commits) == 2


def test_what_is_no_longer_shipped_goes_but_receipts_and_others_files_stay(hub: SmallHub, model: Path) -> None:
    send(model)
    hub.repos["ada/news"].head[1]["notes.txt"] = b"a person's own"
    (model / "onnx/model_int8.onnx").unlink()
    (model / "receipts/model.json").rename(model / "receipts/seed-1.json")
    send(model, "predictions/*", "report.html")
    assert set(hub.repos["ada/news"].head[1]) == {
        "README.md", "config.json", "model.safetensors", "notes.txt", "receipts/model.json", "receipts/seed-1.json",
    }  # fmt: skip


def test_quotes_of_the_data_are_left_out(hub: SmallHub, model: Path) -> None:
    send(model, "predictions/*", "report.html")
    sent = set(hub.repos["ada/news"].head[1])
    assert "model.safetensors" in sent and not sent & {"predictions/model.jsonl.gz", "report.html"}


@pytest.mark.parametrize(
    ("token", "fail", "kind", "says"),
    [
        ("", {}, UsageError, "found none. Set HF_TOKEN"),
        ("hf_wrong", {}, UsageError, "does not accept the access token"),
        (READ_ONLY, {}, UsageError, "may not write to ada/news"),
        (TOKEN, {"create": 404}, NotFound, "does not know ada/news or its owner"),
        (TOKEN, {"commit": 403}, UsageError, "may not write to ada/news"),
        (TOKEN, {"commit": 412}, UsageError, "changed by someone else"),
        (TOKEN, {"commit": 422}, UsageError, "refuses the upload"),
        (TOKEN, {"commit": 507}, NotFound, "answered with an error 507"),
    ],
)
def test_a_refusal_is_one_sentence_and_leaves_nothing_half(
    hub: SmallHub,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    fail: dict[str, int],
    kind: type[CommonsError],
    says: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.fail.update(fail)
    with pytest.raises(kind) as caught:
        send(model)
    message = str(caught.value)
    assert says in message and message.endswith("run the same command again to upload it.") and "\n" not in message
    assert all(not repo.head[1] for repo in hub.repos.values())
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.fail.clear()
    assert send(model) == hub.repos["ada/news"].head[0]


def test_a_hub_that_is_not_there(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(NotFound, match=r"cannot be reached.*The folder .* is complete"):
        send(model)


def test_a_branch_that_moved_is_not_overwritten(hub: SmallHub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone commits between our look at the repository and our commit."""
    send(model)
    (model / "config.json").write_text('{"new": 1}')
    commit, theirs = hub.commit, hub.repos["ada/news"]

    def late(repo: object, lines: list[dict[str, object]]) -> str | None:
        theirs.commits.append(("f" * 40, {**theirs.head[1], "notes.txt": b"theirs"}))
        return commit(theirs, lines)

    monkeypatch.setattr(hub, "commit", late)
    with pytest.raises(UsageError, match="changed by someone else"):
        send(model)
    assert theirs.head[1]["notes.txt"] == b"theirs" and theirs.head[1]["config.json"] == b"{}"


# --- the whole stage ------------------------------------------------------------------------------------------------


class Remembers:
    """A task whose models hold training rows, and that can nothing else."""

    def carried(self, folder: Path) -> list[str]:
        assert (folder / "config.json").is_file()
        return ["memory.parquet"]


def run(folder: Path, licence: str = "cc-by-4.0", task: object = object(), **wish: Any) -> Published:
    return publish(
        task,  # type: ignore[arg-type]  # without any optional ability
        made_up.got(licence), made_up.prepared(), made_up.tuned(), made_up.scored(), made_up.explained(),
        made_up.shrunk(), made_up.recipe(**wish), RunFolder(folder), Silent(),
    )  # fmt: skip


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return made_up.run_folder(tmp_path / "run")


FOLDER = {
    "config.json", "model.safetensors", "README.md", "recipe.yaml", "report.html", "onnx/model_int8.onnx",
    "predictions/model.jsonl.gz", "predictions/seed-1.jsonl.gz", "predictions/seed-2.jsonl.gz",
    "predictions/baseline.jsonl.gz", "predictions/onnx/model_int8.jsonl.gz", "receipts/model.json",
    "receipts/seed-1.json", "receipts/seed-2.json", "receipts/onnx/model_int8.json", "model.cdx.json",
    ".eval_results/modelcommons.yaml",
}  # fmt: skip


def test_the_folder_holds_all_that_was_scored_and_nothing_refused(finished: Path) -> None:
    done = run(finished)
    model = finished / "model"
    assert {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()} == FOLDER
    assert (model / "model.safetensors").read_text() == "weights 0"
    assert done == Published("model", "apache-2.0", None, None, 4)
    front = card.read_front_matter((model / "README.md").read_text())
    assert front["license"] == "apache-2.0" and front["datasets"] == ["ada/news"] and "onnx" in front["tags"]
    assert ModelCard.load(model / "README.md").data.eval_results[0].metric_value == 0.9


def test_the_bill_of_materials_is_cyclonedx(finished: Path) -> None:
    from cyclonedx.model.bom import Bom
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    run(finished, name=made_up.HOSTILE)
    model = finished / "model"
    text = (model / bom.NAME).read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    told = json.loads(text)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps({**told, "tested": 1})) is not None
    read = Bom.from_json(told)  # type: ignore[attr-defined]  # made by the class's decorator
    assert read.metadata.component.name == made_up.HOSTILE and {each.name for each in read.components} == {
        "ada/news", "commons/minilm-l6", "onnx/model_int8.onnx",
    }  # fmt: skip
    main = told["metadata"]["component"]
    files = {each["name"]: each["hashes"][0]["content"] for each in main["components"]}
    assert files == {name: file_sha256(model / name) for name in ("config.json", "model.safetensors")}
    assert main["externalReferences"][0]["hashes"][0]["content"] == file_sha256(model / "receipts/model.json")
    assert [found[0]["value"] for found in bom.read_metrics(model / bom.NAME)] == ["0.9", "0.9"]


def test_the_hub_reads_the_result(finished: Path) -> None:
    from huggingface_hub import parse_eval_result_entries

    run(finished, repo=None)
    (entry,) = parse_eval_result_entries(yaml.load((finished / "model" / card.EVAL_RESULTS).read_text(), "results"))
    assert (entry.dataset_id, entry.dataset_revision, entry.value) == ("ada/news", "3f2a", 0.9)
    assert "accuracy, split test, 95 % interval 0.88 to 0.92, baseline 0.5; receipts/model.json" in entry.notes


def test_a_result_on_data_of_ones_own_is_for_no_leaderboard(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = replace(made_up.got(), source=replace(made_up.got().source, name="news.csv", revision=None))
    monkeypatch.setattr(made_up, "got", lambda licence: mine)
    run(finished)
    assert not (finished / "model" / ".eval_results").exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"metadata": 1, "components": []}', "[" * 9999])
def test_what_is_no_bill_of_materials_is_said_so(text: str, tmp_path: Path) -> None:
    (tmp_path / bom.NAME).write_text(text)
    with pytest.raises(FormatError, match=r"model\.cdx\.json"):
        bom.read_metrics(tmp_path / bom.NAME)


def test_the_same_run_gives_the_same_bytes(finished: Path) -> None:
    run(finished)
    first = {path: path.read_bytes() for path in (finished / "model").rglob("*") if path.is_file()}
    run(finished)
    assert first == {path: path.read_bytes() for path in (finished / "model").rglob("*") if path.is_file()}


def test_a_licence_that_is_unknown_stops_before_anything_is_written(finished: Path) -> None:
    with pytest.raises(LicenceError, match=r"The licence of the data ada/news is 'other'.*data\.license"):
        run(finished, licence="other")
    assert not (finished / "model").exists()


def test_a_receipt_that_was_edited_stops_it(finished: Path) -> None:
    receipt = finished / "evaluate/receipts/model.json"
    receipt.write_text(receipt.read_text().replace('"sig": "', '"sig": "AAAA'))
    with pytest.raises(Forged):
        run(finished)
    assert not (finished / "model").exists() and not list(finished.glob(".model*"))


def test_it_uploads_and_comes_back_whole(hub: SmallHub, finished: Path, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    done = run(finished, repo="ada/news", visibility="public")
    assert done.commit == hub.repos["ada/news"].head[0] and not hub.repos["ada/news"].private
    back = Path(snapshot_download("ada/news", endpoint=hub.url, cache_dir=tmp_path / "cache"))
    assert {path.relative_to(back).as_posix() for path in back.rglob("*") if path.is_file()} == FOLDER
    assert f"{hub.url}/ada/news/blob/main/receipts/model.json" in (back / "README.md").read_text()


def test_data_that_may_not_be_quoted_stay_at_home(hub: SmallHub, finished: Path) -> None:
    run(finished, licence="cc-by-nd-4.0", repo="ada/news")
    sent = set(hub.repos["ada/news"].head[1])
    assert sent == {name for name in FOLDER if not name.startswith("predictions/") and name != "report.html"}
    assert (finished / "model" / "report.html").is_file()


def test_training_rows_inside_a_model_are_told_and_stay_at_home_with_the_data(hub: SmallHub, finished: Path) -> None:
    with pytest.raises(LicenceError, match=r"expected a model without rows of ada/news.*memory\.parquet"):
        run(finished, licence="cc-by-nd-4.0", task=Remembers(), repo="ada/news")
    assert "ada/news" not in hub.repos and not (finished / "model").exists()
    run(finished, task=Remembers(), repo="ada/news")
    assert "holds its training rows as they are (memory.parquet)" in (finished / "model" / "README.md").read_text()


def test_without_a_hub_the_folder_is_complete_all_the_same(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(NotFound, match="is complete; run the same command again"):
        run(finished, repo="ada/news")
    model = finished / "model"
    assert {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()} == FOLDER
