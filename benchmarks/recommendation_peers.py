"""closed forms of recommendation beside `implicit` and EASE in NumPy: seconds, memory, Recall@10 on the same choices.

    python benchmarks/recommendation_peers.py
    python benchmarks/recommendation_peers.py --sets made --models ials

Lists of ten are made for everybody who is asked, without what they have. Each measurement is a process of its own, ours
and the other take turns; made choices (50,000 users, 20,000 items) have no test. Options are the first that ours tries.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import heading, peak_mib
from measure.peers import now, ours, peer, ratios, words

SETS = ("movietweetings", "made")
MADE_USERS, MADE_ITEMS, MEAN_LENGTH, LONGEST = 50_000, 20_000, 40, 400
OPTIONS: dict[str, dict[str, Any]] = {
    "ials": {"factors": 64, "unobserved": 0.1, "regularization": 0.01},
    "item-knn": {"neighbours": 50, "shrink": 0.0},
    "ease": {"regularization": 300.0, "most_items": 2048},
}
OTHERS = {"ials": "implicit ALS", "item-knn": "implicit CosineRecommender", "ease": "NumPy EASE"}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/movietweetings_100k"))
    wanted.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    wanted.add_argument("--models", nargs="+", choices=OPTIONS, default=tuple(OPTIONS))
    wanted.add_argument("--rounds", type=int, default=5)
    wanted.add_argument("--threads", type=int, default=2)
    wanted.add_argument("--solve", nargs=2, metavar=("MODEL", "FOLDER"), help="ours alone: one line of JSON")
    given = wanted.parse_args()
    if given.solve:
        return solve(given.solve[0], Path(given.solve[1]))
    heading()
    for name in given.sets:
        with tempfile.TemporaryDirectory() as folder:
            targets = write_choices(name, given.data, Path(folder))
            for model in given.models:
                compare(model, Path(folder), targets, given.rounds, given.threads)


# --- choices --------------------------------------------------------------------------------------------------------


def write_choices(name: str, data: Path, folder: Path) -> list[set[int]]:
    """Writes choices.npz, and returns what each who is asked chose later."""
    histories, num_items, asked, targets = _made() if name == "made" else _movietweetings(data)
    starts = np.cumsum([0, *map(len, histories)])
    np.savez(folder / "choices.npz", starts=starts, items=np.concatenate(histories), num_items=num_items, asked=asked)
    print(f"{name}: {len(histories):,} users, {num_items:,} items, {starts[-1]:,} choices, {len(asked):,} lists asked")
    return targets


def _movietweetings(data: Path) -> tuple[list[np.ndarray], int, np.ndarray, list[set[int]]]:
    from modelcommons.workbench import sources
    from modelcommons.workbench.fields.recommendation.events import sequences
    from modelcommons.workbench.fields.recommendation.recommendation import TASK
    from modelcommons.workbench.task import Split

    options = TASK.options()
    test: Any = TASK.split(TASK.rows(sources.find(str(data), None, None), {}, options), Split(), options).test
    events, (first, end) = test.events, test.events.ends("test")
    targets = [set(events.item[first[user] : end[user]].tolist()) for user in test.users.tolist()]
    return sequences(events, "test"), len(events.items), test.users, targets


def _made() -> tuple[list[np.ndarray], int, np.ndarray, list[set[int]]]:
    """Items are chosen as words are: the n-th in proportion to n to the power of -0.8."""
    rng = np.random.default_rng(0)
    share = np.cumsum(np.arange(1, MADE_ITEMS + 1) ** -0.8)
    lengths = np.minimum(rng.geometric(1 / MEAN_LENGTH, MADE_USERS) + 4, LONGEST)
    histories = [np.unique(np.searchsorted(share, rng.random(size) * share[-1])) for size in lengths.tolist()]
    return histories, MADE_ITEMS, np.arange(MADE_USERS), []


# --- both sides -----------------------------------------------------------------------------------------------------


def solve(model: str, folder: Path) -> None:
    """Ours: solved, and lists of ten, in this process."""
    import scipy.sparse as sparse

    from modelcommons.workbench.fields.recommendation import closed
    from modelcommons.workbench.fields.recommendation.catalogue import Catalogue
    from modelcommons.workbench.fields.recommendation.closed import Asked
    from modelcommons.workbench.fields.recommendation.ranking import at_once
    from modelcommons.workbench.fields.recommendation.recommender import Blend, Recommender

    found = np.load(folder / "choices.npz")
    num_items, asked = int(found["num_items"]), found["asked"]
    histories, options = np.split(found["items"], found["starts"][1:-1]), OPTIONS[model]
    empty = sparse.csr_array((num_items, 1)), sparse.csr_array((1, num_items))
    names = tuple(map(str, range(num_items)))
    catalogue = Catalogue(names, names, np.ones(num_items, np.int64), len(histories), *empty, 0)
    before, begun = peak_mib(), now()
    weights = closed.solve(model, histories, num_items, options, 0)
    recommender = Recommender(catalogue, closed.scorer(model, weights, num_items, options), Blend())
    fitted, lists, step = now(), np.full((len(asked), 10), -1), at_once(num_items)
    for start in range(0, len(asked), step):
        users = asked[start : start + step].tolist()
        some = Asked([histories[user] for user in users], np.zeros(len(users)))
        for row, (items, _) in zip(lists[start:], recommender.lists(some), strict=False):
            row[: len(items)] = items
    ended = now()
    np.save(folder / "lists.npy", lists)
    told = {"fit": (fitted - begun).tolist(), "lists": (ended - fitted).tolist()}
    print(json.dumps({**told, "peak_mib": peak_mib(), "before_mib": before}))


def compare(model: str, folder: Path, targets: list[set[int]], rounds: int, threads: int) -> None:
    """Both, in turns; median seconds with the least and the most, and their ratio."""
    other = json.dumps(_translated(model, np.load(folder / "choices.npz")))
    took: dict[str, list[dict[str, Any]]] = {"ours": [], OTHERS[model]: []}
    recall: dict[str, str] = {}
    for _ in range(rounds):
        for name, runs in took.items():
            if name == "ours":
                runs.append(ours("recommendation_peers", "--solve", model, str(folder), threads=threads))
            else:
                runs.append(peer("recommendation", model, str(folder), str(threads), other, threads=threads))
            recall[name] = _recall(np.load(folder / "lists.npy"), targets)
    print(f"  {model}, {threads} threads, {rounds} rounds; {OPTIONS[model]}, the other {other}")
    for name, runs in took.items():
        print(f"    {name:28}{words(('fit', 'lists'), runs)}{recall[name]}")
    for part in ("fit", "lists"):
        print(f"    {ratios(part, *took.values())}")
    print(flush=True)


def _recall(lists: np.ndarray, targets: list[set[int]]) -> str:
    if not targets:
        return ""
    found = [len(wanted & set(row)) / min(10, len(wanted)) for row, wanted in zip(lists.tolist(), targets, strict=True)]
    return f" · recall@10 {np.mean(found):.4f}"


def _translated(model: str, choices: Any) -> dict[str, Any]:
    """Our options in the other's words."""
    options = OPTIONS[model]
    match model:
        case "item-knn":
            return {"K": options["neighbours"] + 1}  # the item itself is one of them
        case "ials":  # its weight of what was not chosen is 1, and its ridge does not grow with the choices
            from modelcommons.workbench.fields.recommendation.closed import SWEEPS

            unobserved, num_users = options["unobserved"], len(choices["starts"]) - 1
            mean = len(choices["items"]) / num_users + unobserved * int(choices["num_items"])
            ridge = round(options["regularization"] * mean / unobserved, 2)
            return {
                "factors": options["factors"], "regularization": ridge, "alpha": 1 + 1 / unobserved,
                "iterations": SWEEPS,
            }  # fmt: skip
    return options


if __name__ == "__main__":
    main()
