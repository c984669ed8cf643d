"""image-segmentation: scores against scikit-learn, masks as run lengths, how files are paired, and open models."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.image.masks import mask, metrics
from modelcommons.workbench.fields.image.masks.augment import augment, pieces
from modelcommons.workbench.fields.image.masks.layout import paired
from modelcommons.workbench.fields.image.masks.mask import Mask
from modelcommons.workbench.fields.image.masks.otsu import threshold
from modelcommons.workbench.fields.image.masks.pairs import Options, Pairs
from modelcommons.workbench.fields.image.segmentation import TASK
from modelcommons.workbench.sources import find
from modelcommons.workbench.task import Choice, Job, Parts, Reading, Row, Split

LABELS = ("background", "a", "b", "c")
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, classes: int, pictures: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Targets and answers of different sizes that agree in many pixels; some without any object."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(pictures):
        size = tuple(rng.integers(1, 9, 2).tolist())
        target = rng.integers(0, classes, size) * (rng.random() < 0.8)
        other = rng.integers(0, classes, size) * (rng.random() < 0.8)
        made.append((target.astype(np.uint8), np.where(rng.random(size) < 0.6, target, other).astype(np.uint8)))
    return made


def lines(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[dict[str, Any]]:
    return [
        {"id": str(at), "target": Mask(a, LABELS).as_json(), "prediction": Mask(b, LABELS).as_json()}
        for at, (a, b) in enumerate(pairs)
    ]


# --- scores ---------------------------------------------------------------------------------------------------------


@given(SEEDS, st.integers(2, 4))
@settings(max_examples=15)
def test_scores_are_scikit_learns(seed: int, classes: int) -> None:
    from sklearn.metrics import accuracy_score, f1_score, jaccard_score

    pairs = drawn(seed, classes)
    found = {score.metric: score.value for score in metrics.scores(json.loads(json.dumps(lines(pairs))))}

    def mean(score: Any, pairs: list[tuple[np.ndarray, np.ndarray]], first: int = 1) -> float:
        """Over the pictures, of the mean over those classes that occur in target or answer."""
        values = []
        for a, b in pairs:
            occurs = [code for code in np.union1d(a, b).tolist() if code >= first]
            values.append(score(a.ravel(), b.ravel(), labels=occurs, average="macro") if occurs else 1.0)
        return float(np.mean(values))

    together = [tuple(np.concatenate([pair[at].ravel() for pair in pairs]) for at in (0, 1))]
    assert found["iou"] == pytest.approx(mean(jaccard_score, pairs))
    assert found["dice"] == pytest.approx(mean(f1_score, pairs))
    assert found["pixel_iou"] == pytest.approx(mean(jaccard_score, together))  # type: ignore[arg-type]
    assert found["pixel_accuracy"] == pytest.approx(accuracy_score(*together[0]))
    np.testing.assert_allclose(1 - metrics.losses(lines(pairs)), [mean(jaccard_score, [pair]) for pair in pairs])
    many = len(mask.classes(line[part] for line in lines(pairs) for part in ("target", "prediction"))) > 1
    assert ("mean_iou" in found) == many
    if many:
        assert found["mean_iou"] == pytest.approx(mean(jaccard_score, together, 0))  # type: ignore[arg-type]


@given(SEEDS)
@settings(max_examples=25)
def test_a_mask_is_whole_after_its_journey_as_runs(seed: int) -> None:
    codes, _ = drawn(seed, 4, 1)[0]
    value = json.loads(json.dumps(Mask(codes, LABELS).as_json()))
    np.testing.assert_array_equal(mask.codes(value, LABELS[1:]), codes)
    for label, counts in value["counts"].items():
        assert sum(counts) == codes.size and all(count > 0 for count in counts[1:])
        flat = "".join("01"[inside] for inside in (codes == LABELS.index(label)).T.ravel().tolist())  # down the columns
        assert flat == "".join("01"[at % 2] * count for at, count in enumerate(counts))


@pytest.mark.parametrize(
    "value",
    [{"size": [2, 2], "counts": {"a": [1, 2]}}, {"size": [2], "counts": {}}, {"counts": {}}, 3,
     {"size": [2, 2], "counts": {"a": [5, -1]}}],
)  # fmt: skip
def test_what_is_no_mask_is_refused_in_a_sentence(value: Any) -> None:
    good = Mask(np.zeros((2, 2), np.uint8), LABELS).as_json()
    with pytest.raises(FormatError, match="Expected masks with `size` and runs in `counts`"):
        metrics.scores([{"id": "1", "target": good, "prediction": value}])


def test_only_as_many_pixels_may_differ_as_the_answer_was_unsure_of() -> None:
    odds = np.full((8, 8), 4.0, np.float32)
    odds[0, :3] = 1e-5, 2e-5, 1e-3  # margins of 5e-6, 1e-5 and 5e-4

    def line(flipped: int) -> dict[str, Any]:
        other = odds.copy()
        other[0, :flipped] *= -1
        return {"id": "1", **metrics.answer(np.stack([np.zeros_like(other), other]), ("background", "a"))}

    stored = line(0)
    assert stored["prediction"]["unsure"] == [2, 3, 3, 3]
    assert metrics.agrees(stored, stored, 0.0) and metrics.agrees(stored, line(2), 1e-4)
    assert not metrics.agrees(stored, line(3), 1e-4) and metrics.agrees(stored, line(3), 1e-3)
    assert not metrics.agrees(stored, line(10), 1e-3)
    assert not metrics.agrees(stored, {**stored, "margin": stored["margin"] - 0.01}, 1e-4)
    assert metrics.changed({**stored, **line(0)}, line(10)) and not metrics.changed(stored, line(0))


@given(SEEDS)
@settings(max_examples=10)
def test_otsu_divides_where_the_parts_are_most_alike_inside(seed: int) -> None:
    gray = np.random.default_rng(seed).integers(0, 256, 40).astype(np.uint8)

    def inside(limit: int) -> float:
        parts = (gray[gray <= limit], gray[gray > limit])
        return sum(float(part.var()) * len(part) for part in parts if len(part))

    assert inside(threshold(gray)) == pytest.approx(min(map(inside, range(256))))


# --- files ----------------------------------------------------------------------------------------------------------


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, "PNG")
    return file.getvalue()


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def read(folder: Path, columns: dict[str, str] | None = None, **options: Any) -> Reading:
    return TASK.rows(find(str(folder)), columns or {}, Options(**options))


PICTURE = np.arange(20, dtype=np.uint8).reshape(4, 5) * 10
OBJECTS = [np.eye(4, 5, at).astype(np.uint8) * 255 for at in (0, 2)]
BOTH = (OBJECTS[0] | OBJECTS[1]) // 255


@pytest.mark.parametrize(
    "places",
    [
        ["images/1.png", "masks/1.png"],
        ["images/1.png", "masks/1_mask.png"],
        ["images/a/1.png", "masks/a/1.png"],
        ["images/1.png", "masks/1/x.png", "masks/1/y.png"],
        ["one/images/1.png", "one/masks/x.png", "one/masks/y.png"],
    ],
    ids=["names", "suffix", "folders", "objects", "kaggle"],
)
def test_every_layout_gives_the_same_mask(tmp_path: Path, places: list[str]) -> None:
    masks = OBJECTS if len(places) == 3 else [BOTH * 255]
    put(tmp_path, {place: png(array) for place, array in zip(places, [PICTURE, *masks], strict=True)})
    (row,) = read(tmp_path).parts["all"]  # type: ignore[misc]
    assert row.id == places[0] and row.y.labels == ("background", "object")
    np.testing.assert_array_equal(row.y.codes, BOTH)
    np.testing.assert_array_equal(row.x[:, :, 0], PICTURE)


@pytest.mark.parametrize("place", ["{part}/{kind}/1.png", "{kind}/{part}/1.png"])
def test_parts_are_named_above_or_below(tmp_path: Path, place: str) -> None:
    for part in ("train", "val", "test"):
        kinds = {"images": PICTURE, "masks": BOTH}
        put(tmp_path, {place.format(part=part, kind=kind): png(array) for kind, array in kinds.items()})
    assert {part: len(rows) for part, rows in read(tmp_path).parts.items()} == {"train": 1, "validation": 1, "test": 1}


def test_what_belongs_to_nothing_is_counted_and_told() -> None:
    found, others = paired(["images/1.png", "masks/1.png", "masks/2.png", "logo.png", "images/3.png"])
    assert found == {"images/1.png": ["masks/1.png"], "images/3.png": []}
    assert sorted(others) == ["logo.png", "masks/2.png"]


def test_bad_files_cost_their_row_only(tmp_path: Path) -> None:
    colours = np.stack([BOTH * 255, BOTH, BOTH], 2)
    jpeg = io.BytesIO()
    Image.fromarray(BOTH * 255).save(jpeg, "JPEG")
    masks = {
        "good": png(BOTH * 255), "large": png(np.zeros((5, 5), np.uint8)), "colours": png(colours),
        "cut": png(BOTH)[:50], "jpeg": jpeg.getvalue(),
    }  # fmt: skip
    put(tmp_path, {f"images/{name}.png": png(PICTURE) for name in (*masks, "none")})
    put(tmp_path, {f"masks/{name}.png": content for name, content in masks.items()})
    reading = read(tmp_path)
    assert list(reading.parts["all"].ids()) == ["images/good.png"]
    assert (reading.num_bad, reading.num_read) == (5, 6)
    why = {Path(bad.where).stem: bad.reason for bad in reading.bad}
    assert why["large"] == "expected a mask as large as its picture (5 x 4), got 5 x 5"
    assert why["none"] == "expected a mask, got none" and "got colours" in why["colours"] and "got JPEG" in why["jpeg"]
    assert "cut off or corrupt" in why["cut"]


def test_a_table_of_paths_of_many_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, (6, 7)).astype(np.uint8)
    palette = Image.new("P", (7, 6))
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.putdata(codes.ravel().tolist())
    put(tmp_path, {"a.png": png(rng.integers(0, 256, (6, 7, 3)).astype(np.uint8)), "plain.png": png(codes)})
    palette.save(tmp_path / "palette.png")
    (tmp_path / "all.csv").write_text("photo,ground\na.png,plain.png\na.png,palette.png\n../x.png,plain.png\n")
    columns = {"image": "photo", "mask": "ground"}
    reading = read(tmp_path / "all.csv", columns, classes=("sky", "road", "car"))
    for row in reading.parts["all"]:  # type: ignore[attr-defined]
        assert row.id.startswith("all.csv:") and len(row.id.partition("#")[2]) == 16
        np.testing.assert_array_equal(row.y.codes, codes)
    assert reading.num_bad == 1 and "inside the data's folder" in reading.bad[0].reason
    with pytest.raises(DataError, match=r"data\.columns\.mask: there is no column 'masks'"):
        read(tmp_path / "all.csv", {"mask": "masks"})


def test_values_are_classes_as_the_recipe_says(tmp_path: Path) -> None:
    codes = np.array([[0, 1], [2, 7]], np.uint8)
    put(tmp_path, {"images/1.png": png(PICTURE[:2, :2]), "masks/1.png": png(codes)})
    (row,) = read(tmp_path).parts["all"]  # type: ignore[misc]
    assert row.y.labels == ("background", "1", "2", "7") and row.y.codes.tolist() == [[0, 1], [2, 3]]
    (row,) = read(tmp_path, classes=("no", "yes")).parts["all"]  # type: ignore[misc]
    assert row.y.codes.tolist() == [[0, 1], [1, 1]]
    with pytest.raises(DataError, match=r"images/1\.png: mask value 7, expected 0 to 2"):
        read(tmp_path, classes=("no", "yes", "maybe"))
    put(tmp_path, {"masks/1.png": png(np.zeros((2, 2), np.uint8))})
    with pytest.raises(DataError, match="all of their pixels have one value"):
        read(tmp_path)
    many = png(np.arange(256, dtype=np.uint8).reshape(16, 16))
    put(tmp_path, {"images/1.png": many, "masks/1.png": many})
    with pytest.raises(DataError, match=r"256 different values, expected at most 64.*data\.options\.classes"):
        read(tmp_path)


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Squares (1) and stripes (2) of different sizes in pictures of different sizes."""
    folder, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(3)
    for number in range(24):
        codes = np.zeros((int(rng.integers(20, 30)), int(rng.integers(20, 30))), np.uint8)
        for code in (1, 2):
            top, left = rng.integers(0, 16, 2)
            codes[top : top + 8, left : left + 8] = code
        picture = 40 + 150 * (codes == 1) + 150 * ((codes == 2) & (np.arange(codes.shape[1]) % 2 == 0))
        picture = picture + rng.integers(0, 30, codes.shape)
        put(folder, {f"images/{number:02}.png": png(picture.astype(np.uint8)), f"masks/{number:02}.png": png(codes)})
    options = Options()
    return TASK.split(TASK.rows(find(str(folder)), {}, options), Split(), options)


