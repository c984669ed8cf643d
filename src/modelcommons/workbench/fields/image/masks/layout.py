"""layout: which masks belong to which picture, by the names of their folders and files.

images/1.png        masks/1.png           one mask for each picture, of the same name (or 1_mask.png)
images/1.png        masks/1/*.png         a mask for each object
1/images/1.png      1/masks/*.png         the same, in a folder for each picture
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

IMAGES, MASKS = "images", "masks"

Key = tuple[str, str]  # what stands before the folder `images` or `masks`, what stands behind it without suffix


def paired(paths: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The masks of each picture, in order; and the files that are neither a picture below `images` nor its mask.

    Args:
        paths: relative, forward slashes.
    """
    pictures: dict[Key, str] = {}
    masks: list[tuple[Key, str]] = []
    others: list[str] = []
    for path in sorted(paths):
        kind, key = _key(path)
        if kind == IMAGES:
            pictures[key] = path
        elif kind == MASKS:
            masks.append((key, path))
        else:
            others.append(path)
    alone = _alone(pictures)
    found: dict[str, list[str]] = {path: [] for path in pictures.values()}
    for (before, behind), path in masks:
        names = (behind, behind.removesuffix("_mask"), behind.rpartition("/")[0])
        picture = next((pictures[before, name] for name in names if (before, name) in pictures), alone.get(before))
        if picture is None:
            others.append(path)
        else:
            found[picture].append(path)
    return found, others


def _key(path: str) -> tuple[str, Key]:
    """images, masks, or nothing; and the key."""
    *folders, name = path.split("/")
    for at in range(len(folders) - 1, -1, -1):
        if folders[at] in (IMAGES, MASKS):
            behind = PurePosixPath(*folders[at + 1 :], name).with_suffix("")
            return folders[at], ("/".join(folders[:at]), str(behind))
    return "", ("", "")


def _alone(pictures: dict[Key, str]) -> dict[str, str]:
    """Pictures that are the only one of their folder `images`: all masks beside it are theirs."""
    by_folder: dict[str, list[str]] = {}
    for (before, _), path in pictures.items():
        by_folder.setdefault(before, []).append(path)
    return {before: paths[0] for before, paths in by_folder.items() if len(paths) == 1 and before}
