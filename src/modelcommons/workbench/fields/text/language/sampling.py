"""sampling: which token is written next."""

from __future__ import annotations

import numpy as np

from modelcommons.workbench.fields.text.language.passages import Prompt


def draw(logits: np.ndarray, prompt: Prompt, rng: np.random.Generator) -> int:
    """One token; at temperature 0 the likeliest, the first of equals.

    Args:
        logits: (V,) float64; -inf is never drawn.
    """
    if prompt.temperature == 0:
        return int(logits.argmax())
    shares = allowed(logits, prompt.temperature, prompt.top_k, prompt.top_p)
    return min(int(np.searchsorted(np.cumsum(shares), rng.random(), side="right")), int(np.flatnonzero(shares)[-1]))


def allowed(logits: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """Probability of each token, (V,): tempered, then cut to the `top_k` likeliest, then to the fewest that together
    have the share `top_p`.

    Source: Fan, Lewis & Dauphin, Hierarchical Neural Story Generation (2018) for top k; Holtzman et al., The Curious
    Case of Neural Text Degeneration (2020) for top p. Of equal ones the first are kept.
    """
    powers = np.exp((logits - logits.max()) / temperature)
    order = np.argsort(-powers, kind="stable")
    kept = np.ones(len(order), bool)
    if top_k:
        kept[top_k:] = False
    ranked = np.where(kept, powers[order], 0.0)
    ranked /= ranked.sum()
    if top_p < 1:
        ranked[np.cumsum(ranked) - ranked >= top_p] = 0.0
    shares = np.zeros(len(order))
    shares[order] = ranked / ranked.sum()
    return shares
