"""find: folders and a real hub searched by cards, and by receipts whose signatures hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import safetensors.numpy
from hubs import Running
from huggingface_hub import HfApi

from modelcommons.cli import main
from modelcommons.errors import NotFound, RecipeError, UsageError
from modelcommons.formats import card, keys, receipt
from modelcommons.workbench import fields
from modelcommons.workbench import run as spine
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.find import Bound, Found, Wanted, find, wanted
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.resolve import resolve

HEX = "ab" * 32


def model(
    folder: Path, task: str, licence: str, language: list[str], parameters: int,
    protocol: str = "", accuracy: float | None = None,
) -> Path:  # fmt: skip
    """A model folder as `publish` leaves it, as far as one can look for it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"task": task}))
    safetensors.numpy.save_file({"w": np.zeros(parameters, np.float32)}, folder / "model.safetensors")
    tags = ["modelcommons", task, *(["receipts"] if accuracy is not None else [])]
    front = {
        "license": licence, "language": language, "tags": tags, "pipeline_tag": card.PIPELINE_TAGS.get(task, task)
    }  # fmt: skip
    (folder / "README.md").write_text(card.write(front, f"# {folder.name}"))
    if accuracy is not None:
        (folder / "receipts").mkdir()
        (folder / "receipts/model.json").write_bytes(signed(protocol, accuracy, folder.parent))
    return folder


