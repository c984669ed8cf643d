"""object-detection: scores against COCO's own, boxes in every file format, assignment and suppression, open models."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelcommons.errors import DataError, FormatError, UsageError
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.image.boxes import annotated, metrics
from modelcommons.workbench.fields.image.boxes.answers import Proposals, answer
from modelcommons.workbench.fields.image.boxes.canvas import Canvas, varied
from modelcommons.workbench.fields.image.boxes.commonest import common_boxes
from modelcommons.workbench.fields.image.boxes.detector import Detector
from modelcommons.workbench.fields.image.boxes.objects import Objects, iou
from modelcommons.workbench.fields.image.boxes.scenes import Options
from modelcommons.workbench.fields.image.detection import TASK
from modelcommons.workbench.sources import find
from modelcommons.workbench.task import Choice, Job, Parts, Reading, Row, Split

SEEDS = st.integers(0, 2**32 - 1)
LABELS = ("a", "b", "c")


def drawn(seed: int, pictures: int = 4) -> list[dict[str, Any]]:
    """Lines whose answers lie near the targets, with equal scores among them; some pictures without boxes."""
    rng = np.random.default_rng(seed)
    lines = []
    for at in range(pictures):
        number = int(rng.integers(0, 7))
        boxes = np.concatenate([rng.integers(0, 40, (number, 2)), rng.integers(4, 30, (number, 2))], axis=1)
        codes = rng.integers(0, 3, number)
        near = np.repeat(boxes, 2, axis=0) + rng.integers(-4, 5, (2 * number, 4))
        near[:, 2:] = np.maximum(near[:, 2:], 1)
        named = np.where(rng.random(2 * number) < 0.8, np.repeat(codes, 2), rng.integers(0, 3, 2 * number))
        scores = np.sort(rng.integers(1, 8, 2 * number) / 8)[::-1]
        target = {"size": [80, 80], "boxes": boxes.tolist(), "labels": [LABELS[c] for c in codes]}
        given = {"boxes": near.tolist(), "labels": [LABELS[c] for c in named], "scores": scores.tolist()}
        lines.append({"id": str(at), "target": target, "prediction": given})
    return lines


# --- scores ---------------------------------------------------------------------------------------------------------


def coco_stats(lines: list[dict[str, Any]]) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = [], []
    for at, line in enumerate(lines):
        target, given = line["target"], line["prediction"]
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            truth.append({"image_id": at, "bbox": box, "category_id": LABELS.index(label), "area": box[2] * box[3]})
        for box, label, score in zip(given["boxes"], given["labels"], given["scores"], strict=True):
            found.append({"image_id": at, "bbox": box, "category_id": LABELS.index(label), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {}, "images": [{"id": at} for at in range(len(lines))],
            "categories": [{"id": code} for code in range(len(LABELS))],
            "annotations": [{**one, "id": number + 1, "iscrowd": 0} for number, one in enumerate(truth)],
        }  # fmt: skip
        coco.createIndex()
        scored = COCOeval(coco, coco.loadRes(found), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return dict(zip(("map", "map_50", "map_75"), scored.stats[:3], strict=True)) | {"mar_100": scored.stats[8]}


@given(SEEDS)
@settings(max_examples=40)
def test_scores_are_cocos(seed: int) -> None:
    pytest.importorskip("pycocotools")
    lines = drawn(seed)
    if not any(line["target"]["boxes"] for line in lines):
        return
    found = {score.metric: score for score in metrics.scores(json.loads(json.dumps(lines)))}
    assert {name: score.value for name, score in found.items()} == pytest.approx(coco_stats(lines), abs=1e-9)
    assert all(score.low <= score.value <= score.high for score in found.values())


@given(SEEDS)
@settings(max_examples=10)
def test_a_picture_drawn_twice_counts_as_two_pictures(seed: int) -> None:
    """What the intervals rest on: weights give what lines written out again would give."""
    lines = drawn(seed, 3)
    weights = np.array([[2, 0, 1]])
    again = [lines[0], lines[0], lines[2]]
    for name, found in metrics.matched(lines).items():
        written_out = metrics.matched(again).get(name)
        average, _ = metrics.precision(found, weights)
        wanted = written_out is not None and written_out.wanted.any()
        assert np.isnan(average).all() != wanted
        if written_out is not None and wanted and len(set(found.scores)) == len(found.scores):
            np.testing.assert_allclose(average, metrics.precision(written_out, np.ones((1, 3), np.int64))[0])


def test_right_answers_have_no_loss_and_empty_pictures_do_not_disturb() -> None:
    lines = drawn(5)
    for line in lines:
        line["prediction"] = {**line["target"], "scores": [0.9] * len(line["target"]["labels"])}
    assert not metrics.losses(lines).any() and {score.value for score in metrics.scores(lines)} == {1.0}
    nothing = {"size": [9, 9], "boxes": [], "labels": []}
    empty = [{"id": "1", "target": nothing, "prediction": {**nothing, "scores": []}}]
    assert {score.value for score in metrics.scores(empty)} == {1.0} and not metrics.losses(empty).any()
    wrong = [{**empty[0], "prediction": {"boxes": [[0, 0, 3, 3]], "labels": ["a"], "scores": [0.7]}}]
    assert {score.value for score in metrics.scores(wrong)} == {0.0} and metrics.losses(wrong).tolist() == [0.7]


@pytest.mark.parametrize(
    "value", [{"boxes": [[1, 2, 3]], "labels": ["a"]}, {"boxes": [[1, 2, 3, 4]], "labels": []}, {"labels": []}, 3]
)
def test_what_are_no_boxes_is_refused_in_a_sentence(value: Any) -> None:
    with pytest.raises(FormatError, match="Expected `boxes` of four numbers"):
        metrics.scores([{"id": "1", "target": {"size": [9, 9], "boxes": [], "labels": []}, "prediction": value}])


def test_only_as_many_boxes_may_change_as_the_answer_was_unsure_of() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [30, 30, 50, 50], [60, 0, 70, 10]], np.float32)
    scores = np.array([[0.9], [0.8995], [0.7], [0.0105]], np.float32)
    stored = {"id": "1", **answer(Proposals(boxes, scores), (80, 80), ("a",), 0.5)}
    assert stored["prediction"]["scores"] == pytest.approx([0.9, 0.7, 0.0105], rel=1e-5)
    assert stored["prediction"]["unsure"] == [0, 2, 2, 2]  # a rival as good, and a score near the least
    assert metrics.agrees(stored, stored, 0.0)

    def other(at: int, score: float) -> dict[str, Any]:
        moved = scores.copy()
        moved[at] = score
        return {"id": "1", **answer(Proposals(boxes, moved), (80, 80), ("a",), 0.5), "margin": stored["margin"]}

    assert metrics.agrees(stored, other(1, 0.9005), 1e-3) and not metrics.agrees(stored, other(1, 0.9005), 1e-4)
    assert metrics.agrees(stored, other(3, 0.0099), 1e-3) and not metrics.agrees(stored, other(2, 0.69), 1e-4)
    assert not metrics.agrees(stored, {**stored, "margin": stored["margin"] + 0.01}, 1e-3)
    assert metrics.changed(stored, other(2, 0.1)) and not metrics.changed(stored, other(2, 0.45))


def test_boxes_below_the_score_that_a_person_names_are_not_told(tmp_path: Path) -> None:
    boxes, scores = np.array([[0, 0, 9, 9], [9, 9, 20, 20]], np.float32), np.array([[0.3], [0.8]], np.float32)
    model = Detector(("a",), lambda pictures: [Proposals(boxes, scores) for _ in pictures], 0.5)
    picture = tmp_path / "a.png"
    Image.new("RGB", (40, 30)).save(picture)
    for asked, wanted in {
        str(picture): [0.8, 0.3],
        json.dumps({"image": str(picture), "score": 0.5}): [0.8],
        json.dumps({"image": str(tmp_path), "score": 0.9}): [],
    }.items():
        (row,) = TASK.read_input(asked, Options())
        (told,) = (one["prediction"] for one in model.predict([row]))
        assert row.id == str(picture) and told["scores"] == pytest.approx(wanted)
        assert len(told["boxes"]) == len(told["labels"]) == len(wanted)
    for wrong in ('{"image": "a.png", "score": 2}', '{"image": "a.png", "least": 0.5}', '{"image": '):
        with pytest.raises(DataError, match="Expected"):
            TASK.read_input(wrong, Options())


# --- boxes ----------------------------------------------------------------------------------------------------------


def random_boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    low = rng.uniform(0, 50, (number, 2))
    return np.concatenate([low, low + rng.uniform(1, 30, (number, 2))], axis=1).astype(np.float32)


@given(SEEDS)
@settings(max_examples=20)
def test_suppression_leaves_the_best_and_nothing_that_lies_on_it(seed: int) -> None:
    import torch

    from modelcommons.workbench.fields.image.boxes.geometry import iou as overlap
    from modelcommons.workbench.fields.image.boxes.geometry import kept

    rng = np.random.default_rng(seed)
    boxes, scores, codes = random_boxes(rng, 30), rng.integers(0, 9, 30) / 9, rng.integers(0, 2, 30)
    tensor = torch.from_numpy(boxes)
    overlaps = overlap(tensor[:, None], tensor[None])
    found = kept(overlaps, torch.from_numpy(scores), torch.from_numpy(codes), 0.3).tolist()
    as_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    rivals = (iou(as_xywh, as_xywh) > 0.3) & (codes[:, None] == codes[None])
    expected: list[int] = []
    for at in np.argsort(-scores, kind="stable").tolist():
        if not any(rivals[at, better] for better in expected):
            expected.append(at)
    assert found == expected


def test_complete_iou_is_one_for_the_same_box_and_falls_with_distance() -> None:
    import torch

    from modelcommons.workbench.fields.image.boxes.geometry import complete_iou, iou

    box = torch.tensor([10.0, 10, 20, 30])
    moved = torch.stack([box + shift for shift in (0, 5, 30, 60)])
    values = complete_iou(box, moved).tolist()
    assert values[0] == pytest.approx(1) and values == sorted(values, reverse=True) and values[3] < values[2] < 0
    wide = torch.tensor([5.0, 15, 25, 25])  # the same centre and area, lying
    aspect = 4 / math.pi**2 * (math.atan(10 / 20) - math.atan(20 / 10)) ** 2
    overlap = float(iou(box, wide))
    assert float(complete_iou(box, wide)) == pytest.approx(overlap - aspect**2 / (1 - overlap + aspect), rel=1e-4)


@given(SEEDS)
@settings(max_examples=20)
def test_boxes_are_themselves_again_after_being_described_by_others(seed: int) -> None:
    import torch

    from modelcommons.workbench.fields.image.boxes.regions import decoded, encoded

    rng = np.random.default_rng(seed)
    boxes, near = (torch.from_numpy(random_boxes(rng, 8)) for _ in range(2))
    torch.testing.assert_close(decoded(encoded(boxes, near), near), boxes, rtol=1e-3, atol=1e-3)


def test_pieces_of_a_map_are_the_values_at_their_places() -> None:
    """Of a map that rises evenly the mean of each part of a box is the value in the part's middle."""
    import torch

    from modelcommons.workbench.fields.image.boxes.regions import anchors, roi_align

    y, x = torch.meshgrid(torch.arange(8) * 8.0 + 4, torch.arange(12) * 8.0 + 4, indexing="ij")
    boxes = torch.tensor([[10.0, 12, 52, 40], [30, 8, 37, 57]])
    found = roi_align(torch.stack([x, y]), boxes, (64, 96), 7)
    along = (torch.arange(7) + 0.5) / 7
    for box, piece in zip(boxes, found, strict=True):
        torch.testing.assert_close(piece[0], (box[0] + along * (box[2] - box[0])).expand(7, 7))
        torch.testing.assert_close(piece[1], (box[1] + along * (box[3] - box[1]))[:, None].expand(7, 7))
    near = anchors(64, 96, 8)
    assert near.shape == (8 * 12 * 12, 4) and ((near[:12, :2] + near[:12, 2:]) / 2 == 4).all()


