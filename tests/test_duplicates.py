"""duplicates: planted ones are found, exact and near, in texts and pictures; what merely looks alike is not."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcommons.workbench.engine.duplicates import _likely, _signatures, _similarity, common, digests, exact, near

WORDS = ("model", "data", "card", "number", "receipt", "says", "holds", "row", "test", "train", "seed", "loss", "with")

# --- exact ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.text("ab \n", max_size=3), max_size=30), st.lists(st.text("ab \n", max_size=3), max_size=30))
def test_exact_repeats_are_those_of_a_dictionary(contents: list[str], others: list[str]) -> None:
    first: dict[str, int] = {}
    repeats = []
    for at, content in enumerate(contents):
        key = " ".join(content.split())
        if key in first:
            repeats.append((at, first[key]))
        first.setdefault(key, at)
    found = exact(digests(contents))
    assert list(zip(found.rows.tolist(), found.of.tolist(), strict=True)) == repeats
    known = {" ".join(other.split()) for other in others}
    seen = [at for at, content in enumerate(contents) if " ".join(content.split()) in known]
    assert common(digests(contents), digests(others)).tolist() == seen


def test_space_and_unicode_form_make_no_difference_and_letters_do() -> None:
    keys = digests(["café  au\nlait ", "cafe\u0301 au lait", "Café au lait", "cafe au lait"])
    assert exact(keys).rows.tolist() == [1]
    assert exact(digests([b"a b", b"a  b", b"a b"])).rows.tolist() == [2]  # bytes are compared as they are


# --- texts ----------------------------------------------------------------------------------------------------------


def sentence(chance: random.Random, length: int) -> str:
    return " ".join(chance.choice(WORDS) + str(chance.randrange(1000)) for _ in range(length))


def pairs(found: np.ndarray) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in found}


def test_planted_near_duplicates_are_found_and_others_are_not() -> None:
    chance = random.Random(0)
    texts = [sentence(chance, 30) for _ in range(2_000)]
    planted = set()
    for at in range(0, 400, 2):
        words = texts[at].split()
        words[chance.randrange(len(words))] = "changed"
        texts.append(" ".join(words))
        planted.add((at, len(texts) - 1))
    similar = {pair for pair in planted if _similarity(*(texts[at] for at in pair)) >= 0.8}
    found = pairs(near(texts))
    assert len(similar) > 150
    assert len(found & similar) >= 0.99 * len(similar)
    assert found <= planted


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13, 40])
def test_bins_spare_comparisons_and_lose_no_similar_pair(length: int) -> None:
    chance = random.Random(length)
    texts = [sentence(chance, length) for _ in range(100)]
    texts += [text[:at] + "x" + text[at + 1 :] for text in texts for at in (0, len(text) // 2, len(text) - 1)]
    every = np.array(list(itertools.combinations(range(len(texts)), 2)))
    likely = _likely(*_signatures(texts), every)
    similar = np.array([_similarity(texts[a], texts[b]) >= 0.8 for a, b in every.tolist()])
    assert similar.any() or length < 3
    assert not (similar & ~likely).any()
    assert length < 5 or likely.sum() < 0.02 * len(every)


def test_case_width_and_marks_make_near_duplicates_but_the_same_text_is_none() -> None:
    text = "Your parcel 4711 is ready for collection at the post office, please bring this card."
    texts = [
        text,
        text.upper(),
        text.replace(" ", "  "),
        text.replace("4711", "４７１１"),
        "Nothing of the kind at all.",
    ]
    assert pairs(near(texts)) == {(0, 1), (0, 3), (1, 2), (1, 3), (2, 3)}  # 0 and 2 are exact duplicates


def test_chinese_texts_are_compared_by_character() -> None:
    text = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
    assert pairs(near([text, text.replace("楼", "山"), text[::-1]])) == {(0, 1)}


def test_a_chain_of_very_many_is_found_in_a_time_that_grows_with_the_rows() -> None:
    base = sentence(random.Random(0), 40)
    texts = [f"{base} {number}" for number in range(3_000)]
    found = near(texts)
    assert len(np.unique(found)) == 3_000  # each has a neighbour
    assert len(found) < 3_000 * 3 * 17  # not all the 4.5 million pairs


@pytest.mark.parametrize("texts", [[], ["one"], ["", ""], ["", "a"], ["\ud800", "\ud801"], ["ab", "ab", "cd"]])
def test_short_and_odd_texts_do_no_harm(texts: list[str]) -> None:
    assert len(near(texts)) == 0 or pairs(near(texts)) == {(0, 1)}


# --- pictures -------------------------------------------------------------------------------------------------------


def picture(pixels: np.ndarray) -> bytes:
    """A portable any-map of (height, width) or (height, width, 3) values from 0 to 255."""
    height, width = pixels.shape[:2]
    return (
        b"P%d %d %d 255\n" % (5 if pixels.ndim == 2 else 6, width, height) + pixels.clip(0, 255).astype("u1").tobytes()
    )


def scene(chance: np.random.Generator, side: int = 32) -> np.ndarray:
    """A few soft blobs on grey."""
    y, x = np.mgrid[:side, :side] / side
    blobs = ((chance.uniform(-120, 120), chance.uniform(size=2), chance.uniform(0.1, 0.3)) for _ in range(6))
    return 128 + sum(h * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * w * w)) for h, at, w in blobs)


def test_planted_near_pictures_are_found_and_others_are_not() -> None:
    chance = np.random.default_rng(0)
    scenes = [scene(chance) for _ in range(400)]
    changes = [
        lambda pixels: pixels + chance.normal(0, 0.5, pixels.shape),  # as a JPEG of high quality
        lambda pixels: pixels + 2,
        lambda pixels: np.kron(pixels, np.ones((2, 2))),  # twice the size
        lambda pixels: np.repeat(pixels[..., None], 3, axis=2),  # the same in colour
    ]
    planted = [(at, changes[at % 4](scenes[at])) for at in range(0, 400, 5)]
    found = pairs(near([picture(pixels) for pixels in (*scenes, *(changed for _, changed in planted))]))
    expected = {(at, 400 + number) for number, (at, _) in enumerate(planted)}
    assert len(found & expected) >= 0.95 * len(expected)
    assert found <= expected


def test_turned_or_inverted_it_is_another_picture() -> None:
    pixels = scene(np.random.default_rng(1))
    others = [picture(other) for other in (pixels, pixels[:, ::-1], pixels.T, 255 - pixels, pixels + 30)]
    assert len(near(others)) == 0


def test_bytes_that_are_no_picture_have_no_near_duplicates() -> None:
    assert near([b"abc", b"abd"]).shape == (0, 2)
    assert near([]).shape == (0, 2)
