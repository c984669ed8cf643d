"""exporting: each model as one ONNX graph, written node by node: encoded rows in, outputs out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.workbench.engine.quantize import OPSET, write
from modelcommons.workbench.fields.tabular.encoder import Run
from modelcommons.workbench.fields.tabular.trees import Forest

TREES = 3  # opset of ai.onnx.ml: trees with double precision


def export(architecture: str, weights: Mapping[str, np.ndarray], num_features: int, out: Path) -> None:
    """ONNX: `encoded` (batch, features) -> `outputs` (batch, outputs); float32, for trees double in."""
    from onnx import TensorProto, helper

    constants: list[Any] = []
    if architecture == "boosting":
        forest = Forest.read(weights, num_features)
        nodes, kind, num_outputs = [_trees(forest)], TensorProto.DOUBLE, len(forest.base)
    else:
        nodes, constants = _linear(weights) if architecture == "linear" else _mlp(weights)
        kind, num_outputs = TensorProto.FLOAT, len(weights["bias" if architecture == "linear" else "direct.bias"])
    graph = helper.make_graph(
        nodes, architecture,
        [helper.make_tensor_value_info("encoded", kind, ["batch", num_features])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["batch", num_outputs])],
        constants,
    )  # fmt: skip
    sets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", TREES)]
    write(out, helper.make_model(graph, opset_imports=sets, ir_version=9))


def onnx_run(path: Path, architecture: str) -> Run:
    from modelcommons.workbench.engine.quantize import session

    model, kind = session(path, 1), np.float64 if architecture == "boosting" else np.float32
    return lambda x: np.asarray(model.run({"encoded": x.astype(kind)})[0], np.float64)


def _layer(name: str, weight: np.ndarray, bias: np.ndarray, source: str, target: str) -> tuple[list[Any], list[Any]]:
    """source @ weight + bias; weight is (inputs, outputs)."""
    from onnx import helper, numpy_helper

    arrays = {f"{name}.weight": weight, f"{name}.bias": bias}
    constants = [numpy_helper.from_array(np.ascontiguousarray(value, np.float32), key) for key, value in arrays.items()]
    nodes = [
        helper.make_node("MatMul", [source, f"{name}.weight"], [f"{name}.product"]),
        helper.make_node("Add", [f"{name}.product", f"{name}.bias"], [target]),
    ]
    return nodes, constants


def _linear(weights: Mapping[str, np.ndarray]) -> tuple[list[Any], list[Any]]:
    return _layer("linear", weights["weight"], weights["bias"], "encoded", "outputs")


def _mlp(weights: Mapping[str, np.ndarray]) -> tuple[list[Any], list[Any]]:
    """As `models.Mlp.forward`, without dropout."""
    from onnx import helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def add(name: str, source: str, target: str) -> None:
        made = _layer(name, weights[f"{name}.weight"].T, weights[f"{name}.bias"], source, target)
        nodes.extend(made[0])
        constants.extend(made[1])

    add("direct", "encoded", "straight")
    add("enter", "encoded", "entered")
    nodes.append(helper.make_node("Relu", ["entered"], ["hidden.0"]))
    num_layers = sum(name.startswith("inner.") and name.endswith(".weight") for name in weights)
    for at in range(num_layers):
        add(f"inner.{at}", f"hidden.{at}", f"turned.{at}")
        nodes.append(helper.make_node("Relu", [f"turned.{at}"], [f"bent.{at}"]))
        nodes.append(helper.make_node("Add", [f"hidden.{at}", f"bent.{at}"], [f"hidden.{at + 1}"]))
    add("leave", f"hidden.{num_layers}", "left")
    nodes.append(helper.make_node("Add", ["straight", "left"], ["outputs"]))
    return nodes, constants


def _trees(forest: Forest) -> Any:
    from onnx import helper, numpy_helper

    own = np.arange(len(forest.feature))
    tree = np.searchsorted(forest.roots, own, side="right") - 1
    place = own - forest.roots[tree]  # within its tree
    leaf = forest.left == own
    first = forest.roots[tree]

    def doubles(values: np.ndarray) -> Any:
        return numpy_helper.from_array(np.ascontiguousarray(values, np.float64))

    return helper.make_node(
        "TreeEnsembleRegressor", ["encoded"], ["outputs"], domain="ai.onnx.ml", n_targets=len(forest.base),
        nodes_treeids=tree.tolist(), nodes_nodeids=place.tolist(), nodes_featureids=forest.feature.tolist(),
        nodes_modes=["LEAF" if end else "BRANCH_LEQ" for end in leaf.tolist()],
        nodes_values_as_tensor=doubles(forest.threshold),
        nodes_truenodeids=np.where(leaf, 0, forest.left - first).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, forest.right - first).tolist(),
        nodes_missing_value_tracks_true=forest.missing_left.astype(int).tolist(),
        target_treeids=tree[leaf].tolist(), target_nodeids=place[leaf].tolist(),
        target_ids=(tree[leaf] % len(forest.base)).tolist(), target_weights_as_tensor=doubles(forest.value[leaf]),
        base_values_as_tensor=doubles(forest.base), aggregate_function="SUM", post_transform="NONE",
    )  # fmt: skip
