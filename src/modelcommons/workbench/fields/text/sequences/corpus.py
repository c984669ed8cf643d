"""corpus: sacreBLEU's scores of many texts together, from counts of each text, so that resampling them is quick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DRAWS = 2000


class Corpus:
    """What sacreBLEU counts in each text: n-grams in common with its references, and lengths; (texts, counts)."""

    def __init__(self, metric: Any, texts: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """`metric`: BLEU or CHRF of sacrebleu. `references`: of each text, one or more."""
        most = max(map(len, references))
        streams = [[known[at] if at < len(known) else None for known in references] for at in range(most)]
        self._metric = metric
        self._counts = np.array(metric._extract_corpus_statistics(list(texts), streams), np.float64)
        self.signature = str(metric.get_signature())

    def score(self) -> float:
        """Of all texts together, 0 to 100."""
        return self._of(self._counts.sum(axis=0))

    def each(self) -> np.ndarray:
        """Of every text alone, (texts,)."""
        return np.array([self._of(counts) for counts in self._counts])

    def drawn(self, seed: int) -> np.ndarray:
        """Scores of the texts drawn again and again, (draws,); the same texts for another corpus as large.

        Source: Koehn, Statistical Significance Tests for Machine Translation Evaluation (2004).
        """
        size = len(self._counts)
        often = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), DRAWS)  # (draws, texts)
        return np.array([self._of(counts) for counts in often @ self._counts])

    def interval(self, seed: int) -> tuple[float, float]:
        """95 % percentile-bootstrap interval over the texts."""
        low, high = np.quantile(self.drawn(seed), [0.025, 0.975])
        return float(low), float(high)

    def _of(self, counts: np.ndarray) -> float:
        return float(self._metric._compute_score_from_stats(counts.tolist()).score)


def bleu(tokenize: str, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Corpus:
    """Source: Papineni et al., BLEU (2002); Post, A Call for Clarity in Reporting BLEU Scores (2018)."""
    from sacrebleu.metrics.bleu import BLEU

    return Corpus(BLEU(tokenize=tokenize, force=True), texts, references)


def chrf(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Corpus:
    """Source: Popović, chrF: character n-gram F-score for automatic MT evaluation (2015); chrF2."""
    from sacrebleu.metrics.chrf import CHRF

    return Corpus(CHRF(), texts, references)
