"""trees: gradient boosting as arrays of nodes. scikit-learn grows them; here they are values, scored without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CELLS = 2_000_000  # (rows, trees) walked at a time


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees of all rounds one after the other; in a round one tree for each output. Children are indices of nodes."""

    feature: np.ndarray  # (nodes,) int32
    threshold: np.ndarray  # (nodes,) float64: at most this goes left
    left: np.ndarray  # (nodes,) int32; a leaf is its own child
    right: np.ndarray  # (nodes,) int32
    missing_left: np.ndarray  # (nodes,) uint8: NaN goes left
    value: np.ndarray  # (nodes,) float64: of leaves
    roots: np.ndarray  # (trees,) int64
    base: np.ndarray  # (outputs,) float64: before the first tree

    @classmethod
    def of(cls, fitted: Any) -> Forest:
        """From a scikit-learn HistGradientBoosting model without categorical features."""
        trees = [tree.nodes for each in fitted._predictors for tree in each]
        sizes = [len(nodes) for nodes in trees]
        roots = np.cumsum([0, *sizes[:-1]]).astype(np.int64)
        nodes = np.concatenate(trees)
        leaf, own = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
        shift = np.repeat(roots, sizes)
        return cls(
            np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32),
            np.where(leaf, 0.0, nodes["num_threshold"]),
            np.where(leaf, own, nodes["left"] + shift).astype(np.int32),
            np.where(leaf, own, nodes["right"] + shift).astype(np.int32),
            nodes["missing_go_to_left"].astype(np.uint8),
            np.where(leaf, nodes["value"], 0.0),
            roots,
            np.asarray(fitted._baseline_prediction, np.float64).ravel(),
        )

    def score(self, x: np.ndarray, rounds: int | None = None) -> np.ndarray:
        """Sum of the leaves each row falls into, (rows, outputs) float64; of the first `rounds` only.

        Args:
            x: (rows, features) float64, NaN where a cell is empty.
        """
        roots = self.roots if rounds is None else self.roots[: rounds * len(self.base)]
        found = np.empty((len(x), len(self.base)))
        step = max(1, CELLS // max(len(roots), 1))
        for start in range(0, len(x), step):
            rows = x[start : start + step]
            at = np.broadcast_to(roots, (len(rows), len(roots))).copy()  # where each row is in each tree
            while True:
                cell = np.take_along_axis(rows, self.feature[at].astype(np.int64), axis=1)
                gone = np.isnan(cell)
                to_left = np.where(gone, self.missing_left[at] == 1, cell <= self.threshold[at])
                following = np.where(to_left, self.left[at], self.right[at])
                if (following == at).all():
                    break
                at = following
            leaves = self.value[at].reshape(len(rows), -1, len(self.base))  # (rows, rounds, outputs)
            found[start : start + step] = self.base + leaves.sum(axis=1)
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def read(cls, arrays: Mapping[str, np.ndarray], num_features: int) -> Forest:
        """From stored arrays, looked at before they are walked.

        Raises:
            ValueError: an index leads out of the arrays, or in a circle.
        """
        forest = cls(**{name: arrays[name] for name in cls.__slots__})
        size, own = len(forest.feature), np.arange(len(forest.feature))
        for child in (forest.left, forest.right):
            if len(child) != size or (child < own).any() or (child >= size).any():
                raise ValueError("a node's child is no later node")
        leaf = (forest.left == own) & (forest.right == own)
        if ((forest.left == own) != (forest.right == own)).any():
            raise ValueError("a node is its own child on one side")
        if (forest.feature[~leaf] < 0).any() or (forest.feature[~leaf] >= num_features).any():
            raise ValueError("a node asks for a feature that is not there")
        if (forest.roots < 0).any() or (forest.roots >= size).any() or len(forest.roots) % max(len(forest.base), 1):
            raise ValueError("a tree begins outside the nodes")
        return forest
