"""disturb: pictures and texts are hurt as is said, and no further."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.ndimage import gaussian_filter

from modelcommons.workbench.fields.image import disturb as pictures
from modelcommons.workbench.fields.text import disturb as texts

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_noise_is_as_strong_as_it_is_said() -> None:
    gray = np.full((200, 200, 1), 128, np.uint8)
    moved = pictures.disturb(gray, "noise", "a") - gray.astype(np.float64)
    assert moved.std() == pytest.approx(255 * pictures.NOISE, rel=0.02) and abs(moved.mean()) < 1
    assert (pictures.disturb(gray, "noise", "a") == pictures.disturb(gray, "noise", "a")).all()
    assert (pictures.disturb(gray, "noise", "a") != pictures.disturb(gray, "noise", "b")).any()


def test_a_blur_is_that_of_scipy() -> None:
    sigma = pictures.BLUR * 40
    expected = gaussian_filter(PICTURE.astype(float), (sigma, sigma, 0), mode="nearest", radius=(4, 4, 0))
    assert np.abs(pictures.disturb(PICTURE, "blur", "") - expected).max() <= 0.5 + 1e-9


def test_dark_is_a_share_of_the_light() -> None:
    assert np.abs(pictures.disturb(PICTURE, "dark", "") - PICTURE * pictures.DARK).max() <= 0.5


@pytest.mark.parametrize("name", pictures.DISTURBANCES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 8, 1), (5, 33, 3)])
def test_a_picture_stays_a_picture(name: str, shape: tuple[int, ...]) -> None:
    disturbed = pictures.disturb(np.full(shape, 250, np.uint8), name, "a")
    assert disturbed.shape == shape and disturbed.dtype == np.uint8


@given(some.text(), some.text())
def test_typos_move_letters_inside_longer_words_only(text: str, salt: str) -> None:
    mistyped = texts.disturb(text, "typos", salt)
    assert sorted(mistyped) == sorted(text)
    assert texts.disturb(text, "typos", salt) == mistyped
    spaces = [at for at, char in enumerate(text) if char.isspace()]
    assert [at for at, char in enumerate(mistyped) if char.isspace()] == spaces


def test_as_many_words_are_mistyped_as_is_said() -> None:
    words = ["abcdefgh"] * 10_000
    mistyped = texts.disturb(" ".join(words), "typos", "a").split()
    assert sum(a != b for a, b in zip(words, mistyped, strict=True)) == pytest.approx(1_000, abs=100)
    assert all(word[0] == "a" and word[-1] == "h" for word in mistyped)
    assert texts.disturb("a cat sat on the mat", "typos", "a") == "a cat sat on the mat"


def test_capitals() -> None:
    assert texts.disturb("Straße 5, 中文", "capitals", "") == "STRASSE 5, 中文"
