"""text-generation: what a text costs, against independent counts; how texts are cut, drawn, streamed and refused."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from called import Commons
from hypothesis import given, settings
from hypothesis import strategies as st

import modelcommons as mc
from modelcommons.errors import DataError
from modelcommons.formats.model_folder import WEIGHTS, write_config
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.text.generation import TASK
from modelcommons.workbench.fields.text.language import tokens as kinds
from modelcommons.workbench.fields.text.language.metrics import losses, scores
from modelcommons.workbench.fields.text.language.ngrams import CharacterNgrams
from modelcommons.workbench.fields.text.language.passages import (
    Options,
    Passage,
    Passages,
    Prompt,
    Text,
    cut,
    read_input,
)
from modelcommons.workbench.fields.text.language.sampling import allowed
from modelcommons.workbench.task import Choice, Job, Row

PLAIN = st.text(st.characters(codec="utf-8"), max_size=60)
CONTEXT = 16
ALPHABET = "\n abcdefgh"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing: weights as they came."""
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.text.language.gpt import Gpt

    options = {
        "tokens": "characters", "vocabulary": 320, "width": 16, "layers": 2, "heads": 2, "ngrams": 3, "buckets": 64,
        "dropout": 0.0,
    }  # fmt: skip
    torch.manual_seed(0)
    network = Gpt(len(ALPHABET) + 2, **options)  # type: ignore[arg-type]
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    made = tmp_path_factory.mktemp("model")
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, made / WEIGHTS)
    write_config(made, "text-generation", "gpt", options, context=CONTEXT, alphabet=ALPHABET)
    return made


# --- what a text costs ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.floats(0, 500), st.integers(1, 50)), min_size=1))
@settings(max_examples=8)
def test_scores_are_an_independent_count(answers: list[tuple[str, float, int]]) -> None:
    answers = [(text.encode("utf-8", "replace").decode(), nats, tokens) for text, nats, tokens in answers]
    lines = [
        {"id": f"a@{at}", "target": text, "prediction": {"nats": nats, "tokens": tokens}}
        for at, (text, nats, tokens) in enumerate(answers)
    ]
    nats = math.fsum(nats for _, nats, _ in answers)
    per_char, bits, perplexity = scores(lines)
    assert per_char.value == pytest.approx(nats / len("".join(text for text, _, _ in answers)))
    size = sum(len(bytes(text, "utf-8")) for text, _, _ in answers)
    assert bits.value == pytest.approx(nats * math.log2(math.e) / size)
    if nats / sum(tokens for _, _, tokens in answers) < 600:
        assert perplexity.value == pytest.approx(math.e ** (nats / sum(tokens for _, _, tokens in answers)))
    assert losses(lines)[0] == pytest.approx(answers[0][1] / len(answers[0][0]))


def test_a_model_costs_what_torch_says_token_by_token(folder: Path) -> None:
    """Each token of a passage once, from at least half a context and at most a whole one, as far as there is a past."""
    import torch

    model = TASK.load(folder)
    text = "".join(np.random.default_rng(1).choice(list(ALPHABET), 75))
    ids = [0, *model.config.tokens.encode(text).tolist()]
    for start, end in ((0, 5), (0, 75), (40, 75), (3, 60)):
        expected = 0.0
        for at in range(start, end):
            begin = (at - start) // (CONTEXT // 2) * (CONTEXT // 2)  # tokens are read half a context at a time
            last = min(start + begin + CONTEXT // 2, end)
            first = max(0, last - CONTEXT)
            seen = torch.tensor([ids[first : at + 1]])
            with torch.no_grad():
                logits = model.network.network(seen)[0, -1]
            expected += float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[at + 1])))
        found = model.costs([Passage(text, start, end)])[0]
        assert found == {"nats": pytest.approx(expected, rel=1e-4), "tokens": end - start}


def test_an_unknown_character_costs_what_any_of_unicode_would() -> None:
    tokens = kinds.Characters("ab")
    assert tokens.encode("ax").tolist() == [2, 1]
    assert tokens.extra("ax☃") == pytest.approx(2 * math.log(0x110000))
    ngrams = CharacterNgrams(["ab" * 10])
    assert 0 < ngrams.shares("☃")[0] < 1e-6