def test_a_network_with_normalisation_folded_in_says_the_same() -> None:
    import torch

    from modelcommons.workbench.engine.cnn import fused
    from modelcommons.workbench.fields.image.boxes.yolo import Yolo

    torch.manual_seed(0)
    network, pictures = Yolo(2, 4, 1), torch.randn(2, 3, 32, 64)
    network(pictures)  # normalisation has seen something
    folded = fused(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    for a, b in zip(network.eval()(pictures), folded(pictures), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_places_inside_an_object_are_assigned_to_it_the_best_aligned_first() -> None:
    import torch

    from modelcommons.workbench.fields.image.boxes.yolo import assigned, places

    centres, _ = places(64, 64)
    wanted = torch.tensor([[[0.0, 0, 40, 40], [36, 36, 60, 60], [61, 61, 63, 63], [0, 0, 0, 0]]])
    codes, there = torch.tensor([[0, 1, 1, 0]]), torch.tensor([[True, True, True, False]])
    boxes = torch.cat([centres - 12, centres + 12], 1)[None]
    owner, quality = assigned(torch.full((1, len(centres), 2), 0.5), boxes, centres, wanted, codes, there)
    assert set(owner.unique().tolist()) == {-1, 0, 1, 2}, "each object has a place, what only fills up has none"
    for at in torch.nonzero(owner[0] >= 0)[:, 0].tolist():
        box, (x, y) = wanted[0, owner[0, at]], centres[at].tolist()
        assert box[0] - 4.5 < x < box[2] + 4.5 and box[1] - 4.5 < y < box[3] + 4.5
    assert (quality[owner < 0] == 0).all() and 0 < float(quality.max()) <= 1


@given(SEEDS)
@settings(max_examples=20)
def test_a_varied_picture_and_its_boxes_stay_together(seed: int) -> None:
    """Where a box is, the picture is bright, however it was scaled, moved and turned."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((60, 90, 1), np.uint8)
    top, left = rng.integers(0, 30, 2).tolist()
    picture[top : top + 24, left : left + 30] = 255
    objects = Objects((60, 90), np.array([[left, top, 30, 24]], np.float64), np.array([0]), ("a",))
    canvas = Canvas(64, 96, (0.0,) * 3, (1.0,) * 3)
    laid = varied(picture, objects, canvas, ("flip", "turn", "scale"), rng)
    bright = laid.picture[:, :, 0] > 128
    assert laid.picture.shape == (64, 96, 3) and len(laid.boxes) == len(laid.codes) <= 1
    for x1, y1, x2, y2 in laid.boxes.round().astype(int).tolist():
        assert bright[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].all()
        bright[max(0, y1 - 2) : y2 + 2, max(0, x1 - 2) : x2 + 2] = False
        assert not bright.any()


def test_the_floor_has_boxes_where_most_pictures_have_one() -> None:
    pictures = [
        Objects((100, 200), np.array([[20.0 + at, 10, 40, 40], [150, 5 * at, 20, 20]]), np.array([0, 1]), ("a", "b"))
        for at in range(4)
    ]
    found = common_boxes(pictures)
    assert [(one.label, one.share) for one in found] == [("a", 1.0), ("b", 0.75)]
    assert found[0].box.tolist() == [0.1, 0.1, 0.2, 0.4]


# --- files ----------------------------------------------------------------------------------------------------------

PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
BOXES = [[5, 6, 20, 10], [30, 10, 15.5, 25]]
XML = """<annotation><filename>x.jpg</filename><size><width>60</width><height>40</height></size>
<object><name>cat</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>25</xmax><ymax>16</ymax></bndbox></object>
<object><name>dog</name><bndbox><xmin>30</xmin><ymin>10</ymin><xmax>45.5</xmax><ymax>35</ymax></bndbox></object>
</annotation>"""


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "PNG")
    return file.getvalue()


def put(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def coco(names: list[str]) -> str:
    things = [
        {"image_id": at, "bbox": box, "category_id": code}
        for at in range(len(names))
        for box, code in zip(BOXES, (9, 3), strict=True)
    ]
    crowd = {"image_id": 0, "bbox": [0, 0, 9, 9], "category_id": 3, "iscrowd": 1}
    images = [{"id": at, "file_name": name} for at, name in enumerate(names)]
    categories = [{"id": 3, "name": "dog"}, {"id": 9, "name": "cat"}]
    return json.dumps({"images": images, "annotations": [*things, crowd], "categories": categories})


def parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"labels": {"feature": {"names": ["dog", "cat"], "_type": "ClassLabel"}, "_type": "Sequence"}}
    table = pa.table({"image": [png()], "boxes": [BOXES], "labels": [[1, 0]]}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def line(**values: Any) -> str:
    return json.dumps(values)


LAYOUTS: dict[str, dict[str, bytes | str]] = {
    "voc": {"JPEGImages/x.png": png(), "Annotations/x.xml": XML},
    "voc beside": {"x.png": png(), "x.xml": XML},
    "coco": {"images/x.png": png(), "annotations/instances.json": coco(["x.png"])},
    "coco, with captions of the same pictures": {
        "images/x.png": png(),
        "annotations/instances_all.json": coco(["x.png"]),
        "annotations/captions_all.json": json.dumps({"images": [], "annotations": []}),
    },
    "one coco file in the folder": {"x.png": png(), "_annotations.coco.json": coco(["x.png"])},
    "parquet": {"all.parquet": parquet()},
    "metadata": {
        "x.png": png(),
        "metadata.jsonl": line(file_name="x.png", objects={"bbox": BOXES, "categories": ["cat", "dog"]}),
    },
    "a list of things": {
        "x.png": png(),
        "all.jsonl": line(
            file_name="x.png", annotations=[{"bbox": BOXES[0], "label": "cat"}, {"bbox": BOXES[1], "label": "dog"}]
        ),
    },
}


def read(folder: Path, columns: dict[str, str] | None = None, **options: Any) -> Reading:
    return TASK.rows(find(str(folder)), columns or {}, Options(**options))


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_every_layout_gives_the_same_boxes(tmp_path: Path, name: str) -> None:
    reading = read(put(tmp_path, LAYOUTS[name]))
    assert not reading.num_bad, reading.bad
    (row,) = reading.parts["all"]  # type: ignore[misc]
    np.testing.assert_array_equal(row.x, PICTURE)
    assert row.y.as_json() == {"size": [40, 60], "boxes": BOXES, "labels": ["cat", "dog"]}
    assert set(row.y.labels) == {"cat", "dog"}


@pytest.mark.parametrize(
    "files",
    [
        {f"{part}/{name}": content for part in ("train", "valid", "test") for name, content in LAYOUTS["voc"].items()},
        {**{f"JPEGImages/{part}.png": png() for part in ("train", "val", "test")},
         **{f"Annotations/{part}.xml": XML for part in ("train", "val", "test")},
         **{f"ImageSets/Main/{part}.txt": f"{part} 1\n" for part in ("train", "val", "test")},
         "ImageSets/Segmentation/train.txt": "test\n"},
        {**{f"images/{part}/x.png": png() for part in ("train", "val", "test")},
         **{f"annotations/instances_{part}2017.json": coco(["x.png"]) for part in ("train", "val", "test")}},
    ],
    ids=["folders", "lists", "coco"],
)  # fmt: skip
def test_parts_are_as_the_files_say(tmp_path: Path, files: dict[str, bytes | str]) -> None:
    reading = read(put(tmp_path, files))
    assert {part: len(rows) for part, rows in reading.parts.items()} == {"train": 1, "validation": 1, "test": 1}
    assert len({id for rows in reading.parts.values() for id in rows.ids()}) == 3 and not reading.num_bad


def test_what_stands_beside_pictures_is_digested(tmp_path: Path) -> None:
    put(tmp_path, LAYOUTS["voc"])
    before = find(str(tmp_path)).sha256
    put(tmp_path, {"Annotations/x.xml": XML.replace("cat", "cow")})
    assert find(str(tmp_path)).sha256 != before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation/>', "document type, which is refused"),
        (XML.replace("<annotation>", "<!doctype html><annotation>"), "document type, which is refused"),
        (XML[:80], "got something else"),
        (XML.replace("<xmin>5</xmin>", ""), "`bndbox` of xmin"),
        (XML.replace("<name>cat</name>", ""), "`name`"),
        (XML.replace("<xmin>5</xmin>", "<xmin>nan</xmin>"), "finite numbers"),
        (XML.replace("<xmax>25</xmax>", "<xmax>1</xmax>"), "not negative"),
    ],
)
def test_a_bad_annotation_costs_its_picture_only(tmp_path: Path, text: str, why: str) -> None:
    files = {"a.png": png(), "a.xml": XML, "b.png": png(), "b.xml": text, "c.png": png()}
    reading = read(put(tmp_path, files))
    assert list(reading.parts["all"].ids()) == ["a.png"] and (reading.num_bad, reading.num_read) == (2, 3)
    told = {bad.where: bad.reason for bad in reading.bad}
    assert why in told["b.png"] and "found none" in told["c.png"]


def test_a_table_is_read_as_the_recipe_says(tmp_path: Path) -> None:
    rows = [
        line(photo="x.png", where=BOXES, what=[0, 1]), line(photo="x.png", where=[], what=[]),
        line(photo="x.png", where=[[50, 30, 99, 99], [70, 5, 9, 9]], what=[1, 1]),
        line(photo="x.png", where=BOXES, what=[0]), line(photo="../x.png", where=BOXES, what=[0, 1]),
        line(photo="gone.png", where=BOXES, what=[0, 1]), line(photo="x.png", where=[[1, 2]], what=[0]),
    ]  # fmt: skip
    put(tmp_path, {"x.png": png(), "all.jsonl": "\n".join(rows)})
    columns = {"image": "photo", "boxes": "where", "label": "what"}
    reading = read(tmp_path, columns, classes=("cat", "dog"))
    assert [row.y.as_json()["labels"] for row in reading.parts["all"]] == [["cat", "dog"], [], ["dog"]]  # type: ignore
    assert reading.parts["all"][2].y.boxes.tolist() == [[50, 30, 10, 10]], "what lies outside is cut off"
    assert reading.num_bad == 4 and "1 boxes without area" in reading.notes[1]
    why = " ".join(bad.reason for bad in reading.bad)
    assert all(part in why for part in ("a class for each box", "inside the data's folder", "four numbers"))
    with pytest.raises(DataError, match=r"data\.columns\.boxes"):
        read(tmp_path, {"image": "photo"})
    with pytest.raises(DataError, match="boxes of 'dog' too"):
        read(put(tmp_path / "voc", LAYOUTS["voc"]), classes=("cat",))


@pytest.mark.parametrize("things", [[1, 2], ["a"], [{"bbox": BOXES[0], "category": "cat"}, None]])
def test_a_line_of_other_things_costs_its_picture_only(tmp_path: Path, things: list[Any]) -> None:
    good = line(file_name="x.png", objects=[{"bbox": BOXES[0], "category": "cat"}])
    put(tmp_path, {"x.png": png(), "metadata.jsonl": f"{good}\n{line(file_name='x.png', objects=things)}"})
    reading = read(tmp_path)
    assert reading.num_bad == 1 and "things with a box and a class" in reading.bad[0].reason


def test_what_says_nothing_of_boxes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Pascal VOC's XML or COCO's JSON"):
        read(put(tmp_path / "pictures", {"x.png": png()}))
    with pytest.raises(DataError, match="expected COCO's `images`"):
        read(put(tmp_path / "json", {"x.png": png(), "y.json": "[1, 2]"}))
    with pytest.raises(DataError, match="name none that is there"):
        read(put(tmp_path / "empty", {"x.png": png(), "instances.json": coco([])}))
    with pytest.raises(DataError, match="there is none on any"):
        read(put(tmp_path / "none", {"x.png": png(), "x.xml": "<annotation/>"}))


def test_the_real_sample_is_read(real: Any) -> None:
    reading = read(real("samples") / "bccd")
    assert not reading.num_bad and next(iter(reading.parts.values())).labels == ("RBC", "WBC", "Platelets")  # type: ignore


def test_a_file_name_means_the_picture_of_its_part() -> None:
    paths = ["a/train2017/1.png", "a/val2017/1.png"]
    for part in ("train2017", "val2017"):
        assert annotated.meant("1.png", f"ann/instances_{part}.json", {"1.png": paths}) == f"a/{part}/1.png"
    assert annotated.meant("2.png", "x.json", {"1.png": paths}) is None


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    tiny = TASK.tiny(tmp_path_factory.mktemp("tiny"))
    return TASK.split(TASK.rows(find(str(tiny.source)), {}, Options()), Split(), Options())


def fitted(parts: Parts, folder: Path, choice: Choice, **training: Any) -> Path:
    (folder / "model").mkdir(parents=True)
    job = Job(choice, Training(**training), Options(), 0, folder / "model", folder / "checkpoints", Silent())
    TASK.fit(parts.train, parts.validation, job)
    return folder / "model"


def test_a_faster_rcnn_learns_and_answers_in_every_size(world: Parts, tmp_path: Path) -> None:
    choice = Choice(None, "faster-rcnn", {"width": 4, "depth": 0, "hidden": 32})
    folder = fitted(world, tmp_path, choice, epochs=0.15, learning_rate=0.006)
    model = TASK.load(folder)
    rows = [world.test[at] for at in range(len(world.test))]
    made = [
        {"id": row.id, "target": TASK.target(row), **one} for row, one in zip(rows, model.predict(rows), strict=True)
    ]
    floor = [
        {**line, **one} for line, one in zip(made, TASK.baseline(world.train, Options())[1].predict(rows), strict=True)
    ]
    assert TASK.scores(made)[0].value > 2 * TASK.scores(floor)[0].value
    for height, width in ((1, 1), (3, 50), (133, 17)):
        picture = np.zeros((height, width, 3), np.uint8)
        for x, y, across, down in model.predict([Row("x", picture)])[0]["prediction"]["boxes"]:
            assert 0 <= x <= x + across <= width + 0.01 and 0 <= y <= y + down <= height + 0.01
    with pytest.raises(UsageError, match="other than `yolo` has no export"):
        TASK.export(folder, tmp_path / "model.onnx")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Open models with weights as they came: with an output for `nothing`, and without one."""
    import transformers as hf

    folder = tmp_path_factory.mktemp("open")
    backbone = hf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    detr = hf.DetrConfig(
        use_timm_backbone=False, backbone_config=backbone, backbone=None, use_pretrained_backbone=False, num_queries=8,
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_labels=5,
    )  # fmt: skip
    stages = hf.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    rt_detr = hf.RTDetrConfig(
        backbone_config=stages, encoder_hidden_dim=16, encoder_in_channels=[8, 16, 16], encoder_layers=1,
        encoder_ffn_dim=16, encoder_attention_heads=2, d_model=16, num_queries=8, decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16, decoder_n_points=2, decoder_layers=1, decoder_attention_heads=2, num_denoising=4,
        hidden_expansion=0.5, num_labels=5,
    )  # fmt: skip
    yolos = hf.YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[48, 64],
        patch_size=8, num_detection_tokens=8, use_mid_position_embeddings=False, num_labels=5,
    )  # fmt: skip
    sides, square = {"height": 48, "width": 64}, {"height": 64, "width": 64}  # RT-DETR halves them five times
    for name, network, processor in (
        ("detr", hf.DetrForObjectDetection(detr), hf.DetrImageProcessorPil(size=sides)),
        ("rt-detr", hf.RTDetrForObjectDetection(rt_detr), hf.RTDetrImageProcessorPil(size=square)),
        ("yolos", hf.YolosForObjectDetection(yolos), hf.YolosImageProcessorPil(size=sides)),
    ):
        network.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return {name: folder / name for name in ("detr", "rt-detr", "yolos")}


@pytest.mark.parametrize(
    ("name", "method"), [("detr", "full"), ("detr", "lora"), ("rt-detr", "full"), ("yolos", "head")]
)
def test_an_open_model_is_tuned_and_answers_in_the_pictures_own_size(
    world: Parts, opened: dict[str, Path], tmp_path: Path, name: str, method: str
) -> None:
    folder = fitted(world, tmp_path, Choice(opened[name], name), epochs=0.01, method=method)
    model, row = TASK.load(folder), world.test[0]
    assert list(model.labels) == ["disc", "square"]
    found = model.predict([row])[0]["prediction"]
    assert len(found["boxes"]) and {"disc", "square"} >= set(found["labels"])
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} == set(TASK.files(folder))


def test_what_is_no_detector_is_refused(opened: dict[str, Path], tmp_path: Path) -> None:
    for name in ("model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((opened["yolos"] / name).read_bytes())
    config = json.loads((opened["yolos"] / "config.json").read_text()) | {"model_type": "bert"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FormatError, match="is no object detector that transformers can load"):
        TASK.load(tmp_path)