def signed(protocol: str, accuracy: float, home: Path, direction: Literal["higher", "lower"] = "higher") -> bytes:
    value = receipt.decimal(accuracy)
    interval = receipt.Interval(method="wilson", low=receipt.decimal(accuracy - 0.01), high=value)
    predicate = receipt.Predicate(
        relationship="first-party", verdict="MEASURED", exclusions=(), cost={},
        results=(receipt.Result(metric="accuracy", direction=direction, value=value, baseline="0.5", ci95=interval),),
        claim=receipt.Claim(metric="accuracy", value=value, split="test"),
        inputs=receipt.Inputs(data={}, protocol={"name": protocol}, evaluator={}, environment={}),
        predictions=receipt.Predictions(sha256=HEX, root=HEX, count=100),
        started="2026-11-23T00:00:00Z", finished="2026-11-23T00:00:01Z",
    )  # fmt: skip
    subject = receipt.Subject(name="x", digest={"sha256": HEX})
    return receipt.sign(receipt.Statement(subject=(subject,), predicate=predicate), keys.own(home / "key"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five models, one of them with a receipt that somebody changed; and what is no model."""
    home = tmp_path_factory.mktemp("models")
    model(home / "spam-small", "text-classification", "mit", ["en"], 100, "sms-spam/v1", 0.97)
    model(home / "spam-large", "text-classification", "apache-2.0", ["en", "zh"], 2_000, "sms-spam/v1", 0.99)
    model(home / "bank", "text-classification", "apache-2.0", ["en"], 300, "banking77/v1", 0.93)
    model(home / "films", "recommendation", "mit", [], 50)
    forged = model(home / "forged", "text-classification", "mit", ["en"], 100, "sms-spam/v1", 0.96)
    envelope = json.loads((forged / "receipts/model.json").read_text())
    better = json.loads(signed("sms-spam/v1", 0.999, home / "elsewhere"))
    (forged / "receipts/model.json").write_text(json.dumps(envelope | {"payload": better["payload"]}))
    (home / "notes").mkdir()
    (home / "notes/README.md").write_text("no model")
    (home / "broken").mkdir()
    (home / "broken/README.md").write_text("---\n[\n---\n")
    (home / "broken/config.json").write_text("{")
    return home


@pytest.fixture(scope="module")
def hub(server: Running, folder: Path) -> Iterator[Running]:
    """The same models on a hub, where `bank` is private."""
    url, token = f"http://127.0.0.1:{server.port}", server.tokens["ada"]
    api = HfApi(endpoint=url, token=token)
    for name in ("spam-small", "spam-large", "bank", "films", "forged"):
        api.create_repo(f"ada/{name}", private=name == "bank")
        api.upload_folder(repo_id=f"ada/{name}", folder_path=folder / name)
    yield server


def names(found: list[Found]) -> list[str]:
    return [one.name.rsplit("/", 1)[-1] for one in found]


CASES: dict[str, tuple[Wanted, list[str]]] = {
    "a task": (wanted(task="recommendation"), ["films"]),
    "a field": (wanted(field="text", size="500"), ["forged", "spam-small", "bank"]),
    "a licence and a language": (wanted(licence="Apache-2.0", language="ZH"), ["spam-large"]),
    "a size from": (wanted(size="1K.."), ["spam-large"]),
    "a word": (wanted(["spam", "Large"]), ["spam-large"]),
    "a protocol": (wanted(protocol="sms-spam/v1"), ["spam-large", "spam-small"]),
    "a bound": (wanted(metrics=["accuracy>=0.92"]), ["spam-large", "spam-small", "bank"]),
    "a bound from above": (wanted(metrics=["accuracy<=0.98"]), ["spam-small", "bank"]),
    "a metric that nobody has": (wanted(metrics=["mse<=1"]), []),
}


@pytest.mark.parametrize("case", CASES)
def test_folders_are_searched(folder: Path, case: str) -> None:
    asked, expected = CASES[case]
    found = names(find(asked, [folder], on_hub=False))
    assert found == expected if asked.needs_receipt else set(found) == set(expected)


@pytest.mark.parametrize("case", CASES)
def test_a_hub_is_searched_and_what_is_private_is_not_seen(
    hub: Running, case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.port}")
    asked, expected = CASES[case]
    found = names(find(asked))
    expected = [name for name in expected if name != "bank"]
    assert found == expected if asked.needs_receipt else set(found) == set(expected)


def test_the_best_stands_first_whichever_way_is_better(tmp_path: Path) -> None:
    for name, value in (("worse", 0.4), ("better", 0.3)):
        made = model(tmp_path / name, "time-series-forecasting", "mit", [], 10, "ett-h1-96/v1", value)
        (made / "receipts/model.json").write_bytes(signed("ett-h1-96/v1", value, tmp_path, "lower"))
    assert names(find(wanted(protocol="ett-h1-96/v1"), [tmp_path], on_hub=False)) == ["better", "worse"]


def test_a_number_is_told_with_who_signed_it(folder: Path) -> None:
    (found, _) = find(wanted(protocol="sms-spam/v1"), [folder], on_hub=False)
    (number,) = found.measured
    assert (number.metric, number.value, number.protocol, number.rows) == ("accuracy", 0.99, "sms-spam/v1", 100)
    assert number.signer == keys.fingerprint(keys.own(folder / "key").public)
    assert (found.parameters, found.licence, found.languages) == (2_000, "apache-2.0", ("en", "zh"))
    (found,) = (one for one in find(wanted(), [folder], on_hub=False) if one.name.endswith("forged"))
    assert found.measured == (), "a number that nobody signed is not shown"


def test_the_command_says_it_as_a_table_and_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(("find", "--in", str(folder), "--no-hub", "--protocol", "sms-spam/v1", "--json"))
    assert ended.value.code == 0
    assert [one["parameters"] for one in json.loads(capsys.readouterr().out)] == [2_000, 100]
    with pytest.raises(SystemExit):
        main(("find", "bank", "--in", str(folder), "--no-hub"))
    assert "accuracy 0.93 [0.92, 0.93] · banking77/v1" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(("find", "nothing-of-this-name", "--in", str(folder), "--no-hub"))
    assert ended.value.code == 0 and "No model fits." in capsys.readouterr().out


def test_sizes_and_bounds_are_read() -> None:
    assert wanted(size="50M").sizes == (0, 50e6) and wanted(size="1K..2.5M").sizes == (1e3, 2.5e6)
    assert wanted(metrics=["recall@10 >= 0.2"]).bounds == (Bound("recall@10", ">=", 0.2),)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"size": "many"}, "Expected a number of parameters such as 50M"),
        ({"size": ".."}, "Expected a number of parameters"),
        ({"metrics": ["accuracy > 0.9"]}, "Expected a bound such as accuracy>=0.9"),
        ({"field": "txt"}, "There is no field 'txt'. Did you mean 'text'"),
        ({"task": "recommendation", "protocol": "sms-spam/v1"}, "is about text-classification, not recommendation"),
        ({"task": "recommendation", "field": "text"}, "is no task of the field text"),
    ],
)
def test_what_cannot_be_looked_for_is_told_in_a_sentence(given: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        wanted(**given)  # type: ignore[arg-type]


def test_where_nobody_answers_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NotFound, match=r"cannot be had .* --no-hub"):
        find(wanted())
    with pytest.raises(NotFound, match="Expected a folder with models at"):
        find(wanted(), [tmp_path / "none"], on_hub=False)


# --- model.from: auto -----------------------------------------------------------------------------------------------


def test_candidates_are_looked_for_once(hub: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open models that the task can adapt, with a licence, each at its commit; a run goes on with those it found."""
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.port}")
    api = HfApi(endpoint=f"http://127.0.0.1:{hub.port}", token=hub.tokens["ada"])
    cards = {
        "masks": {"license": "mit", "pipeline_tag": "fill-mask", "library_name": "transformers"},
        "pairs": {"license": "mit", "pipeline_tag": "sentence-similarity", "library_name": "transformers"},
        "nobodys": {"pipeline_tag": "fill-mask", "library_name": "transformers"},
        "pictures": {"license": "mit", "pipeline_tag": "image-classification", "library_name": "transformers"},
        "flat": {"license": "mit", "pipeline_tag": "fill-mask", "library_name": "fasttext"},
    }
    for name, front in cards.items():
        folder = model(tmp_path / name, "text-classification", "mit", [], 20)
        (folder / "README.md").write_text(card.write(front, "# A model"))
        api.create_repo(f"ada/{name}")
        api.upload_folder(repo_id=f"ada/{name}", folder_path=folder)
    asked = Recipe.model_validate(
        {"task": "text-classification", "model": {"from": "auto", "try_minutes": 2}, "data": {"source": "./x.csv"}}
    )
    task = fields.find("text-classification")
    folder = RunFolder(tmp_path / "run")
    found = spine._settled(task, asked, folder, Silent()).model
    expected = {f"ada/{name}@{api.model_info(f'ada/{name}').sha}" for name in ("masks", "pairs")}
    assert found.auto and {each.from_ for each in found.auto} == expected and found.try_minutes == 2
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert spine._settled(task, asked, folder, Silent()).model == found
    with pytest.raises(NotFound):
        spine._settled(task, asked, RunFolder(tmp_path / "other"), Silent())


def test_a_candidate_has_a_name() -> None:
    values = {"task": "text-classification", "model": {"auto": [{"from": "auto"}]}, "data": {"source": "./x.csv"}}
    with pytest.raises(RecipeError, match=r"model\.auto\[0\]\.from: expected the name of a candidate, got auto"):
        resolve(Recipe.model_validate(values))
