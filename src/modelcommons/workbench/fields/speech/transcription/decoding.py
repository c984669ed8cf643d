"""decoding: the most probable text of a recogniser that gives each frame's probabilities (CTC).

Source of the model: Graves et al., Connectionist Temporal Classification (2006).
"""

# T frames, K labels, of which 0 is the blank

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

NEVER = -math.inf
CERTAIN = 100.0  # nats between the best answer and the next where there is no other


@dataclass(frozen=True, slots=True)
class Decoded:
    labels: tuple[int, ...]
    margin: float  # nats by which the best is more probable than the next


def greedy(log_probs: np.ndarray) -> Decoded:
    """The best label of every frame, repeats and blanks taken out; the margin is that of the least sure frame.

    Args:
        log_probs: float (T, K).
    """
    if not len(log_probs):
        return Decoded((), CERTAIN)
    best = log_probs.argmax(axis=1)
    first = np.concatenate([[True], best[1:] != best[:-1]])
    top = np.sort(log_probs, axis=1)[:, -2:]
    margin = min(CERTAIN, float((top[:, 1] - top[:, 0]).min()))
    return Decoded(tuple(best[first & (best != 0)].tolist()), margin)


def beam(log_probs: np.ndarray, width: int) -> Decoded:
    """Prefix beam search: the most probable text, over all ways of writing it, among those that stay in the beam.

    Source: Hannun, Maas, Jurafsky & Ng, First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional
    Recurrent DNNs (2014), algorithm 1, without a language model.

    Args:
        log_probs: float (T, K).
        width: prefixes that are kept after every frame.
    """
    prefixes: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, NEVER)}  # log of: ends in a blank, or not
    for frame in log_probs.tolist():
        found: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [NEVER, NEVER])
        for prefix, (blank, other) in prefixes.items():
            both, last = _sum(blank, other), prefix[-1] if prefix else 0
            same = found[prefix]
            same[0] = _sum(same[0], both + frame[0])
            if prefix:
                same[1] = _sum(same[1], other + frame[last])  # the same character, held
            for label in range(1, len(frame)):
                longer = found[(*prefix, label)]
                longer[1] = _sum(longer[1], (blank if label == last else both) + frame[label])
        best = sorted(found.items(), key=lambda item: (-_sum(*item[1]), item[0]))[:width]
        prefixes = {prefix: (blank, other) for prefix, (blank, other) in best}
    totals = [(_sum(*ends), prefix) for prefix, ends in prefixes.items()]
    margin = min(CERTAIN, totals[0][0] - totals[1][0]) if len(totals) > 1 else CERTAIN
    return Decoded(totals[0][1], margin)


def _sum(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + math.log1p(math.exp(b - a))