def fitted(parts: Parts, folder: Path, choice: Choice, **training: Any) -> Path:
    (folder / "model").mkdir(parents=True)
    job = Job(choice, Training(**training), Options(), 0, folder / "model", folder / "checkpoints", Silent())
    TASK.fit(parts.train, parts.validation, job)
    return folder / "model"


def test_a_unet_learns_three_classes_and_answers_in_every_size(world: Parts, tmp_path: Path) -> None:
    folder = fitted(world, tmp_path, Choice(None, "unet", {"width": 8, "depth": 1}), epochs=12)
    model, floor = TASK.load(folder), TASK.baseline(world.train, Options())
    rows = [world.test[at] for at in range(len(world.test))]

    def scored(answers: list[dict[str, Any]]) -> dict[str, float]:
        made = [{"id": row.id, "target": TASK.target(row), **one} for row, one in zip(rows, answers, strict=True)]
        return {score.metric: score.value for score in TASK.scores(made)}

    mine, theirs = scored(model.predict(rows)), scored(floor[1].predict(rows))
    assert mine["mean_iou"] > 0.6 > theirs["mean_iou"] and floor[0] == "commonest class"
    for height, width in ((1, 1), (3, 50), (33, 17)):
        picture = np.zeros((height, width, 3), np.uint8)
        assert model.predict([Row("x", picture)])[0]["prediction"]["size"] == [height, width]


