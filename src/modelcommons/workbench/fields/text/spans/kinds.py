"""kinds: what a question asks for, by its question word, in English and Chinese."""

from __future__ import annotations

import re

# in order, the first that is found: `how many` comes before `how`, and what Chinese says with more words before `哪`
PATTERNS = {
    "how many": r"\bhow (many|much|old|long|far|often)\b|多少|几[^乎何年月日]|多[久长大高远]",
    "when": r"\bwhen\b|\b(what|which) (year|date|day|month|century)\b|什么时[候间]|何时|哪一?[年天]|几[年月日]",
    "where": r"\bwhere\b|哪里|哪儿|何[地处]|什么地[方点]|哪个?[国省市县地]",
    "who": r"\bwho(m|se)?\b|谁|何人|哪一?[位人]|什么人",
    "why": r"\bwhy\b|为什么|为何|原因",
    "how": r"\bhow\b|如何|怎[么样]",
    "which": r"\bwhich\b|哪",
    "what": r"\bwhat\b|什么|何|啥",
}
NUMBER = re.compile(
    r"\d|[零〇一二两三四五六七八九十百千万亿]$|(one|two|three|four|five|six|seven|eight|nine|ten|dozen|hundred|thousand|million)s?$",
    re.IGNORECASE,
)
KINDS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in PATTERNS.items()}


def kind_of(question: str) -> str:
    """`who`, `what`, ... or `other`; of several question words, the kind that stands first in the table."""
    return next((kind for kind, pattern in KINDS.items() if pattern.search(question)), "other")


def fits(kind: str, word: str) -> bool:
    """Whether a word looks like an answer to such a question: a number, or a name where names begin with capitals."""
    if kind in ("how many", "when"):
        return bool(NUMBER.match(word))
    return kind in ("who", "where") and word[0].isupper()
