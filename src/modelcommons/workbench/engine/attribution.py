"""attribution: what an answer rested on, through captum; and the deletion test, which asks whether that is true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

SHARE = 0.2  # of the features are removed in the deletion test
DRAWS = 10_000
SURE = 0.05  # a larger p value: no better than random

Score = Callable[["Tensor"], "Tensor"]  # inputs (batch, ...) -> the answer's score (batch,)
Strength = Callable[[int, list[np.ndarray]], np.ndarray]  # example, features removed in each trial -> (trials,)


def integrated_gradients(score: Score, inputs: Tensor, baseline: Tensor, steps: int = 32) -> np.ndarray:
    """How much each input number moves the score on the straight way from the baseline; same shape as `inputs`.

    Source: Sundararajan, Taly & Yan, Axiomatic Attribution for Deep Networks (2017).

    Args:
        inputs: one example, shape (1, ...); so `baseline`, the example with nothing in it.
    """
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(score).attribute(inputs, baselines=baseline, n_steps=steps)
    return np.asarray(found.detach().cpu().numpy())


def occlusion(score: Score, inputs: Tensor, baseline: Tensor, groups: np.ndarray, at_once: int = 32) -> np.ndarray:
    """How far the score falls when each group of input numbers is set to the baseline; shape (groups,).

    Source: Zeiler & Fergus, Visualizing and Understanding Convolutional Networks (2014), section 4.2.

    Args:
        groups: number of each input's group from 0, int64, broadcast to the shape of `inputs`.
    """
    import torch
    from captum.attr import FeatureAblation

    mask = torch.from_numpy(np.broadcast_to(groups, inputs.shape).copy()).to(inputs.device)
    with torch.no_grad():
        found = FeatureAblation(score).attribute(
            inputs, baselines=baseline, feature_mask=mask, perturbations_per_eval=at_once
        )
    fall = found.detach().cpu().numpy().ravel()
    first = np.unique(mask.cpu().numpy(), return_index=True)[1]  # every input of a group carries the group's value
    return np.asarray(fall[first])


def by_group(weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums of the weights of each group; shape (groups,)."""
    return np.bincount(np.broadcast_to(groups, weights.shape).ravel(), weights.ravel())


# --- is it true -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deletion:
    """Removing the features that explanations name, against removing as many at random, over all examples."""

    named: float  # mean fall of the answer's strength
    random: float
    p_value: float  # one-sided: that explanations name nothing special
    wins: int  # examples where what was named weighed more than the mean of the random trials
    examples: int
    trials: int
    share: float  # of the features that was removed

    @property
    def holds(self) -> bool:
        return self.p_value <= SURE and self.named > self.random


def deletion(
    weights: Sequence[np.ndarray], strength: Strength, trials: int, seed: int, share: float = SHARE
) -> Deletion:
    """The paired comparison, with an exact kind of p value.

    Had an explanation named features at random, its trial would be one among the random ones; so in each draw every
    example picks any of its trials as the named one, and the p value is the share of draws whose mean fall is at least
    the one seen. That holds for any number of examples and any distribution of falls.

    Args:
        weights: one array (features,) per example; the largest positive ones are what it names.
        strength: how strongly the model still gives its answer; an empty array removes nothing.
    """
    rng = np.random.default_rng(seed)
    falls = np.array([_falls(one, at, strength, trials, rng, share) for at, one in enumerate(weights)])
    named, random = falls[:, 0], falls[:, 1:].mean(axis=1)
    picked = falls[np.arange(len(falls)), rng.integers(0, trials + 1, (DRAWS, len(falls)))].mean(axis=1)
    p_value = (1 + int((picked >= named.mean() - 1e-12).sum())) / (1 + DRAWS)
    wins = int((named > random).sum())
    return Deletion(float(named.mean()), float(random.mean()), p_value, wins, len(falls), trials, share)


def _falls(
    weights: np.ndarray, at: int, strength: Strength, trials: int, rng: np.random.Generator, share: float
) -> np.ndarray:
    """Fall of one example's strength: first without what is named, then without as much at random; (1 + trials,)."""
    count = max(1, min(round(share * len(weights)), int((weights > 0).sum())))
    named = np.argsort(-weights, kind="stable")[:count]
    removed = [named, *(rng.choice(len(weights), count, replace=False) for _ in range(trials))]
    found = strength(at, [np.array([], np.int64), *removed])
    return np.asarray(found[0] - found[1:])
