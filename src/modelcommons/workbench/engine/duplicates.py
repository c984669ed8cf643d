"""duplicates: rows with the same content, and with nearly the same, in time and memory that grow only with the rows.

Exact: 128 bits of sha256 over the normalised content. Near: candidates meet in a bucket of a locality-sensitive hash
(texts: one-permutation MinHash over character shingles; pictures: a difference hash), and each candidate pair is then
compared itself: by its common shingles, or pixel by pixel.

Sources: Broder, On the resemblance and containment of documents (1997); Li, Owen & Zhang, One Permutation Hashing
(2012); Shrivastava & Li, Densifying One Permutation Hashing (2014).
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Content = str | bytes


class Contents(Protocol):
    """A sequence that need not be in memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Content: ...


AT_ONCE = 2_048  # texts whose shingles are hashed together
LONGEST = 4_096  # characters of a text that are compared
SHINGLE = 5  # characters
BINS, BAND = 64, 4  # 16 bands of 4: texts of similarity 0.8 meet in one with probability 0.9998
SIMILAR = 0.8  # share of common shingles (Jaccard) from which two texts are near duplicates
# deviations below SIMILAR down to which a pair's bins leave it in doubt, so that it is compared; copied bins vary more
DOUBT = 5.0
EMPTY = np.uint32(0xFFFFFFFF)
WINDOW = 3  # neighbours in a bucket that are compared
FOLLOWING = 3  # bands by which the rows of a bucket are ordered

FAR_BITS = 8  # of 64; up to 3, one of the four bands of 16 bits agrees for certain
PICTURE = re.compile(rb"P([56]) (\d+) (\d+) 255\n")
SIDE = 16  # pixels to which pictures are reduced before they are compared
ALIKE = 4.0  # mean difference in grey (0..255) up to which they are near duplicates


@dataclass(frozen=True, slots=True)
class Repeats:
    """Rows that repeat an earlier one."""

    rows: np.ndarray  # their indices, int64, ascending
    of: np.ndarray  # for each, the first row with the same content


def digests(contents: Iterable[Content]) -> np.ndarray:
    """128 bits for each content, shape (rows,). Unicode form and white space make no difference to a text."""
    raw = b"".join(hashlib.sha256(_normal(content)).digest()[:16] for content in contents)
    return np.frombuffer(raw, dtype=[("high", "<u8"), ("low", "<u8")])


def exact(keys: np.ndarray) -> Repeats:
    """Rows with the same digest as an earlier row."""
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    earliest = first[group]
    rows = np.flatnonzero(earliest != np.arange(len(keys)))
    return Repeats(rows, earliest[rows])


