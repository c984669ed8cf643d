"""several seeds that are shipped as one model: it answers by their mean, and each is still there to be checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelcommons as mc
from modelcommons.errors import FormatError, RecipeError
from modelcommons.formats.digest import folder_sha256
from modelcommons.workbench import fields
from modelcommons.workbench.plan import plan
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.resolve import resolve
from modelcommons.workbench.run import run

TASK = fields.find("image-classification")


def sections(data: Path, **tune: Any) -> dict[str, Any]:
    return {
        "task": TASK.name, "data": {"source": str(data), "license": "cc0-1.0"}, "model": {"new": "cnn"},
        "tune": {"epochs": 2, "seeds": [3, 4], "together": True, **tune}, "explain": {"examples": 3},
        "shrink": {"formats": ["onnx", "int8"], "max_loss": 1.0},
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    TASK.tiny(folder / "data")
    run(Recipe.model_validate(sections(folder / "data")), folder / "run")
    return folder


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(made / "run" / "model", tmp_path / "model")


def probabilities(folder: Path, data: Path, variant: str = "") -> np.ndarray:
    """(rows, labels) of a few pictures."""
    rows = TASK.read_input(str(data), TASK.options())[:8]
    answers = [answer["prediction"]["probabilities"] for answer in TASK.load(folder, variant).predict(rows)]
    return np.array([[each[label] for label in sorted(each)] for each in answers])


def test_it_answers_by_the_mean_of_what_each_says(made: Path) -> None:
    model, data = made / "run" / "model", made / "data"
    first, second = (probabilities(model / name, data) for name in ("seed-3", "seed-4"))
    together = probabilities(model, data)
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(together, (first + second) / 2, atol=2e-5)
    np.testing.assert_allclose(probabilities(model, data, "onnx/model.onnx"), together, atol=1e-4)


def test_all_of_it_is_signed_and_each_is_scored_alone(made: Path) -> None:
    model = made / "run" / "model"
    verdict = mc.verify(made / "run", "train")
    assert verdict.holds, verdict
    reached = {(check.receipt, check.level): check.outcome for check in verdict.checks}
    for name in ("model", "seed-3", "seed-4"):
        for level in ("signature", "files", "score", "infer", "train"):
            assert reached[f"receipts/{name}.json", level] == "PASS", (name, level)
    assert set(TASK.files(model)) == {
        "config.json", *(f"seed-{seed}/{path}" for seed in (3, 4) for path in ("config.json", "model.safetensors"))
    }  # fmt: skip
    alone = folder_sha256(made / "run/tune/seed-3/model", TASK.files(made / "run/tune/seed-3/model"))
    assert folder_sha256(model / "seed-3", TASK.files(model / "seed-3")) == alone


def test_card_and_report_say_who_answers(made: Path) -> None:
    for page in ("README.md", "report.html"):
        text = (made / "run" / "model" / page).read_text()
        assert "with 2 seeds; their models are shipped together" in text and "shipped is seed" not in text


@pytest.mark.parametrize("spoilt", ["seed-3", "seed-4"])
def test_other_weights_of_one_are_found(made: Path, model: Path, spoilt: str) -> None:
    other = {"seed-3": "seed-4", "seed-4": "seed-3"}[spoilt]
    shutil.copy(model / other / "model.safetensors", model / spoilt)
    verdict = mc.verify(model, "files", data=str(made / "data"))
    found = {check.receipt: check.outcome for check in verdict.checks if check.level == "files"}
    assert found["receipts/model.json"] == found[f"receipts/{spoilt}.json"] == "FAIL"
    assert found[f"receipts/{other}.json"] == "PASS"


@pytest.mark.parametrize("names", [[], "seed-3", ["../seed-3"], ["seed-3/.."], [3], None, ["/etc"], ["seed-3\n"]])
def test_names_that_lead_elsewhere_are_refused(model: Path, names: Any) -> None:
    change(model / "config.json", options={"members": names})
    with pytest.raises(FormatError, match="expected the members' folders"):
        TASK.load(model)
    with pytest.raises(FormatError, match="expected the members' folders"):
        TASK.files(model)


def test_a_folder_that_is_not_whole_says_so(model: Path) -> None:
    whole = json.loads((model / "config.json").read_text())
    change(model / "seed-4/config.json", **whole)
    with pytest.raises(FormatError, match=r"seed-4: expected a model that answers alone"):
        TASK.load(model)
    shutil.copy(model / "seed-3/config.json", model / "seed-4/config.json")
    change(model / "seed-4/config.json", id2label={"0": "cat", "1": "dog", "2": "cow"})
    with pytest.raises(FormatError, match=r"seed-4: expected the labels of"):
        TASK.load(model)
    shutil.rmtree(model / "seed-4")
    with pytest.raises(FormatError, match="seed-4"):
        TASK.load(model)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_recipe_that_has_nothing_to_join_is_refused(made: Path) -> None:
    with pytest.raises(RecipeError, match=r"tune\.together: expected several seeds, .* got one"):
        resolve(Recipe.model_validate(sections(made / "data", seeds=[3])))
    with pytest.raises(RecipeError, match=r"tune\.together: text-classification has no models that answer together"):
        resolve(
            Recipe.model_validate({**sections(made / "data"), "task": "text-classification", "model": {"new": "bag"}})
        )


def test_the_plan_counts_every_network_that_answers(made: Path) -> None:
    alone, joined = (
        plan(Recipe.model_validate(sections(made / "data", together=together))) for together in (False, True)
    )
    assert joined.disk > alone.disk and joined.parameters == alone.parameters
