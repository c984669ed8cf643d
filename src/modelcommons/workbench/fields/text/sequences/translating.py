"""translating: BLEU and chrF of translations, by sacreBLEU's rules, from stored lines alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.workbench.fields.text.sequences.corpus import DRAWS, Corpus, bleu, chrf
from modelcommons.workbench.fields.text.sequences.lines import texts_of
from modelcommons.workbench.task import Line, Metric, Score

METRICS = (
    Metric("bleu", "higher", 0.0, 100.0, "n-grams of words in common with any reference, by sacreBLEU's tokeniser"),
    Metric("char_bleu", "higher", 0.0, 100.0, "the same over characters, blanks left out"),
    Metric("chrf", "higher", 0.0, 100.0, "F-score of n-grams of characters, recall counting twice (chrF2)"),
)
TOKENIZERS = ("13a", "zh", "char", "intl", "none")


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Every metric over all lines together, with a bootstrap of the lines; sacreBLEU's signature is in the method.

    Raises:
        DataError: there are no lines.
        FormatError: a line is no translation.
    """
    found = []
    for metric, corpus in zip(METRICS, _corpora(lines), strict=True):
        value, (low, high) = corpus.score(), corpus.interval(seed)
        method = f"percentile-bootstrap(draws={DRAWS},seed={seed}); sacreBLEU {corpus.signature}"
        found.append(Score(metric.name, value, metric.direction, min(low, value), max(high, value), method))
    return found


def losses(lines: Sequence[Line]) -> np.ndarray:
    """1 - chrF / 100 of each translation, (lines,): BLEU is made for many sentences together."""
    return np.asarray(1 - chrf(*texts_of(lines)).each() / 100)


def value(lines: Sequence[Line]) -> float:
    """BLEU alone."""
    texts, references = texts_of(lines)
    return bleu(_tokenize(lines), texts, references).score()


def _corpora(lines: Sequence[Line]) -> tuple[Corpus, Corpus, Corpus]:
    texts, references = texts_of(lines)
    return bleu(_tokenize(lines), texts, references), bleu("char", texts, references), chrf(texts, references)


def _tokenize(lines: Sequence[Line]) -> str:
    """Of the first line: they have one."""
    found = lines[0]["target"].get("tokenize")
    if found not in TOKENIZERS:
        raise FormatError(
            f"Expected sacreBLEU's tokeniser ({', '.join(TOKENIZERS)}) in each target, got {found!r:.40}."
        )
    return str(found)
