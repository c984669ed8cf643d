"""quantize: one ONNX file from a network, int8 from that, and a session that runs either; all through onnxruntime."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import FormatError

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 20
LARGEST = 2 * 2**30  # bytes of one self-contained file: protobuf's own limit


class Session:
    """An ONNX file, loaded; the same input gives the same output on one machine."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own kinds, which share no name but Exception
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise FormatError(f"{path.name} is damaged or no ONNX model ({reason}). Make the export again.") from error
        self.inputs = tuple(item.name for item in self._session.get_inputs())
        self.outputs = tuple(item.name for item in self._session.get_outputs())

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs in the model's order."""
        return list(self._session.run(None, dict(inputs)))


def session(path: Path, threads: int = 0) -> Session:
    """A session for the ONNX file at `path`.

    Loaded from bytes, so that a file that points at others ("external data") finds none.

    Raises:
        FormatError: it is damaged, no ONNX model, or not self-contained.
    """
    return Session(path, threads)


def export(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
    out: Path,
    traced: bool = False,
) -> None:
    """Writes `network` as one self-contained ONNX file.

    Args:
        inputs: an example of each input by the name of the network's argument, in its order; sizes of at least 2 along
            the axes that are to stay free.
        dynamic: free axes by input: axis -> name.
        traced: by the older exporter, which is quick and writes recurrent layers as ONNX has them; the newer one takes
            their length for fixed.
    """
    import torch

    network = network.eval()
    if traced:
        _write_traced(network, inputs, outputs, dynamic, out)
        return
    shapes = {name: dict.fromkeys(dynamic.get(name, {}), torch.export.Dim.DYNAMIC) for name in inputs}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            args=(),
            kwargs=dict(inputs),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    write(out, _bare(program.model_proto))


def _write_traced(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
    out: Path,
) -> None:
    import onnx
    import torch

    with _quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.onnx"
        torch.onnx.export(
            network,
            tuple(inputs.values()),
            made,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load_model(made)
    write(out, _bare(model))


def _bare(model: Any) -> Any:
    """Without what tells of the exporter and its machine."""
    del model.graph.value_info[:]  # shapes noted by the exporter contradict those of a quantised graph
    model.doc_string = model.producer_name = model.producer_version = ""
    for node in model.graph.node:  # stack traces of the exporting machine
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def dynamic_int8(path: Path, out: Path) -> None:
    """Weights of matrix products as int8, one scale per channel; activations are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        quantize_dynamic(path, out, per_channel=True, weight_type=QuantType.QInt8)


def static_int8(path: Path, out: Path, calibration: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Weights and activations as int8 (QDQ), ranges of activations from `calibration`; for convolutions."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self.rows, None)
            return None if row is None else dict(row)

    out.parent.mkdir(parents=True, exist_ok=True)
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"WeightSymmetric": True},
        )


def write(out: Path, model: Any) -> None:
    """One self-contained file, or none."""
    import onnx

    assert model.ByteSize() < LARGEST, "one file holds less than 2 GiB"
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    onnx.save_model(model, part)
    part.replace(out)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn and log about their own insides; a person can do nothing with it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
