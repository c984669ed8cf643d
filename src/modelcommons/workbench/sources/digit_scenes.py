"""digits laid out at random on a dark ground, where each is told by its box; no digit is used twice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence

HEIGHT, WIDTH = 72, 96  # pixels of a picture
COLUMNS, ROWS = 4, 3  # of places in it, each for one digit at most
LARGER = (2, 3)  # how many times as large as its 8 x 8 pixels a digit is drawn
MOST = 6  # digits on a picture
NUMBER = 400  # pictures

Grey = list[list[int]]


def scenes(
    digits: Sequence[Sequence[Sequence[int]]], labels: Sequence[int], png: Callable[[Grey], bytes]
) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of `images/000.png`, ... and, at last, COCO's `instances.json`.

    Args:
        digits: grey values from 0 to 255, 8 x 8 pixels each.
    """
    chance = random.Random(1989)
    order = chance.sample(range(len(digits)), len(digits))
    things = []
    for number in range(NUMBER):
        picture = [[chance.randrange(40) for _ in range(WIDTH)] for _ in range(HEIGHT)]
        for place in chance.sample(range(COLUMNS * ROWS), min(chance.randint(1, MOST), len(order))):
            at = order.pop()
            box = _draw(picture, digits[at], place, chance)
            things.append({"image_id": number, "bbox": box, "category_id": int(labels[at])})
        yield f"images/{number:03}.png", png(picture)
    told = {
        "images": [{"id": number, "file_name": f"{number:03}.png"} for number in range(NUMBER)],
        "annotations": things,
        "categories": [{"id": digit, "name": str(digit)} for digit in range(10)],
    }
    yield "instances.json", json.dumps(told).encode()


def _draw(picture: Grey, digit: Sequence[Sequence[int]], place: int, chance: random.Random) -> list[int]:
    """Draws one digit somewhere in its place; returns its box: x, y, width, height."""
    larger = chance.choice(LARGER)
    side = 8 * larger
    top, left = place // COLUMNS * HEIGHT // ROWS, place % COLUMNS * WIDTH // COLUMNS
    top, left = top + chance.randint(0, HEIGHT // ROWS - side), left + chance.randint(0, WIDTH // COLUMNS - side)
    for down in range(side):
        for right in range(side):
            value = int(digit[down // larger][right // larger])
            picture[top + down][left + right] = max(picture[top + down][left + right], value)
    return [left, top, side, side]
