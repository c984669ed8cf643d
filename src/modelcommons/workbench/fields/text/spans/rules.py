"""rules: how right one answer is, as the scripts of SQuAD and of CMRC 2018 count."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Literal

Rules = Literal["squad", "cmrc"]
RULES: tuple[Rules, ...] = ("squad", "cmrc")

ARTICLE = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")  # of CMRC's script, which forgot the ellipsis
HAN = re.compile("[\u4e00-\u9fa5]")
FOREIGN = re.compile(r"\w+(?:[.,'’]\w+)*|[^\w\s]")  # where CMRC's script asks nltk, with the same result for most words
LETTER = re.compile(r"[^\W\d_]")


def compare(rules: Rules, answer: str, known: Sequence[str]) -> tuple[float, float]:
    """Exact match (0 or 1) and F1 of an answer: the best over the known ones. An empty answer says that there is none.

    Source: Rajpurkar, Jia & Liang, Know What You Don't Know: Unanswerable Questions for SQuAD (2018), official script;
    Cui et al., A Span-Extraction Dataset for Chinese Machine Reading Comprehension (2019), official script.

    Args:
        known: empty where the question has no answer.
    """
    if rules == "squad":
        # the script leaves out known answers of which nothing is left, such as `the`
        golds = [gold for gold in map(squad_words, known) if gold] or [[]]
        words = squad_words(answer)
        return float(words in golds), max(_overlap(words, gold) for gold in golds)
    if not known:
        return float(not answer), float(not answer)
    bare = _bare(answer)
    return float(any(bare == _bare(one) for one in known)), max(_run_overlap(answer, one) for one in known)


def rules_of(text: str) -> Rules:
    """`cmrc` for a text most of whose letters are Chinese."""
    return "cmrc" if 2 * len(HAN.findall(text)) > len(LETTER.findall(text)) else "squad"


def squad_words(text: str) -> list[str]:
    """Words in lower case, without ASCII punctuation and English articles."""
    return ARTICLE.sub(" ", text.lower().translate(PUNCTUATION)).split()


def segments(text: str) -> list[str]:
    """CMRC's mixed segmentation without punctuation: single Chinese characters, and words of what is between them."""
    found: list[str] = []
    foreign = ""
    for char in text.lower().strip():
        if char in MARKS:  # what it stands between grows together, as in the script
            continue
        if HAN.match(char):
            found += [*FOREIGN.findall(foreign), char]
            foreign = ""
        else:
            foreign += char
    return [*found, *FOREIGN.findall(foreign)]


def longest_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest stretch that stands in both."""
    longest = 0
    before = [0] * (len(b) + 1)  # lengths of the runs that end at each place of b and at the last one of a
    for one in a:
        now = [0] * (len(b) + 1)
        for at, other in enumerate(b):
            if one == other:
                now[at + 1] = before[at] + 1
        longest, before = max(longest, *now), now
    return longest


def _overlap(answer: Sequence[str], known: Sequence[str]) -> float:
    """F1 of the words in common, however they are ordered."""
    if not answer or not known:
        return float(answer == known)
    common = sum((Counter(answer) & Counter(known)).values())
    return _f1(common, len(answer), len(known))


def _run_overlap(answer: str, known: str) -> float:
    """F1 of the longest run of segments in common."""
    mine, theirs = segments(answer), segments(known)
    return _f1(longest_run(mine, theirs), len(mine), len(theirs))


def _f1(common: int, size: int, known: int) -> float:
    return 2 * (common / size) * (common / known) / (common / size + common / known) if common else 0.0


def _bare(text: str) -> str:
    return "".join(char for char in text.lower().strip() if char not in MARKS)
