"""image-text-matching: ranks against other counts, ties as chance has them, pairs, open models, questions."""

from __future__ import annotations

import itertools
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import modelcommons as mc
from modelcommons.errors import DataError, FormatError, RecipeError, Stopped
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.multimodal import nearest
from modelcommons.workbench.fields.multimodal.explain import without
from modelcommons.workbench.fields.multimodal.matching import TASK
from modelcommons.workbench.fields.multimodal.metrics import CUTS, agrees, chance, changed, losses, recall, scores
from modelcommons.workbench.fields.multimodal.pairs import Asked, Gallery, Options, Pairs, text_of
from modelcommons.workbench.fields.multimodal.ranking import Ranker, placed
from modelcommons.workbench.sources import local
from modelcommons.workbench.task import Choice, Job, Parts, Row, Split

OPTIONS = Options()
ROOT = Path(__file__).parents[1]


class Table:
    """A similarity that is written down."""

    temperature = 0.5

    def __init__(self, values: np.ndarray) -> None:
        self.values = values  # (pictures, texts)

    def to_texts(self, gallery: Gallery, pictures: np.ndarray) -> np.ndarray:
        return np.asarray(self.values[pictures])

    def to_pictures(self, gallery: Gallery, texts: np.ndarray) -> np.ndarray:
        return np.asarray(self.values.T[texts])


def lines_of(values: np.ndarray) -> list[dict[str, Any]]:
    """Of pairs where picture n belongs to text n."""
    size = len(values)
    names = [str(at) for at in range(size)]
    gallery = Gallery(
        [np.zeros((1, 1, 1), np.uint8)] * size, names, names, names, np.repeat(np.arange(size), 2).reshape(-1, 2)
    )
    rows = [Row(name, Asked(gallery, at, at), name) for at, name in enumerate(names)]
    answers = Ranker(Table(values)).predict(rows)
    return [{"id": row.id, "target": TASK.target(row), **one} for row, one in zip(rows, answers, strict=True)]


# --- ranks ----------------------------------------------------------------------------------------------------------


@settings(max_examples=5)
@given(st.integers(11, 16), st.integers(0, 2**31))
def test_scores_are_those_of_scikit_learn(size: int, seed: int) -> None:
    from sklearn.metrics import label_ranking_average_precision_score, top_k_accuracy_score

    values = np.random.default_rng(seed).permutation(size * size).reshape(size, size) / size**2
    found = {score.metric: score for score in scores(lines_of(values))}
    recalls = []
    for prefix, table in (("image_to_text", values), ("text_to_image", values.T)):
        for cut in CUTS:
            wanted = top_k_accuracy_score(np.arange(size), table, k=cut)
            assert found[f"{prefix}_recall@{cut}"].value == pytest.approx(wanted)
            recalls.append(wanted)
        mrr = label_ranking_average_precision_score(np.eye(size), table)
        assert found[f"{prefix}_mrr"].value == pytest.approx(mrr)
        ranks = [sorted(row, reverse=True).index(row[at]) + 1 for at, row in enumerate(table.tolist())]
        assert found[f"{prefix}_median_rank"].value == statistics.median(ranks)
    assert found["mean_recall"].value == pytest.approx(np.mean(recalls))
    assert losses(lines_of(values)).mean() == pytest.approx(1 - found["mean_recall"].value)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=6))
def test_ties_count_as_the_mean_over_all_orders(values: list[int]) -> None:
    """Candidate 0 is right; equal ones are put in every order."""
    place = placed(np.array(values, float), np.array([0]), [str(at) for at in range(len(values))])
    rank, tied = np.array([place["rank"]]), np.array([place["tied"]])
    orders = [
        sorted(range(len(values)), key=lambda at, order=order: (-values[at], order[at])).index(0) + 1  # type: ignore[misc]
        for order in itertools.permutations(range(len(values)))
    ]
    for cut in (1, 2, 5):
        assert recall(rank, tied, cut)[0] == pytest.approx(np.mean([one <= cut for one in orders]))
    line = {"target": {"image": "0"}, "prediction": {"texts": place, "images": place}}
    found = {score.metric: score.value for score in scores([line])}
    assert found["image_to_text_mrr"] == pytest.approx(np.mean([1 / one for one in orders]))


