"""disturb: texts as a hastier hand would have written them."""

from __future__ import annotations

import re
import zlib

import numpy as np

TYPOS = 0.1  # share of the words of four letters and more

DISTURBANCES = {
    "typos": f"in {TYPOS:.0%} of the longer words two neighbouring letters are swapped",
    "capitals": "all letters are capitals",
}
LONG_WORD = re.compile(r"\w{4,}")


def disturb(text: str, name: str, salt: str) -> str:
    """The text, disturbed; the same salt gives the same typos."""
    if name == "capitals":
        return text.upper()
    rng = np.random.default_rng(zlib.crc32(salt.encode()))

    def mistyped(found: re.Match[str]) -> str:
        word = found[0]
        if rng.random() >= TYPOS:
            return word
        at = int(rng.integers(1, len(word) - 2))  # first and last letter stay, as they mostly do
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return LONG_WORD.sub(mistyped, text)
