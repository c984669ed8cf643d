"""fill-mask: what masked words cost, against torch and counts; how pairs are drawn, masked, packed, and refused."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelcommons as mc
from modelcommons.errors import DataError, FormatError
from modelcommons.formats.digest import folder_sha256
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.text.classification import TASK as CLASSIFICATION
from modelcommons.workbench.fields.text.fill_mask import TASK
from modelcommons.workbench.fields.text.ngrams import WORD
from modelcommons.workbench.fields.text.pretraining.documents import Document, Options
from modelcommons.workbench.fields.text.pretraining.fitting import loss
from modelcommons.workbench.fields.text.pretraining.floor import Frequencies
from modelcommons.workbench.fields.text.pretraining.metrics import folded, losses, scores
from modelcommons.workbench.fields.text.pretraining.model import FillMask, max_length
from modelcommons.workbench.fields.text.pretraining.network import outputs
from modelcommons.workbench.fields.text.pretraining.packing import Drawn, Stretches, collated, laid, spread
from modelcommons.workbench.fields.text.pretraining.pairs import Pairs, Place, Question, read_input
from modelcommons.workbench.sources import find
from modelcommons.workbench.task import Choice, Job, Row, Split

OPTIONS = {"layers": 2, "width": 16, "heads": 2, "vocabulary": 96, "length": 24, "dropout": 0.0}
TEXTS = [
    Document(
        f"text {number}",
        tuple(f"{animal} {verb} {food} {number}." for verb in ("sees", "likes", "eats", "finds", "seeks")),
    )
    for number, (animal, food) in enumerate((("owls", "mice"), ("cats", "fish"), ("cows", "hay"), ("bees", "nectar")))
]


def rows(texts: list[Document] = TEXTS, **options: object) -> Pairs:
    return Pairs.of(texts, Options.model_validate({"words": 16, **options})).paired()


def job(choice: Choice, place: Path, most: int = 2, options: Options | None = None, **training: object) -> Job:
    (place / "model").mkdir(parents=True)
    wanted = {"epochs": 8, "batch_size": 4, "precision": "fp32", **training}
    return Job(
        choice=choice, training=Training.model_validate(wanted),
        options=options or Options(words=16), seed=0, folder=place / "model", checkpoints=place / "checkpoints",
        progress=mc.Silent(), max_steps=most,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with both heads that has seen little."""
    place = tmp_path_factory.mktemp("bert")
    TASK.fit(rows(), rows(), job(Choice(None, "bert", OPTIONS), place))
    return place / "model"


@pytest.fixture(scope="module")
def model(folder: Path) -> FillMask:
    found = TASK.load(folder)
    assert isinstance(found, FillMask)
    return found


# --- scores ---------------------------------------------------------------------------------------------------------

LINES = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("aäb"), st.sampled_from("Aab"), st.floats(0, 50)), min_size=1, max_size=4),
        st.booleans(),
        st.floats(0.001, 0.999),
    ),
    min_size=1,
    max_size=6,
)


@given(LINES)
@settings(max_examples=8)
def test_scores_are_what_scikit_learn_says(answers: list[tuple[list[tuple[str, str, float]], bool, float]]) -> None:
    from sklearn.metrics import accuracy_score, log_loss

    lines = [
        {
            "id": f"{at}@0",
            "target": {"words": [word for word, _, _ in places], "next": next},
            "prediction": {
                "places": [{"top": [{"word": said, "logprob": -1.0}], "nats": nats} for _, said, nats in places],
                "next": share,
            },
        }
        for at, (places, next, share) in enumerate(answers)
    ]
    words = [place for places, _, _ in answers for place in places]
    said, wanted = [share for _, _, share in answers], [next for _, next, _ in answers]
    cost, right, unsure, follows = scores(lines)
    assert cost.value == pytest.approx(math.fsum(nats for _, _, nats in words) / len(words))
    plain = [[each[side].lower().replace("ä", "a") for each in words] for side in (0, 1)]
    assert right.value == pytest.approx(accuracy_score(*plain)) and right.den == len(words)
    assert unsure.value == pytest.approx(log_loss(wanted, [[1 - p, p] for p in said], labels=[False, True]))
    assert follows.value == pytest.approx(accuracy_score(wanted, [p >= 0.5 for p in said]))
    assert losses(lines)[0] == pytest.approx(np.mean([nats for _, _, nats in answers[0][0]]))


