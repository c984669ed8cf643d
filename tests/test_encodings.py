"""texts held end to end: what goes in comes out, and the seldom words of a bag are counted as before."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelcommons.workbench.fields.text.architectures import ARCHITECTURES
from modelcommons.workbench.fields.text.encoders import BagEncoder, Encodings, TokenEncoder, bags
from modelcommons.workbench.fields.text.ngrams import grams, rarity

READ = grams(ARCHITECTURES["bag"]().model_dump())


@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1))))
def test_gives_back_what_it_was_given(texts: list[list[int]]) -> None:
    encoded = Encodings(np.array(text, np.int64) for text in texts)
    assert [each.tolist() for each in encoded] == texts
    assert encoded.lengths.tolist() == list(map(len, texts))


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
def test_a_bag_is_its_n_grams_and_how_often_each_comes(texts: list[str]) -> None:
    encoded = bags(READ, texts)
    for text, (buckets, often) in zip(texts, encoded, strict=True):
        wanted = READ.of(text)
        assert (buckets.tolist(), often.tolist()) == (wanted[0].tolist(), wanted[1].tolist())
    assert encoded.lengths.tolist() == [len(READ.of(text)[0]) for text in texts]
    encoder = BagEncoder(READ, rarity((buckets for buckets, _ in encoded), READ.buckets))
    made = encoder.collate([encoded[index] for index in range(len(texts))])
    assert made["input_ids"].shape[1] == max(1, encoded.lengths.max())
    lengths = np.sqrt((made["weights"] ** 2).sum(axis=1))
    assert np.allclose(lengths, [bool(READ.of(text)[0].size) for text in texts], atol=1e-6)


def test_a_text_without_tokens_is_one_of_padding() -> None:
    encoded = TokenEncoder(lambda texts: [[7] * len(text) for text in texts], pad=3).encode(["ab", "", "abc"])
    assert [each.tolist() for each in encoded] == [[7, 7], [3], [7, 7, 7]]
