"""an open model of pictures, EfficientNet-Lite0 with its weights: it knows a daisy, is tuned, exported and answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from transformers import AutoModelForImageClassification, EfficientNetConfig, EfficientNetForImageClassification
from transformers.models.efficientnet.modeling_efficientnet import EfficientNetSqueezeExciteLayer

from modelcommons.workbench import fields
from modelcommons.workbench.engine import depthwise
from modelcommons.workbench.engine.processors import processor_inputs, read_processor
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.image.classifier import open_network
from modelcommons.workbench.fields.image.gates import skip_open_gates
from modelcommons.workbench.sources import find as find_source
from modelcommons.workbench.task import Choice, Job, Parts, Split

ROOT = Path(__file__).parents[1]
TASK = fields.find("image-classification")
DAISY = 985  # of ImageNet's classes


@pytest.fixture(scope="module")
def efficientnet() -> ModuleType:
    spec = importlib.util.spec_from_file_location("efficientnet", ROOT / "benchmarks" / "measure" / "efficientnet.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(efficientnet: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open") / "efficientnet-lite0"
    efficientnet.write(folder)
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """The tiny world of pictures."""
    tiny, options = TASK.tiny(tmp_path_factory.mktemp("data")), TASK.options()
    return TASK.split(TASK.rows(find_source(str(tiny.source)), {}, options), Split(), options)


def test_as_it_was_trained_it_knows_a_daisy(efficientnet: ModuleType, tmp_path: Path) -> None:
    efficientnet.write(tmp_path / "whole", 224, (1, 2, 2, 2, 1, 2, 1))
    network = open_network(tmp_path / "whole").eval()
    picture = load_sample_image("flower.jpg")
    middle = (picture.shape[1] - picture.shape[0]) // 2
    square = np.asarray(picture)[:, middle : middle + picture.shape[0]]
    inputs = processor_inputs(read_processor(tmp_path / "whole"))(square[None])
    with torch.inference_mode():
        assert int(network(torch.from_numpy(inputs)).logits.argmax()) == DAISY


def gates(network: torch.nn.Module) -> set[str]:
    """Names of those that are asked."""
    return {name for name, layer in network.named_modules() if isinstance(layer, EfficientNetSqueezeExciteLayer)}


def test_gates_that_are_open_for_good_are_not_asked_and_nothing_else_changes(folder: Path, tmp_path: Path) -> None:
    def stepped(network: torch.nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Logits, and gradients by name."""
        torch.manual_seed(0)
        logits = network.train()(torch.randn(4, 3, 64, 64)).logits
        logits.square().sum().backward()
        return logits, {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}

    plain = AutoModelForImageClassification.from_pretrained(folder, dtype="float32")
    quick = open_network(folder)
    assert gates(plain) and not gates(quick)
    assert plain.state_dict().keys() == quick.state_dict().keys()
    (theirs, their_slopes), (ours, our_slopes) = stepped(plain), stepped(quick)
    assert torch.equal(theirs, ours)
    left_out = their_slopes.keys() - our_slopes.keys()
    assert left_out and not any(their_slopes[name].any() for name in left_out)
    assert all(torch.equal(slope, their_slopes[name]) for name, slope in our_slopes.items())
    quick.save_pretrained(tmp_path)  # type: ignore[operator]
    saved = AutoModelForImageClassification.from_pretrained(tmp_path, dtype="float32").state_dict()
    assert all(torch.equal(weight, saved[name]) for name, weight in plain.state_dict().items())


@pytest.mark.parametrize("bias", [16.0, 100.0])
def test_a_gate_that_may_close_is_asked(bias: float) -> None:
    config = EfficientNetConfig(width_coefficient=1.0, depth_coefficient=0.1, hidden_dim=8, image_size=32)
    network = EfficientNetForImageClassification(config)
    asked = gates(network)
    one = network.get_submodule(min(asked))
    torch.nn.init.constant_(one.expand.bias, bias)
    skip_open_gates(network)
    assert gates(network) == asked
    torch.nn.init.zeros_(one.expand.weight)
    skip_open_gates(network)
    assert gates(network) == (asked - {min(asked)} if bias > 17 else asked)


@pytest.mark.parametrize("method", ["full", "head", "lora"])
def test_it_is_tuned_and_its_export_answers_the_same(
    folder: Path, parts: Parts, tmp_path: Path, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, gradient = [], depthwise.gradient_by_filters

    def counted(*how: Any) -> torch.Tensor:
        taken.append(how)
        return gradient(*how)

    monkeypatch.setattr(depthwise, "gradient_by_filters", counted)
    made = tmp_path / "model"
    made.mkdir()
    training = Training(method=method, epochs=1, batch_size=16, learning_rate=1e-3, precision="bf16")
    job = Job(Choice(folder, "efficientnet"), training, TASK.options(), 0, made, tmp_path / "checkpoints", Silent())
    fit = TASK.fit(parts.train, parts.validation, job)
    assert (fit.parameters == fit.trained_parameters) == (method == "full") == bool(taken)
    model, rows = TASK.load(made), [parts.test[at] for at in range(4)]
    answers = model.predict(rows)
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} == set(TASK.files(made))
    TASK.export(made, made / "model.onnx")  # type: ignore[attr-defined]
    exported = TASK.load(made, "model.onnx").predict(rows)
    for mine, theirs in zip(answers, exported, strict=True):
        assert mine["prediction"]["label"] == theirs["prediction"]["label"]
        found, expected = theirs["prediction"]["probabilities"], mine["prediction"]["probabilities"]
        assert found == pytest.approx(expected, abs=1e-4)


def test_two_of_them_together_answer_by_their_mean(folder: Path, parts: Parts, tmp_path: Path) -> None:
    folders = {f"seed-{seed}": tmp_path / str(seed) for seed in (0, 1)}
    for seed, place in enumerate(folders.values()):
        place.mkdir()
        training, kept = Training(epochs=1, batch_size=16, learning_rate=1e-3), tmp_path / f"checkpoints-{seed}"
        job = Job(Choice(folder, "efficientnet"), training, TASK.options(), seed, place, kept, Silent(), max_steps=2)
        TASK.fit(parts.train, parts.validation, job)
    TASK.join(folders, tmp_path / "joined")  # type: ignore[attr-defined]
    rows = [parts.test[at] for at in range(4)]

    def probabilities(place: Path) -> np.ndarray:
        return np.array(
            [list(answer["prediction"]["probabilities"].values()) for answer in TASK.load(place).predict(rows)]
        )

    mean = np.mean([probabilities(place) for place in folders.values()], axis=0)
    np.testing.assert_allclose(probabilities(tmp_path / "joined"), mean, atol=2e-5)
    member = AutoModelForImageClassification.from_pretrained(tmp_path / "joined", subfolder="seed-1", dtype="float32")
    inputs = torch.from_numpy(TASK.load(tmp_path / "joined").inputs(parts.test.pixels(np.arange(4))))  # type: ignore[attr-defined]
    with torch.inference_mode():
        theirs = member.eval()(inputs).logits.softmax(1).numpy()
    np.testing.assert_allclose(theirs, probabilities(folders["seed-1"]), atol=2e-5)