def test_a_model_to_which_all_is_alike_scores_what_chance_does() -> None:
    found = {score.metric: score.value for score in scores(lines_of(np.zeros((40, 40))))}
    for cut in CUTS:
        assert found[f"image_to_text_recall@{cut}"] == pytest.approx(chance(40, cut)) == cut / 40
    assert found["text_to_image_median_rank"] == 20.5


def test_the_best_of_several_right_texts_counts_and_each_picture_is_drawn_whole() -> None:
    place = placed(np.array([0.1, 0.9, 0.5, 0.7]), np.array([0, 2]), list("abcd"))
    assert place["rank"] == 3 and place["tied"] == 0 and place["best"] == ["b", "d", "c", "a"]
    lines = lines_of(np.eye(12))
    one_picture = [{**line, "target": {**line["target"], "image": "0"}} for line in lines]
    assert "by=picture" in scores(one_picture)[0].method
    assert all(score.low == score.high for score in scores(one_picture))


def test_other_lines_are_refused() -> None:
    with pytest.raises(FormatError, match="one has none"):
        scores([{"target": {"image": "0"}, "prediction": {"label": "a"}}])
    with pytest.raises(DataError, match="there are none"):
        scores([])


def test_a_rank_may_move_by_what_is_near_and_no_further() -> None:
    values = np.eye(3)
    values[0, 1] = 1 - 4e-6
    line, other = lines_of(values)[0], lines_of(np.where(values == 1, 1 - 8e-6, values))[0]
    assert line["prediction"]["texts"]["near"] == 1 and other["prediction"]["texts"]["rank"] == 2
    assert agrees(line, other, 0.0) and changed(line, other)
    far = lines_of(np.where(np.arange(9).reshape(3, 3) == 1, 1.5, values))[0]
    assert not agrees(line, far, 0.0) and not agrees(far, line, 0.0)


# --- pairs ----------------------------------------------------------------------------------------------------------


def picture(path: Path, *color: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), color, np.uint8)).save(path)