def test_the_floor_is_witten_and_bells(seed: int = 3) -> None:
    """Against a count of our own with dictionaries."""
    text = "".join(np.random.default_rng(seed).choice(list("aab c"), 300))
    model = CharacterNgrams([text[:200]], 3)
    followed: dict[str, Counter[str]] = defaultdict(Counter)
    for at in range(200):
        for length in range(3):
            followed[text[at - length : at] if at >= length else "^" * (length - at) + text[:at]][text[at]] += 1

    def share(before: str, char: str) -> float:
        shorter = share(before[1:], char) if before else 1 / 0x110000
        seen = followed.get(before)
        return (seen[char] + len(seen) * shorter) / (sum(seen.values()) + len(seen)) if seen else shorter

    expected = [share(text[at - 2 : at], text[at]) for at in range(200, 300)]
    np.testing.assert_allclose(model.shares(text, 200), expected, rtol=1e-12)


# --- tokens and passages --------------------------------------------------------------------------------------------


@given(PLAIN)
def test_nothing_of_a_text_is_lost(text: str) -> None:
    for tokens in (kinds.Characters.of([text]), kinds.Bytes()):
        assert tokens.decode(tokens.encode(text).tolist()) == text
        assert not tokens.extra(text)


def test_pieces_are_learned_the_same_twice_and_lose_nothing(tmp_path: Path) -> None:
    texts = ["the cat saw the other cat there 猫 🙂 " * 20, "then they thought\nof that"]
    files = []
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
        tokens = kinds.learn_pieces(texts, 330, tmp_path / name)
        files.append((tmp_path / name / "tokenizer.json").read_bytes())
    assert files[0] == files[1]
    for text in (*texts, "never seen: ☃\u0301 \r\n  x"):
        assert tokens.decode(tokens.encode(text).tolist()) == text
    assert len(tokens.encode("the cat")) < 7 and tokens.size == 288  # no more pairs come twice


@given(PLAIN, st.integers(1, 20))
def test_passages_hold_every_character_once(text: str, most: int) -> None:
    ends = cut(text, most)
    pieces = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert "".join(pieces) == text and all(0 < len(piece) <= most for piece in pieces)


def test_a_stretch_that_was_taken_out_breaks_the_text() -> None:
    texts = [Text("a", "0123456789"), Text("b", "xyz")]
    rows = Passages(texts, np.array([[0, 0, 3], [0, 3, 6], [0, 6, 10], [1, 0, 3]]))
    assert list(rows.stretches()) == [("0123456789", True), ("xyz", True)]
    assert list(rows.take(np.array([2, 0, 3])).stretches()) == [("012", True), ("6789", False), ("xyz", True)]


# --- writing --------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-8, 8), min_size=2, max_size=30, unique=True), st.floats(0.1, 3), st.integers(0, 12),
    st.floats(0.05, 1),
)  # fmt: skip
@settings(max_examples=25)
def test_sampling_allows_what_transformers_does(logits: list[float], temperature: float, k: int, p: float) -> None:
    import torch
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    made = torch.tensor([logits], dtype=torch.float64)
    made = TemperatureLogitsWarper(temperature)(None, made)
    if k:
        made = TopKLogitsWarper(min(k, len(logits)))(None, made)
    if p < 1:
        made = TopPLogitsWarper(p)(None, made)
    np.testing.assert_allclose(
        allowed(np.array(logits), temperature, k, p), made.softmax(-1)[0].numpy(), rtol=1e-6, atol=1e-12
    )


def test_what_was_read_is_not_read_again_and_changes_nothing(folder: Path) -> None:
    model = TASK.load(folder)
    ids = [0, *model.config.tokens.encode("abc dec\nfgah").tolist()]
    model.network.follow(ids[:9], 0)
    for known in (9, 10):
        one_by_one = model.network.follow(ids[: known + 1], known)
    np.testing.assert_allclose(one_by_one, TASK.load(folder).network.follow(ids[:11], 0), rtol=1e-3, atol=1e-3)
    asked = Prompt(text="abc", max_tokens=60, temperature=1.0, seed=5, top_p=1.0)  # beyond the context
    remembered = model.write(asked)
    follow = model.network.follow
    model.network.follow = lambda ids, known: follow(ids, 0)  # type: ignore[method-assign]
    assert model.write(asked) == remembered and len(remembered["text"]) >= 1


def test_the_same_seed_gives_the_same_text_and_stops_where_asked(folder: Path) -> None:
    model = mc.load(folder)
    texts = [
        model.predict({"text": "ab", "max_tokens": 40, "seed": seed})[0]["prediction"]["text"] for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]
    at = len(texts[0]) // 2
    stopped = model.predict({"text": "ab", "max_tokens": 40, "seed": 1, "stop": [texts[0][at : at + 2]]})
    assert stopped[0]["prediction"]["ended"] == "stop"
    assert stopped[0]["prediction"]["text"] == texts[0][: texts[0].find(texts[0][at : at + 2])]