def test_pairs_that_were_not_answered_have_no_score() -> None:
    line = {
        "id": "a@0",
        "target": {"words": ["a"], "next": True},
        "prediction": {"places": [{"top": [], "nats": 1.0}], "next": None},
    }
    assert [score.metric for score in scores([line])] == ["masked_cross_entropy", "masked_accuracy"]


def test_a_model_costs_what_torch_says(model: FillMask) -> None:
    """By the library's own call, with masks set by hand; the words of several pieces are costs added up."""
    import torch

    text = "owls like mistaken fish 2."
    places = (Place(0, 0, 4), Place(0, 10, 18))
    tokens = [model.pieces.of([word])[0][0].tolist() for word in ("owls", "like", "mistaken", "fish", "2", ".")]
    wanted = [tokens[0], tokens[2]]
    assert len(wanted[1]) > 1, "a word that nobody learned is several pieces"
    masks = [[model.pieces.mask] * len(each) if each in wanted else each for each in tokens]
    begin, end = model.pieces._one.around
    ids = torch.tensor([[*begin.tolist(), *(at for each in masks for at in each), *end.tolist()]])
    with torch.no_grad():
        made = model.network.network(input_ids=ids)
    logits = made.prediction_logits[0][ids[0] == model.pieces.mask]
    cost = torch.nn.functional.cross_entropy(logits, torch.tensor([*wanted[0], *wanted[1]]), reduction="none")
    (answer,) = model.predict([Row("a", Question(text, None, places))])
    found = [place["nats"] for place in answer["prediction"]["places"]]
    assert found == [pytest.approx(cost[0].item(), rel=1e-4), pytest.approx(cost[1:].sum().item(), rel=1e-4)]
    assert answer["prediction"]["next"] is None, "one stretch follows nothing"
    top = answer["prediction"]["places"][0]["top"]
    assert [each["logprob"] for each in top] == pytest.approx(
        logits[0].log_softmax(-1).topk(len(top)).values.tolist(), rel=1e-4
    )


def test_a_word_of_unknown_letters_costs_what_any_of_unicode_would(model: FillMask) -> None:
    (answer,) = model.predict([Row("a", Question("owls like ☃☃.", None, (Place(0, 10, 12),)))])
    assert answer["prediction"]["places"][0]["nats"] > 2 * math.log(0x110000)


def test_what_is_cut_off_is_any_piece(model: FillMask) -> None:
    text = "owls " * 40
    (answer,) = model.predict([Row("a", Question(text, None, (Place(0, 195, 199),)))])
    assert answer["prediction"]["places"] == [{"top": [], "nats": pytest.approx(math.log(model.pieces.size), rel=1e-4)}]


def test_the_floor_counts_words() -> None:
    floor = Frequencies(rows())
    words = Counter(folded(word) for text in TEXTS for each in text.sentences for word in WORD.findall(each))
    total = sum(words.values()) + len(words)
    (answer,) = floor.predict([Row("a", Question("Owls see.", None, (Place(0, 0, 4), Place(0, 8, 9))))])
    assert [each["nats"] for each in answer["prediction"]["places"]] == pytest.approx(
        [-math.log(words["owls"] / total), -math.log(words["."] / total)], rel=1e-5
    )
    seen = sum(math.exp(-floor.cost(word)) for word in words)
    assert seen < 1 and floor.cost("snow") > -math.log(1 - seen), "one new word is dearer than any new word"


# --- packing and masking --------------------------------------------------------------------------------------------