def parts_of(folder: Path, **columns: str) -> Parts:
    return TASK.split(TASK.rows(local.find(folder, "here"), columns, OPTIONS), Split(test=0.4, validation=0.3), OPTIONS)


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Twenty pictures with two texts each, as an imagefolder; one line names no picture, one has no text."""
    rows = [{"file_name": "nowhere.png", "text": "nothing"}, {"file_name": "pictures/0.png", "text": " "}]
    for at in range(20):
        picture(tmp_path / "data" / "pictures" / f"{at}.png", at * 12, 0, 255 - at * 12)
        rows += [{"file_name": f"pictures/{at}.png", "text": text} for text in (f"number {at}", ["any", "picture"])]
    (tmp_path / "data" / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path / "data"


def test_texts_of_one_picture_stay_together_and_equal_texts_are_one_candidate(captions: Path) -> None:
    reading = TASK.rows(local.find(captions, "here"), {}, OPTIONS)
    assert reading.num_read == 42 and reading.num_bad == 2
    assert {bad.reason.split(",")[0] for bad in reading.bad} >= {"no text in column 'text'"}
    parts = TASK.split(reading, Split(test=0.4, validation=0.3), OPTIONS)
    assert parts.how.endswith("hash of the group")
    seen = [{row.group for row in map(rows.__getitem__, range(len(rows)))} for rows in (parts.train, parts.test)]
    assert not seen[0] & seen[1]
    test = parts.test
    assert isinstance(test, Pairs) and len(test.gallery.pictures) == len(test) // 2
    assert test.gallery.texts.count("any, picture") == 1 and len(test.gallery.texts) == len(test) // 2 + 1
    row = test[1]
    assert row.y == test.gallery.texts[row.x.text] == "any, picture"
    assert len(test.gallery.pictures_of[row.x.text]) == len(test.gallery.pictures)
    assert "#" in row.id, "a file beside the table is named by its content too"


def test_a_column_that_is_missing_is_named(captions: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column 'caption'"):
        parts_of(captions, text="caption")
    (tmp_path / "numbers.csv").write_text("number,text\n1,one\n2,two\n")
    with pytest.raises(DataError, match=r"a column of images, found none among number, text.*data\.columns\.image"):
        TASK.rows(local.find(tmp_path / "numbers.csv", "here"), {}, OPTIONS)


def test_a_list_of_words_is_a_text() -> None:
    assert text_of(["grinning face", " smile ", ""]) == "grinning face, smile" and text_of(None) == text_of([]) == ""


def test_the_floor_is_what_it_says(captions: Path) -> None:
    """Ten nearest by shared pixels of like colour, then shared words over all words, with loops."""
    parts = parts_of(captions)
    name, model = TASK.baseline(parts.train, OPTIONS)
    assert name == "words of the nearest colours" and isinstance(model, Ranker)
    train, test = parts.train, parts.test
    assert isinstance(train, Pairs) and isinstance(test, Pairs)

    def colors(pixels: np.ndarray) -> list[tuple[int, ...]]:
        return [tuple(int(level) // 64 for level in pixel) for pixel in pixels.reshape(-1, 3)]

    for at, shown in enumerate(test.gallery.pictures):
        mine = colors(shown)
        alike = []
        for row in range(len(train)):
            theirs = colors(train.pixels(np.array([row]))[0])
            alike.append(sum(min(mine.count(color), theirs.count(color)) for color in set(mine)))
        near = sorted(range(len(train)), key=lambda row: -alike[row])[: nearest.NEIGHBOURS]
        wanted = []
        for text in test.gallery.texts:
            words = set(text.replace(",", "").split())
            lent = [set(train.texts()[row].replace(",", "").split()) for row in near]
            wanted.append(sum(len(words & theirs) / len(words | theirs) for theirs in lent))
        found = model.similarity.to_texts(test.gallery, np.array([at]))[0]
        assert found == pytest.approx(wanted)
        both = model.similarity.to_pictures(test.gallery, np.arange(len(test.gallery.texts)))
        assert both[:, at] == pytest.approx(wanted)


def test_the_emoji_of_the_samples_are_read() -> None:
    folder = ROOT.parent / "shared" / "data" / "samples" / "noto_emoji"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/samples/noto_emoji")
    reading = TASK.rows(local.find(folder, "here"), {"text": "keywords", "category": "group"}, OPTIONS)
    row = reading.parts["test"][0]
    assert row.x.gallery.pictures[0].shape == (32, 32, 3) and ", " in row.y and TASK.slice(row, "category")
    assert reading.num_bad == 0


# --- models ---------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_of_two_cross_entropies() -> None:
    import torch

    from modelcommons.workbench.fields.multimodal.towers import contrast, unit

    images, texts = unit(torch.randn(4, 3, generator=torch.manual_seed(0))), unit(torch.randn(4, 3))
    logits = (3 * images @ texts.T).double().numpy()

    def entropy(table: np.ndarray, right: dict[int, list[int]]) -> float:
        shares = np.exp(table) / np.exp(table).sum(1, keepdims=True)
        return -float(np.mean([np.mean([np.log(shares[row, at]) for at in right[row]]) for row in right]))

    right = {0: [0, 1], 1: [0, 1], 2: [2], 3: [3]}
    together = torch.zeros(4, 4)
    for row, columns in right.items():
        together[row, columns] = 1
    found = contrast(images, texts, torch.tensor(3.0).log(), together, 0.0)
    assert float(found) == pytest.approx((entropy(logits, right) + entropy(logits.T, right)) / 2, rel=1e-4)


def open_model(folder: Path, kind: str) -> Path:
    """A CLIP or SigLIP that knows nothing, as a hub would give it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        PreTrainedTokenizerFast,
        SiglipConfig,
        SiglipModel,
    )

    words = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "number", "picture", *map(str, range(20))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 24, "max_position_embeddings": 8, "eos_token_id": 1, "projection_dim": 8}
    vision = {**small, "image_size": 16, "patch_size": 8, "projection_dim": 8}
    torch.manual_seed(0)
    if kind == "clip":
        model: Any = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    else:
        model = SiglipModel(SiglipConfig(text_config=text | {"projection_size": 16}, vision_config=vision))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    size = {"height": 16, "width": 16}
    CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False).save_pretrained(folder)
    return folder