def test_a_stream_is_the_answer_in_parts(folder: Path, commons: Commons) -> None:
    model = mc.load(folder)
    for asked in (
        {"text": "ab", "max_tokens": 30, "seed": 3},
        {"text": "ab", "max_tokens": 30, "seed": 3, "stop": ["f", "ab"]},
    ):
        parts = list(model.stream(asked))
        assert "".join(parts) == model.predict(asked)[0]["prediction"]["text"]
    told = commons("predict", str(folder), "ab", "--stream")
    assert told.code == 0 and told.out == model.predict("ab")[0]["prediction"]["text"] + "\n"


def test_settings_come_as_json_and_other_braces_are_text() -> None:
    assert read_input('{"text": "a", "top_k": 3}')[0].x == Prompt(text="a", top_k=3)
    for text in ('{"a": 1}', "{ begins a program", "{}"):
        assert read_input(text)[0].x == Prompt(text=text)


def test_wrong_questions_are_refused_in_a_sentence(folder: Path) -> None:
    with pytest.raises(DataError, match=r"temperature: .*greater than or equal to 0.*max_tokens, temperature"):
        read_input({"text": "a", "temperature": -1})
    with pytest.raises(DataError, match="top_q"):
        read_input({"text": "a", "top_q": 1})
    with pytest.raises(DataError, match="beginning of a text"):
        list(TASK.load(folder).stream(Row("a", Passage("abc", 0, 3))))


# --- models ---------------------------------------------------------------------------------------------------------


def job(choice: Choice, place: Path, **training: object) -> Job:
    (place / "model").mkdir(parents=True)
    return Job(
        choice=choice, training=Training.model_validate({"epochs": 1, **training}), options=Options(context=16), seed=0,
        folder=place / "model", checkpoints=place / "checkpoints", progress=mc.Silent(), max_steps=2,
    )  # fmt: skip


def rows(text: str = "some words of a text that goes on. " * 12) -> Passages:
    ends = cut(text, 64)
    return Passages([Text("a", text)], np.array([[0, a, b] for a, b in zip([0, *ends], ends, strict=False)]))


def test_a_width_that_the_heads_do_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"width: expected a multiple of twice `heads` \(12\), got 32"):
        TASK.fit(rows(), rows(), job(Choice(None, "gpt", {"width": 32, "heads": 6}), tmp_path))


@pytest.mark.parametrize("tokens", ["bytes", "pieces"])
def test_other_tokens_train_and_load(tokens: str, tmp_path: Path) -> None:
    options = {"tokens": tokens, "vocabulary": 320, "width": 16, "heads": 2, "layers": 1, "buckets": 64}
    TASK.fit(rows(), rows(), job(Choice(None, "gpt", options), tmp_path))
    model = TASK.load(tmp_path / "model")
    answer = model.predict([Row("a", Passage("some wörds", 0, 10))])[0]["prediction"]
    assert answer["tokens"] == 11 if tokens == "bytes" else answer["tokens"] <= 11
    assert model.predict([Row("a", Prompt(text="some", max_tokens=4))])[0]["prediction"]["tokens"] <= 4


@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_a_gpt_2_is_tuned_and_scored(method: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    base = tmp_path / "base"
    base.mkdir()
    kinds.learn_pieces(["some words of a text"], 320, base)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(base / "tokenizer.json")), eos_token=kinds.END
    )
    tokenizer.save_pretrained(base)
    size = len(tokenizer)
    config = GPT2Config(vocab_size=size, n_positions=32, n_embd=16, n_layer=1, n_head=2, eos_token_id=0, bos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(base)
    TASK.fit(rows(), rows(), job(Choice(base, "gpt2"), tmp_path / method, method=method))
    made = tmp_path / method / "model"
    assert json.loads((made / "config.json").read_text())["preprocess"] == {"context": 16}
    model = TASK.load(made)
    answer = model.predict([Row("a", Passage("some words", 4, 10))])[0]["prediction"]
    assert 0.5 < answer["nats"] / answer["tokens"] / math.log(size) < 2
    asked = Prompt(text="some words of a text that goes on and on", max_tokens=24, temperature=0)
    remembered = model.write(asked)
    follow = model.network.follow
    model.network.follow = lambda ids, known: follow(ids, 0)  # type: ignore[method-assign]
    assert model.write(asked) == remembered
