"""rewriting: how near texts are to known ones, by characters, by words in order, to the letter; from stored lines."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from modelcommons.workbench.engine.statistics import bootstrap, wilson
from modelcommons.workbench.fields.text.ngrams import WORD
from modelcommons.workbench.fields.text.sequences.corpus import DRAWS, chrf
from modelcommons.workbench.fields.text.sequences.lines import texts_of
from modelcommons.workbench.task import Line, Metric, Score

METRICS = (
    Metric("chrf", "higher", 0.0, 100.0, "F-score of n-grams of characters, recall counting twice (chrF2)"),
    Metric("rouge_l", "higher", 0.0, 1.0, "F-score of the longest row of words in common, the best of the references"),
    Metric("exact_match", "higher", 0.0, 1.0, "share of the texts that are a known one to the letter"),
)


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Every metric; chrF over all lines together, the others as means, with a bootstrap of the lines.

    Raises:
        DataError: there are no lines.
        FormatError: a line has no texts.
    """
    texts, references = texts_of(lines)
    corpus, drawn = chrf(texts, references), f"percentile-bootstrap(draws={DRAWS},seed={seed})"
    value, (low, high) = corpus.score(), corpus.interval(seed)
    method = f"{drawn}; sacreBLEU {corpus.signature}"
    found = [Score("chrf", value, "higher", min(low, value), max(high, value), method)]
    words = np.array([rouge_l(text, known) for text, known in zip(texts, references, strict=True)])
    value, (low, high) = float(words.mean()), bootstrap(words, seed, DRAWS)
    found.append(Score("rouge_l", value, "higher", min(low, value), max(high, value), drawn))
    right, asked = sum(text in known for text, known in zip(texts, references, strict=True)), len(texts)
    found.append(Score("exact_match", right / asked, "higher", *wilson(right, asked), "wilson", right, asked))
    return found


def losses(lines: Sequence[Line]) -> np.ndarray:
    """1 - chrF / 100 of each text, (lines,)."""
    return np.asarray(1 - chrf(*texts_of(lines)).each() / 100)


def value(lines: Sequence[Line]) -> float:
    """chrF alone."""
    return chrf(*texts_of(lines)).score()


def rouge_l(text: str, references: Sequence[str]) -> float:
    """Of one text, 0 to 1: words in lower case, characters of scripts that are written without blanks.

    Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries (2004), section 3.1, with precision and recall
    counting alike.
    """
    found = 0.0
    words = WORD.findall(text.lower())
    for known in (WORD.findall(reference.lower()) for reference in references):
        if words and known:
            found = max(found, 2 * common(words, known) / (len(words) + len(known)))
    return found


def common(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Length of the longest row of items that both have in this order.

    Source: Hyyrö, Bit-Parallel LCS-length Computation Revisited (2004): a bit for each item of `a`.
    """
    places: dict[Hashable, int] = {}
    for at, item in enumerate(a):
        places[item] = places.get(item, 0) | 1 << at
    every = (1 << len(a)) - 1
    left = every
    for item in b:
        matched = left & places.get(item, 0)
        left = ((left + matched) | (left - matched)) & every
    return len(a) - left.bit_count()