def job(folder: Path, choice: Choice, **training: Any) -> Job:
    (folder / "model").mkdir(parents=True)
    return Job(
        choice=choice, training=Training(epochs=1, **training), options=OPTIONS, seed=0, folder=folder / "model",
        checkpoints=folder / "checkpoints", progress=mc.Silent(), max_steps=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "method", "free"), [("clip", "full", None), ("clip", "head", 257), ("siglip", "head", None)]
)
def test_open_models_are_tuned_and_answer_from_their_folder(
    captions: Path, tmp_path: Path, kind: str, method: Any, free: int | None
) -> None:
    parts = parts_of(captions)
    fitted = TASK.fit(
        parts.train, parts.validation, job(tmp_path, Choice(open_model(tmp_path / "open", kind)), method=method)
    )
    assert (fitted.trained_parameters < fitted.parameters) == (method == "head")
    assert free is None or fitted.trained_parameters == free, "two projections of 16 x 8, and the temperature"
    model = TASK.load(tmp_path / "model")
    rows = [parts.test[at] for at in range(3)]
    assert [one["prediction"]["texts"]["rank"] >= 1 for one in model.predict(rows)] == [True] * 3
    files = TASK.files(tmp_path / "model")
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"} <= set(files)


def test_what_cannot_be_tuned_is_refused(captions: Path, tmp_path: Path) -> None:
    parts, folder = parts_of(captions), open_model(tmp_path / "open", "clip")
    with pytest.raises(RecipeError, match="Write `full` or `head`"):
        TASK.fit(parts.train, parts.validation, job(tmp_path / "lora", Choice(folder), method="lora"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config["text_config"], "model_type": "clip_text_model"}))
    with pytest.raises(FormatError, match="compares pictures and texts"):
        TASK.fit(parts.train, parts.validation, job(tmp_path / "text", Choice(folder)))


def test_a_training_that_was_stopped_goes_on_to_the_same_bits(captions: Path, tmp_path: Path) -> None:
    class Stop(mc.Silent):
        def step(self, stage: str, done: float, total: float, text: str = "") -> None:
            if done == 2:
                raise Stopped("now")

    parts, choice = parts_of(captions), Choice(None, "two-tower", {"widths": [4, 8], "width": 8})
    training = {"batch_size": 8, "checkpoint_seconds": 0}
    whole, cut = (job(tmp_path / name, choice, **training) for name in ("whole", "cut"))
    TASK.fit(parts.train, parts.validation, replace(whole, max_steps=None))
    with pytest.raises(Stopped):
        TASK.fit(parts.train, parts.validation, replace(cut, max_steps=None, progress=Stop()))
    assert list(cut.checkpoints.iterdir())
    TASK.fit(parts.train, parts.validation, replace(cut, max_steps=None))
    for name in TASK.files(whole.folder):
        assert (whole.folder / name).read_bytes() == (cut.folder / name).read_bytes(), name


# --- questions ------------------------------------------------------------------------------------------------------


def test_a_question_about_one_side_gets_the_best_of_the_other(tmp_path: Path) -> None:
    for at in range(3):
        picture(tmp_path / f"{at}.png", at, 0, 0)
    table = np.array([[0.1, 0.9], [0.5, 0.2], [0.3, 0.3]])
    (row,) = TASK.read_input({"text": "red", "images": str(tmp_path)}, OPTIONS)
    answer = Ranker(Table(table)).predict([row])[0]["prediction"]
    assert [Path(name).name for name in answer["best"]] == ["1.png", "2.png", "0.png"]
    assert answer["similarities"] == [0.5, 0.3, 0.1] and sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
    (row,) = TASK.read_input(json.dumps({"image": str(tmp_path / "0.png"), "texts": ["red", "blue", "red"]}), OPTIONS)
    answer = Ranker(Table(table)).predict([row])[0]["prediction"]
    assert answer["best"] == ["blue", "red"]


@pytest.mark.parametrize(
    "value",
    ["red", {"text": "red"}, {"text": "red", "images": []}, {"image": b"no picture", "texts": ["red"]}, '{"text"'],
)
def test_what_is_no_question_is_refused(value: Any) -> None:
    with pytest.raises(DataError):
        TASK.read_input(value, OPTIONS)


def test_words_are_taken_out_by_their_place() -> None:
    assert without("red square, small", {0, 2}) == " square, " and without("red", set()) == "red"
