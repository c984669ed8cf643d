"""protocols: complete, true to their data to the last digit, and closed to other data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelcommons.errors import Contradicted, NotFound, RecipeError
from modelcommons.formats.receipt import decimal
from modelcommons.workbench import fields, protocols
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe, load
from modelcommons.workbench.resolve import resolve
from modelcommons.workbench.sources import bundled
from modelcommons.workbench.stages.evaluate import Ruler
from modelcommons.workbench.stages.get import Got, get_source
from modelcommons.workbench.stages.prepare import prepare
from modelcommons.workbench.stages.tune import Chosen, Tuned

RECIPES = Path(__file__).parents[1] / "recipes"
# protocol -> folder in ../shared/data; the others come inside packages
SHARED = {
    "banking77": "banking77",
    "bccd": "bccd",
    "breast-cancer": "breast_cancer",
    "brent": "finance_series",
    "chinese-poem-genre": "chinese_poem_genre",
    "cifar10": "cifar10",
    "cmrc2018": "cmrc2018_small",
    "english-books": "english_books",
    "english-books-mlm": "english_books",
    "exchange-rates": "finance_series",
    "fashion-mnist": "fashion_mnist",
    "fsdd": "fsdd",
    "fsdd-noise": "fsdd",
    "noto-emoji": "noto_emoji",
    "fsdd-strings": "fsdd_strings",
    "fsdd-strings-speech": "fsdd_strings",
    "ljspeech-small": "ljspeech_small",
    "movietweetings": "movietweetings_100k",
    "nuclei-dsb2018": "nuclei_dsb2018",
    "sms-spam": "sms_spam",
    "tatoeba-en-zh": "tatoeba_en_zh",
    "tiny-shakespeare": "tiny_shakespeare",
    "xquad-en": "xquad",
    **{f"ett-{name}-{horizon}": "ett_small" for name in ("h1", "h2") for horizon in (96, 192, 336, 720)},
}
LONG = {  # of the same rows as others at 96 and 720 hours
    "ett-h1-192", "ett-h1-336", "ett-h2-192", "ett-h2-336", "ett-h2-720",
}  # fmt: skip
CALLED = {  # recipes of another name than their protocol's
    "english-books-mlm": "english-books-bert",
    "ljspeech-small": "ljspeech",
    "nuclei-dsb2018": "nuclei",
    "tatoeba-en-zh": "tatoeba",
}


def recipe_of(protocol: str, *overrides: str) -> Recipe:
    """The repository's recipe whose rows the protocol is about; its model and checks do not matter here."""
    stem = protocol.rsplit("/", 1)[0]
    if stem.startswith("ett-"):
        stem, horizon = stem.rsplit("-", 1)
        overrides = (f"data.options.horizon={horizon}", *overrides)
    checks = ("data.checks=[]", f"evaluate.protocol={protocol}")
    return load(RECIPES / f"{CALLED.get(stem, stem)}.yaml", [*checks, *overrides], {"MINILM": "unused"})


def ruler(recipe: Recipe, folder: Path) -> Ruler:
    """What `evaluate` scores with, made of the recipe's real data; its making checks data, ids and baseline."""
    task, source = resolve(recipe), get_source(recipe.data)
    data = prepare(task, source, recipe, RunFolder(folder), Silent())
    tuned = Tuned(0, (), (), Chosen(0, "", {}))
    return Ruler(task, tuned, Got(source, (), ()), data, recipe, RunFolder(folder), Silent())


@pytest.mark.parametrize("name", protocols.names())
def test_a_protocol_is_complete(name: str) -> None:
    protocol = protocols.find(name)
    task = fields.find(protocol.task)
    assert protocol.name == name and protocol.title and protocol.source and protocol.rows > 0
    assert all(len(digest) == 64 for digest in (protocol.data_sha256, protocol.ids_sha256))
    task.options.model_validate(protocol.options)
    assert protocol.metrics[0] == task.metrics[0].name
    assert set(protocol.baseline_values) <= set(protocol.metrics) <= {metric.name for metric in task.metrics}
    assert protocol.metrics[0] in protocol.baseline_values
    assert all(decimal(float(value)) == value for value in protocol.baseline_values.values())
    assert all("(" in figure for figure in protocol.published), "a figure of others names its source"


@pytest.mark.parametrize("name", protocols.names())
def test_data_ids_and_baseline_come_out_exactly(name: str, real: Callable[[str], Path], tmp_path: Path) -> None:
    stem = name.rsplit("/", 1)[0]
    if stem in SHARED:
        real(SHARED[stem])
    if stem in LONG and "COMMONS_TEST_LONG" not in os.environ:
        pytest.skip("ten million numbers as JSON; COMMONS_TEST_LONG=1 runs it")
    recipe, protocol = recipe_of(name), protocols.find(name)
    made = ruler(recipe, tmp_path)
    values = {score.metric: decimal(score.value) for score in made.baseline}
    assert {metric: values[metric] for metric in protocol.baseline_values} == protocol.baseline_values
    assert made.baseline_name == protocol.baseline
    assert protocol.options.items() <= recipe.data.options.items()
    split = recipe.data.split.model_dump(mode="json")
    assert {key: split[key] for key in protocol.split} == protocol.split


def test_other_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Contradicted, match="number of test rows are not those of sunspots/v1: expected 52, got 53"):
        ruler(recipe_of("sunspots/v1", "data.options.horizon=10"), tmp_path)


def test_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Contradicted, match=r"data files are not those of sunspots/v1: expected a1a36acf.*leave .* out"):
        ruler(recipe_of("sunspots/v1", "data.source=bundled:nile"), tmp_path)


def test_another_task_is_refused() -> None:
    protocol = protocols.find("sunspots/v1")
    with pytest.raises(Contradicted, match="The task are not"):
        protocols.check(protocol, "text-classification", protocol.data_sha256, protocol.ids_sha256, protocol.rows)


def test_another_baseline_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are right and the scoring is not: the baseline shows it."""
    wrong = replace(protocols.find("sunspots/v1"), baseline_values={"mse": "1534.781207"})
    monkeypatch.setattr(protocols, "find", lambda name: wrong)
    with pytest.raises(Contradicted, match=r"must give mse 1534\.781207, it gave 1534\.781206"):
        ruler(recipe_of("sunspots/v1"), tmp_path)


def test_an_unknown_protocol_names_the_nearest() -> None:
    with pytest.raises(NotFound, match="Did you mean 'fashion-mnist/v1'"):
        protocols.find("fashion-mnist/v2")
    with pytest.raises(RecipeError, match=r"evaluate\.protocol: There is no protocol 'sunspot/v1'"):
        resolve(recipe_of("sunspots/v1", "evaluate.protocol=sunspot/v1"))


@pytest.mark.parametrize(("name", "column"), [("sunspots", 1), ("co2", 1)])
def test_the_bundled_series_have_the_values_of_the_data_folder(
    name: str, column: int, real: Callable[[str], Path]
) -> None:
    """The protocols are about what comes with statsmodels, so that they hold on a machine without the data folder."""
    ours, theirs = (
        np.genfromtxt(path, delimiter=",", skip_header=1)[:, column]
        for path in (bundled.find(name).folder / f"{name}.csv", real("classic_series") / f"{name}.csv")
    )
    np.testing.assert_array_equal(ours, theirs)
