"""exports: a file answers for rows of any length, each time that it is made; what has none says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from modelcommons.errors import UsageError
from modelcommons.formats.model_folder import WEIGHTS, id2label, write_config
from modelcommons.workbench import fields
from modelcommons.workbench.engine.quantize import session
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


def test_a_model_without_export_leaves_the_run_whole(tmp_path: Path) -> None:
    class Task:
        name, quantization = "a-task", "dynamic"

        def export(self, folder: Path, out: Path) -> None:
            raise UsageError("this one has no export")

        def calibration(self, folder: Path, rows: Any) -> Any:
            return iter(())

    (tmp_path / "tune").mkdir()
    recipe = SimpleNamespace(shrink=SimpleNamespace(formats=["onnx"]))
    said: list[str] = []
    progress = SimpleNamespace(line=lambda stage, text: said.append(text), step=lambda *told: None)
    task, tuned = cast(Any, Task()), cast(Any, SimpleNamespace(model="tune"))
    none, data = cast(Any, None), cast(Any, SimpleNamespace(parts=SimpleNamespace(train=())))
    folder = RunFolder(tmp_path)
    made = stage.shrink(task, tuned, none, data, none, cast(Any, recipe), folder, cast(Any, progress))
    assert not made.exports and made.skipped == "this one has no export"
    assert said == ["left out: this one has no export"]


def test_nobody_is_told_and_no_machine_gets_an_id(tmp_path: Path) -> None:
    """onnxruntime tells its makers unless it is told not to, before it is imported."""
    program = "import modelcommons, onnxruntime; onnxruntime.get_available_providers()"
    unsaid = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name and "XDG" not in name}
    done = subprocess.run([sys.executable, "-c", program], env=unsaid | {"HOME": str(tmp_path)}, capture_output=True)
    assert done.returncode == 0 and not list(tmp_path.rglob("*"))
