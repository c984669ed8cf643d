"""exports: one ONNX file answers for any number of rows of any length, each time it is made; what has none says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from modelcommons.errors import UsageError
from modelcommons.formats.model_folder import WEIGHTS, id2label, write_config
from modelcommons.workbench import fields
from modelcommons.workbench.engine.quantize import session
from modelcommons.workbench.fields.speech.features import Features, LogMel
from modelcommons.workbench.fields.speech.transcription.architectures import CtcOptions
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.stages import shrink as stage


@pytest.mark.parametrize("layers", [1, 2])
def test_a_recurrent_reader_answers_for_texts_of_any_length(layers: int, tmp_path: Path) -> None:
    """torch.export takes the length of the example for fixed, and refuses the second export of a process."""
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.text.models import build

    options = {"width": 8, "layers": layers, "vocabulary": 300, "dropout": 0.0}
    network = build("rnn", options, 2, 512).eval()
    save_file(network.state_dict(), tmp_path / WEIGHTS)
    write_config(tmp_path, "text-classification", "rnn", options, id2label=id2label(["a", "b"]))
    for name in ("first.onnx", "again.onnx"):
        fields.find("text-classification").export(tmp_path, tmp_path / name)  # type: ignore[attr-defined]
        opened = session(tmp_path / name)
        for texts, length in ((1, 1), (2, 7), (3, 40)):
            ids = torch.randint(1, 20, (texts, length))
            mask = torch.ones_like(ids)
            mask[0, length // 2 + 1 :] = 0
            found = opened.run({"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
            np.testing.assert_allclose(found, network(ids, mask).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_recogniser_hears_recordings_of_any_length(streaming: bool, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.speech.transcription.ctc import Ctc

    options = CtcOptions(mels=16, width=24, layers=4, streaming=streaming)
    network = Ctc(options, 5).eval()
    save_file(network.state_dict(), tmp_path / WEIGHTS)
    preprocess = Features(LogMel(4_000, 16), np.zeros(16), np.ones(16)).written()
    write_config(
        tmp_path, "automatic-speech-recognition", "ctc", options.model_dump(mode="json"), alphabet="abcd",
        preprocess=preprocess,
    )  # fmt: skip
    fields.find("automatic-speech-recognition").export(tmp_path, tmp_path / "model.onnx")  # type: ignore[attr-defined]
    opened = session(tmp_path / "model.onnx")
    for lengths in ([100, 61], [301, 3], [40]):
        features, frames = torch.randn(len(lengths), max(lengths), 16), torch.tensor(lengths)
        found = opened.run({"features": features.numpy(), "lengths": frames.numpy()})
        for one, expected in zip(found, network(features, frames), strict=True):
            np.testing.assert_allclose(one, expected.detach().numpy(), atol=1e-5)


def test_a_model_without_export_leaves_the_run_whole(tmp_path: Path) -> None:
    class Task:
        name, quantization = "a-task", "dynamic"

        def export(self, folder: Path, out: Path) -> None:
            raise UsageError("this one has no export")

        def calibration(self, folder: Path, rows: Any) -> Any:
            return iter(())

    (tmp_path / "tune").mkdir()
    trained = SimpleNamespace(folder="tune", seed=0)
    recipe = SimpleNamespace(shrink=SimpleNamespace(formats=["onnx"]))
    said: list[str] = []
    progress = SimpleNamespace(line=lambda stage, text: said.append(text), step=lambda *told: None)
    task, tuned = cast(Any, Task()), cast(Any, SimpleNamespace(trained=[trained], chosen=0))
    none = cast(Any, None)
    folder = RunFolder(tmp_path)
    made = stage.shrink(task, tuned, none, none, none, cast(Any, recipe), folder, cast(Any, progress))
    assert not made.exports and made.skipped == "this one has no export"
    assert said == ["left out: this one has no export"]