def drawn(model: FillMask, sizes: list[int], seed: int) -> list[Drawn]:
    rng = np.random.default_rng(seed)
    made = []
    for size in sizes:
        asked = np.sort(rng.choice(np.arange(1, size), rng.integers(1, size), replace=False))
        ids, types = rng.integers(5, model.pieces.size, size), np.sort(rng.integers(0, 2, size))
        made.append(Drawn(ids, types, asked, ids[asked], 0))
    return made


@given(st.lists(st.integers(3, 20), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
@settings(max_examples=12)
def test_a_pair_laid_among_others_gets_the_answer_it_gets_alone(model: FillMask, sizes: list[int], seed: int) -> None:
    import torch

    pairs = drawn(model, sizes, seed)
    together = laid(pairs)
    assert len(together["input_ids"]) == sum(sizes), "no padding"
    network = model.network.network.eval()
    with torch.no_grad():
        logits, next = outputs(network, together)
        alone = [outputs(network, collated([each], 0)) for each in sorted(pairs, key=lambda each: -len(each.ids))]
    torch.testing.assert_close(logits, torch.cat([each for each, _ in alone]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(next, torch.cat([each for _, each in alone]), rtol=1e-4, atol=1e-5)  # type: ignore[type-var]


def test_what_is_learned_from_laid_pairs_is_what_the_librarys_own_forward_pass_teaches(model: FillMask) -> None:
    pairs = drawn(model, [20, 3, 7, 7, 11, 5], 0)
    network = model.network.network.eval()
    found = []
    for batch in (laid(pairs), collated(pairs, 0)):
        network.zero_grad()
        sum(loss(network, batch)).backward()
        found.append({name: weight.grad.clone() for name, weight in network.named_parameters()})
    network.zero_grad()
    for name, gradient in found[1].items():
        assert (found[0][name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7, name


@given(st.lists(st.integers(1, 9), min_size=1, max_size=11))
@settings(max_examples=20)
def test_every_token_has_a_slot_of_its_own(sizes: list[int]) -> None:
    made = spread(sizes)
    assert made["slots"][made["places"]].tolist() == list(range(sum(sizes)))
    assert int((~made["padding"]).sum()) == sum(sizes) and not made["padding"][made["places"]].any()
    assert sum(pairs * length for pairs, length in made["groups"]) == len(made["slots"])


@pytest.mark.parametrize("whole", [True, False])
def test_masks_are_drawn_by_berts_rule(model: FillMask, whole: bool) -> None:
    stretches = Stretches(rows(), model.pieces, Options(words=16, whole_words=whole), True, False)
    kept = masked = other = total = asked = 0
    for at in range(500):
        each = stretches.draw(at % len(stretches), np.random.default_rng(at))
        again = stretches.draw(at % len(stretches), np.random.default_rng(at))
        assert (each.ids == again.ids).all() and (each.asked == again.asked).all()
        inputs = each.ids[each.asked]
        masked += int((inputs == model.pieces.mask).sum())
        kept += int((inputs == each.wanted).sum())
        other += len(inputs)
        total, asked = total + len(each.ids) - 2 - (each.types.max() > 0), asked + len(inputs)
        assert len(each.ids) <= OPTIONS["length"] and not np.isin(each.wanted, model.pieces.special).any()
    assert masked / other == pytest.approx(0.8, abs=0.04)
    assert kept / other == pytest.approx(0.1, abs=0.03)
    assert 0.05 < asked / total <= 0.16


def test_a_words_pieces_are_masked_together(model: FillMask) -> None:
    text = [Document(name, ("mistaken owls.",) * 3) for name in "ab"]
    stretches = Stretches(rows(text, words=8), model.pieces, Options(words=8, mask=0.5), True, True)
    size = len(model.pieces.of(["mistaken"])[0][0])
    for seed in range(20):
        each = stretches.draw(0, np.random.default_rng(seed))
        first = int(model.pieces.of(["mistaken"])[0][0][0])
        for at in np.flatnonzero(each.wanted == first):
            assert (np.diff(each.asked[at : at + size]) == 1).all() and len(each.asked[at : at + size]) == size


# --- documents and pairs --------------------------------------------------------------------------------------------


def test_half_of_the_second_stretches_are_from_another_document() -> None:
    texts = [Document(f"{number}", tuple(f"w{number} s{at}." for at in range(40))) for number in range(20)]
    found = rows(texts)
    other = 0
    for row in found:
        first, second = row.x.first, row.x.second
        assert second is not None and (row.y.next is (first.split()[0] == second.split()[0]))
        if row.y.next:
            assert f"{first} {second}" == row.x.stretch
        other += row.y.next is False
    assert other / len(found) == pytest.approx(0.5, abs=0.1)
    assert [row.x for row in found] == [row.x for row in rows(texts)]
    some = np.array([5, 2])
    assert [row.x for row in found.take(some)] == [found[5].x, found[2].x]
    assert " ".join(row.x.stretch for row in found) == " ".join(each for text in texts for each in text.sentences)


def test_what_was_taken_out_does_not_come_back_as_a_second_stretch() -> None:
    texts = [Document(name, tuple(f"{name}{at} is here." for at in range(12))) for name in "ab"]
    found = rows(texts, words=8)
    left = found.take(np.flatnonzero(found.where[:, 1] != 4))
    for seed in range(40):
        *_, at, start, end = left.drawn(0, np.random.default_rng(seed)).tolist()
        assert at < 0 or not set(range(start, end)) & {4, 5}


def test_documents_come_from_text_files_and_tables(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(
        'Mr. Fox ran. "Did he?" she said.\n\nHe did… Then he\nslept! 他走了。她也走了。', encoding="utf-8"
    )
    (tmp_path / "two.txt").write_text("A word. " * 3 + "word " * 20, encoding="utf-8")
    reading = TASK.rows(find(str(tmp_path), None, None), {}, Options(words=8))
    first, second = reading.parts["all"].texts  # type: ignore[attr-defined]
    assert first.sentences == (
        "Mr. Fox ran.", '"Did he?" she said.', "He did…", "Then he slept!", "他走了。", "她也走了。",
    )  # fmt: skip
    assert [len(each.split()) for each in second.sentences] == [2, 2, 7, 8, 7]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "data.csv").write_text('text,book\n"One. Two.",x\n"Three.",y\n', encoding="utf-8")
    reading = TASK.rows(find(str(tmp_path / "own"), None, None), {"group": "book"}, Options())
    assert [row.group for row in reading.parts["all"]] == ["x", "y"]  # type: ignore[attr-defined]


def test_pairs_that_cannot_be_are_refused() -> None:
    from modelcommons.workbench.task import Reading

    texts = [Document(f"{number}", ("one.",)) for number in range(9)]
    parts = dict.fromkeys(("train", "validation", "test"), Pairs.of(texts, Options()))
    with pytest.raises(DataError, match="next_sentence: expected at least two documents"):
        TASK.split(Reading(parts), Split(), Options(next_sentence=True))
    found = TASK.split(Reading(parts), Split(), Options()).test
    assert found[0].x.second is None and found[0].y.next is None


@pytest.mark.parametrize(("places", "asked", "good"), [(1024, 1024, True), (128, 512, False), (128, 128, True)])
def test_a_model_reads_as_many_tokens_as_it_has_places(tmp_path: Path, places: int, asked: int, good: bool) -> None:
    config = {"max_position_embeddings": places, "preprocess": {"max_length": asked}}
    if good:
        assert max_length(config, tmp_path) == asked
    else:
        with pytest.raises(FormatError, match=r"max_length of at most 128"):
            max_length(config, tmp_path)


def test_questions_of_a_person(model: FillMask, tmp_path: Path) -> None:
    (answer,) = model.predict(read_input("owls like [MASK] and [MASK]."))
    assert [len(place["top"]) for place in answer["prediction"]["places"]] == [5, 5]
    assert "nats" not in answer["prediction"]["places"][0]
    (answer,) = model.predict(read_input('{"text": "owls like mice.", "next": "owls eat mice."}'))
    assert answer["prediction"]["places"] == [] and 0 < answer["prediction"]["next"] < 1
    (tmp_path / "a.txt").write_bytes("Füße [MASK]".encode("latin-1"))
    with pytest.raises(DataError, match="a text file in UTF-8"):
        read_input(tmp_path / "a.txt")
    for wrong in ("no mask", {"txt": "a [MASK]"}, 3, {"text": "no mask"}):
        with pytest.raises(DataError, match=r"Expected a text with \[MASK\]"):
            read_input(wrong)


# --- models ---------------------------------------------------------------------------------------------------------


def test_a_width_that_the_heads_do_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"width: expected a multiple of `heads` \(3\), got 16"):
        TASK.fit(rows(), rows(), job(Choice(None, "bert", OPTIONS | {"heads": 3}), tmp_path))


def test_what_was_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Pairs, masks and dropout are drawn by seed and step alone."""
    digests = []
    for name, steps in (("whole", (4,)), ("stopped", (2, 4))):
        for most in steps:
            again = job(
                Choice(None, "bert", OPTIONS | {"dropout": 0.2}),
                tmp_path / name / str(most),
                most,
                checkpoint_seconds=0,
            )
            object.__setattr__(again, "checkpoints", tmp_path / name / "checkpoints")
            TASK.fit(rows(), rows(), again)
        digests.append(folder_sha256(again.folder, TASK.files(again.folder)))
    assert digests[0] == digests[1]


def test_text_classification_opens_what_was_pretrained(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    texts = [Row(f"{at}", f"owls {word} mice", word) for at, word in enumerate(["like", "see"] * 8)]
    choice = Choice(folder, "bert")
    options = CLASSIFICATION.options()
    made = Job(
        choice=choice, training=Training(epochs=1, learning_rate=1e-9), options=options, seed=0, folder=tmp_path,
        checkpoints=tmp_path / "checkpoints", progress=mc.Silent(), max_steps=1,
    )  # fmt: skip

    class Listed(list[Row]):
        def ids(self) -> list[str]:
            return [row.id for row in self]

    CLASSIFICATION.fit(Listed(texts), Listed(texts), made)  # type: ignore[arg-type]
    name = "bert.encoder.layer.1.output.dense.weight"
    before, after = (load_file(each / "model.safetensors") for each in (folder, tmp_path))
    np.testing.assert_allclose(before[name], after[name], atol=1e-6)
    assert CLASSIFICATION.load(tmp_path).predict([texts[0]])[0]["prediction"]["label"] in ("like", "see")


@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_an_open_model_of_another_kind_goes_on_reading(method: str, tmp_path: Path) -> None:
    """DistilBERT: no second head, no numbers of stretches; its tokenizer is of another make too."""
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    from modelcommons.workbench.fields.text.pretraining.pieces import learn_pieces

    base = tmp_path / "base"
    base.mkdir()
    pieces = learn_pieces([each for text in TEXTS for each in text.sentences], 96, 24, base)
    config = DistilBertConfig(
        vocab_size=pieces.size, max_position_embeddings=24, dim=16, n_layers=1, n_heads=2, hidden_dim=32
    )
    DistilBertForMaskedLM(config).save_pretrained(base)
    with pytest.raises(DataError, match="has no head that tells whether a stretch follows"):
        asked = job(Choice(base, "base"), tmp_path / "asked", options=Options(words=16, next_sentence=True))
        TASK.fit(rows(), rows(), asked)
    TASK.fit(rows(), rows(), job(Choice(base, "base"), tmp_path / method, method=method))
    found = TASK.load(tmp_path / method / "model")
    row = rows()[0]
    (answer,) = found.predict([row])
    assert answer["prediction"]["next"] is None
    assert len(answer["prediction"]["places"]) == len(row.y.words)
    assert all(0 < place["nats"] < 12 for place in answer["prediction"]["places"])