def common(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Indices of `keys` that stand among `others`, int64."""
    both = np.concatenate([keys, others])
    _, group = np.unique(both, return_inverse=True)
    return np.flatnonzero(np.isin(group[: len(keys)], group[len(keys) :]))


def near(contents: Contents) -> np.ndarray:
    """Pairs of different contents that are nearly the same, shape (pairs, 2), int64, the smaller index first.

    Contents are all texts, or all pictures as portable any-maps; other bytes have no near duplicates.

    In a bucket of many, each is compared with its neighbours only: a chain of near duplicates is found, all its pairs
    are not.
    """
    first = contents[0] if len(contents) else b""
    if isinstance(first, bytes) and not PICTURE.match(first):
        return np.empty((0, 2), np.int64)
    pairs = _near_texts(contents) if isinstance(first, str) else _near_pictures(contents)
    different = [pair for pair in pairs.tolist() if _normal(contents[pair[0]]) != _normal(contents[pair[1]])]
    return np.array(different, np.int64).reshape(-1, 2)


def _normal(content: Content) -> bytes:
    if isinstance(content, bytes):
        return content
    text = content if content.isascii() else unicodedata.normalize("NFC", content)
    return " ".join(text.split()).encode("utf-8", "surrogatepass")


def _buckets(bands: np.ndarray) -> np.ndarray:
    """Pairs of rows that are neighbours where a band agrees, (pairs, 2); `bands`: (rows, bands) of what sorts.

    Within a bucket rows are ordered by the bands that follow, so that those alike in more than one stand together.
    """
    num_rows = len(bands)
    groups = np.stack([np.unique(band, return_inverse=True)[1].astype(np.int32) for band in bands.T])  # (bands, rows)
    found = [np.empty(0, np.int64)]
    for band in range(len(groups)):
        order = np.lexsort(np.roll(groups, -band, axis=0)[: FOLLOWING + 1][::-1])  # the last key is the first
        ordered = groups[band, order]
        for step in range(1, WINDOW + 1):
            meet = np.flatnonzero(ordered[step:] == ordered[:-step])
            one, other = order[meet], order[meet + step]
            found.append(np.minimum(one, other) * num_rows + np.maximum(one, other))
    return np.stack(np.divmod(np.unique(np.concatenate(found)), num_rows), axis=1)


# --- texts ----------------------------------------------------------------------------------------------------------


def _near_texts(contents: Contents) -> np.ndarray:
    bins, full = _signatures(contents)
    pairs = _buckets(bins.view(np.dtype((np.void, 4 * BAND))))
    pairs = pairs[_likely(bins, full, pairs)]
    similar = [_similarity(contents[a], contents[b]) >= SIMILAR for a, b in pairs.tolist()]
    return np.asarray(pairs[np.array(similar, bool)])


def _likely(bins: np.ndarray, full: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Whether two texts may be similar by the share of their bins that agree, (pairs,): spares most comparisons.

    The share estimates their similarity from as many shingles as there are full bins; few leave more in doubt.
    """
    likely = [np.empty(0, bool)]
    for some in np.array_split(pairs, len(pairs) // AT_ONCE + 1):
        a, b = some.T
        share = (bins[a] == bins[b]).mean(axis=1)
        deviation = np.sqrt(SIMILAR * (1 - SIMILAR) / np.minimum(full[a], full[b]))
        likely.append(share >= SIMILAR - DOUBT * deviation)
    return np.concatenate(likely)


def _similarity(a: Content, b: Content) -> float:
    """Share of shingles that two texts have in common (Jaccard)."""
    one, two = _shingles(_folded(a)), _shingles(_folded(b))
    return len(one & two) / len(one | two)


def _folded(content: Content) -> str:
    """What near duplicates may differ in is gone: case, width, white space."""
    text = " ".join(unicodedata.normalize("NFKC", str(content)[:LONGEST]).casefold().split())
    return text.ljust(SHINGLE).encode("utf-8", "replace").decode()


def _signatures(contents: Contents) -> tuple[np.ndarray, np.ndarray]:
    """One-permutation MinHash of each text, shape (rows, BINS), uint32; and how many of its bins were full, (rows,)."""
    bins, full = np.empty((len(contents), BINS), np.uint32), np.empty(len(contents), np.uint8)
    for start in range(0, len(contents), AT_ONCE):
        here = range(start, min(start + AT_ONCE, len(contents)))
        least = _least([_folded(contents[index]) for index in here])
        full[here.start : here.stop] = (least != EMPTY).sum(axis=1)
        bins[here.start : here.stop] = _densified(least)
    return bins, full


def _least(texts: list[str]) -> np.ndarray:
    """The least hash of the shingles of each text that fall into each bin, shape (texts, BINS), uint32, or EMPTY."""
    points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.uint64)
    lengths = np.array([len(text) for text in texts])
    row = np.repeat(np.arange(len(texts)), lengths)
    starts = np.flatnonzero(row[: len(row) - SHINGLE + 1] == row[SHINGLE - 1 :])  # shingles within one text
    hashed = np.zeros(len(starts), np.uint64)
    for offset in range(SHINGLE):
        hashed = hashed * np.uint64(0x100000001B3) + points[starts + offset]
    hashed = _mixed(hashed)  # (shingles,)
    least = np.full(len(texts) * BINS, EMPTY)
    where = row[starts] * BINS + (hashed >> np.uint64(58)).astype(np.int64)  # 6 bits: one of 64 bins
    np.minimum.at(least, where, (hashed & np.uint64(0x7FFFFFFF)).astype(np.uint32))
    return least.reshape(-1, BINS)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit of the input moves every bit of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _densified(least: np.ndarray) -> np.ndarray:
    """Empty bins take the value of the next full one to the right, marked by the distance."""
    empty = least == EMPTY
    filled = least.copy()
    for distance in range(1, BINS):
        if not empty.any():
            break
        other = np.roll(least, -distance, axis=1)
        now = empty & (other != EMPTY)
        filled[now] = other[now] + np.uint32(distance * 0x9E3779B9 & 0xFFFFFFFF)
        empty &= ~now
    return filled


def _shingles(text: str) -> set[str]:
    return {text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)}


# --- pictures -------------------------------------------------------------------------------------------------------


def _near_pictures(contents: Contents) -> np.ndarray:
    hashes = np.empty((len(contents), 1), np.uint64)
    small = np.empty((len(contents), SIDE * SIDE), np.uint8)
    for index in range(len(contents)):
        grey = _grey(contents[index])
        hashes[index] = _hash(grey)
        small[index] = _reduced(grey, SIDE, SIDE).round().ravel()
    pairs = _buckets(hashes.view(np.uint16))
    a, b = pairs.T
    close = np.bitwise_count(hashes[a, 0] ^ hashes[b, 0]) <= FAR_BITS
    pairs = pairs[close]
    alike = [
        np.abs(small[some[:, 0]].astype(np.int16) - small[some[:, 1]]).mean(axis=1) <= ALIKE
        for some in np.array_split(pairs, len(pairs) // AT_ONCE + 1)
    ]
    return np.asarray(pairs[np.concatenate(alike)])


def _hash(grey: np.ndarray) -> np.ndarray:
    """Difference hash: which of two neighbours is brighter, on 8 x 9 areas; uint64."""
    areas = _reduced(grey, 8, 9)
    return np.packbits(areas[:, 1:] > areas[:, :-1]).view(np.uint64)


def _grey(content: Content) -> np.ndarray:
    """The brightness of a portable any-map (P5 or P6, 8 bits), shape (height, width), float32, 0..255."""
    assert isinstance(content, bytes)
    head = PICTURE.match(content)
    assert head is not None, "a task's content of bytes is a portable any-map"
    width, height = int(head[2]), int(head[3])
    pixels = np.frombuffer(content, np.uint8, offset=head.end()).reshape(height, width, -1)
    return np.asarray(pixels.mean(axis=2, dtype=np.float32) if head[1] == b"6" else pixels[:, :, 0].astype(np.float32))


def _reduced(grey: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The mean of each of rows x columns equal areas."""
    return np.asarray(_areas(grey.shape[0], rows) @ grey @ _areas(grey.shape[1], columns).T)


@functools.lru_cache(maxsize=256)
def _areas(length: int, parts: int) -> np.ndarray:
    """Weights, shape (parts, length), that average `length` pixels into `parts` areas, fractions of pixels included."""
    edges = np.linspace(0, length, parts + 1)
    pixels = np.arange(length)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.maximum(shared, 0) * parts / length, np.float32)