def test_a_large_picture_is_answered_in_tiles_as_it_would_be_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from modelcommons.workbench.fields.image.masks import model
    from modelcommons.workbench.fields.image.masks.architectures import UNetOptions
    from modelcommons.workbench.fields.image.masks.unet import UNet

    torch.manual_seed(0)
    options = UNetOptions(width=2, depth=2)
    network, preprocess = UNet(1, 2, options.width, options.depth), model.Preprocess((0.5,), (0.3,), 4)
    run = model.torch_run(network)
    picture = np.random.default_rng(0).integers(0, 256, (1, 150, 77, 1)).astype(np.uint8)
    whole = model.Segmenter(("no", "yes"), 1, preprocess.inputs, run, options.reach).logits(picture)
    monkeypatch.setattr(model.tiles, "__defaults__", (16,))
    for reach, same in ((options.reach, True), (8, False)):
        found = model.Segmenter(("no", "yes"), 1, preprocess.inputs, run, reach).logits(picture)
        assert np.allclose(found, whole, atol=1e-5) == same


def test_the_loss_of_two_classes_is_the_binary_one_and_soft_dice() -> None:
    import torch

    from modelcommons.workbench.fields.image.masks.fitting import mask_loss

    torch.manual_seed(0)
    logits, targets = torch.randn(2, 2, 5, 6), torch.randint(0, 2, (2, 5, 6))
    odds = logits[:, 1] - logits[:, 0]
    binary = torch.nn.functional.binary_cross_entropy_with_logits(odds, targets.float())
    shares = odds.sigmoid()
    dice = (2 * (shares * targets).sum() + 1) / (shares.sum() + targets.sum() + 1)
    assert float(mask_loss(logits, targets)) == pytest.approx(float(binary + 1 - dice), rel=1e-5)


def test_a_piece_and_its_mask_stay_together(world: Parts) -> None:
    """Where the mask says square, the piece is bright, however it was cut, turned and mirrored."""
    assert isinstance(world.train, Pairs)
    rng, rows = np.random.default_rng(0), np.arange(8)
    pictures, codes = augment(*pieces(world.train, rows, 32, 1, rng), ("flip", "turn"), rng)
    assert pictures.shape == (8, 32, 32, 1) and codes.shape == (8, 32, 32)
    bright = pictures[..., 0] > 120
    assert bright[codes == 1].all() and not bright[codes == 0].any()
    brighter, same = augment(pictures, codes, ("brightness",), rng)
    assert (brighter != pictures).any() and (same == codes).all()


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open model with weights as they came."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    folder = tmp_path_factory.mktemp("segformer")
    config = SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], hidden_sizes=[8, 16], num_attention_heads=[1, 2], sr_ratios=[2, 1],
        patch_sizes=[3, 3], strides=[2, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, num_labels=5,
    )  # fmt: skip
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", ["full", "head", "lora"])
def test_an_open_model_is_tuned_and_answers_in_the_pictures_own_size(
    world: Parts, segformer: Path, tmp_path: Path, method: str
) -> None:
    folder = fitted(world, tmp_path, Choice(segformer, "segformer"), epochs=0.4, method=method)
    model, row = TASK.load(folder), world.test[0]
    assert list(model.labels) == ["background", "1", "2"]
    assert model.predict([row])[0]["prediction"]["size"] == list(row.x.shape[:2])
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} == set(TASK.files(folder))


def test_what_is_no_segmentation_model_is_refused(segformer: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((segformer / name).read_bytes())
    config = json.loads((segformer / "config.json").read_text()) | {"model_type": "bert"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FormatError, match="is no segmentation model that transformers can load"):
        TASK.load(tmp_path)
