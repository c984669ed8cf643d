"""recommendation: metrics against another count, closed forms against their definitions, cold users and items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import modelcommons as mc
from modelcommons.errors import CommonsError, DataError, RecipeError, Stopped
from modelcommons.workbench.engine.training import Budget, Training
from modelcommons.workbench.fields.recommendation import closed, ranking
from modelcommons.workbench.fields.recommendation.catalogue import trending
from modelcommons.workbench.fields.recommendation.closed import Asked
from modelcommons.workbench.fields.recommendation.events import Events, History, Options, sequences
from modelcommons.workbench.fields.recommendation.fitting import ARCHITECTURES
from modelcommons.workbench.fields.recommendation.metrics import METRICS, agrees, losses, scores
from modelcommons.workbench.fields.recommendation.recommendation import TASK
from modelcommons.workbench.fields.recommendation.recommender import Recommender, load
from modelcommons.workbench.sources import local
from modelcommons.workbench.task import Choice, Job, Parts, Row, Split

OPTIONS = Options()


def parts_of(folder: Path, split: Split | None = None, options: Options = OPTIONS, **columns: str) -> Parts:
    reading = TASK.rows(local.find(folder, "here"), columns, options)
    return TASK.split(reading, split or Split(), options)


def events_of(parts: Parts) -> Events:
    events: Events = parts.train.events  # type: ignore[attr-defined]
    return events


def fitted(parts: Parts, folder: Path, name: str, training: Training | None = None, **options: Any) -> Recommender:
    (folder / "model").mkdir(parents=True, exist_ok=True)
    job = Job(
        choice=Choice(None, name, options), training=training or Training(epochs=2), options=OPTIONS, seed=0,
        folder=folder / "model", checkpoints=folder / "checkpoints", progress=mc.Silent(),
    )  # fmt: skip
    TASK.fit(parts.train, parts.validation, job)
    return load(folder / "model")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    TASK.tiny(folder)
    return folder


@pytest.fixture(scope="module")
def books(world: Path) -> Parts:
    return parts_of(world, time="day")


def write(folder: Path, **tables: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


# --- metrics --------------------------------------------------------------------------------------------------------


@st.composite
def lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    lines = []
    for _ in range(draw(st.integers(2, 6))):
        listed = draw(st.permutations(range(25)))[:10]
        wanted = draw(st.lists(st.integers(0, 24), min_size=1, max_size=15, unique=True))
        prediction = {"items": [str(item) for item in listed], "scores": [0.0] * len(listed), "novelty": 1.0}
        target = {"items": [str(item) for item in wanted], "num_items": 25}
        lines.append({"id": "x", "prediction": {**prediction, "diversity": 0.5}, "target": target})
    return lines


@settings(max_examples=40)
@given(lists())
def test_metrics_are_what_scikit_learn_and_sets_say(lines: list[dict[str, Any]]) -> None:
    from sklearn.metrics import ndcg_score

    found = {score.metric: score.value for score in scores(lines)}
    recalls, gains, covered = [], [], set()
    for line in lines:
        listed, wanted = line["prediction"]["items"], set(line["target"]["items"])
        recalls.append(len(wanted & set(listed)) / min(10, len(wanted)))
        truth, given = np.array([[float(str(item) in wanted) for item in range(25)]]), np.zeros((1, 25))
        given[0, [int(item) for item in listed]] = np.arange(10, 0, -1)
        gains.append(ndcg_score(truth, given, k=10))
        covered |= set(listed)
    assert found["recall@10"] == pytest.approx(np.mean(recalls))
    assert found["ndcg@10"] == pytest.approx(np.mean(gains))
    assert found["hit_rate@10"] == pytest.approx(np.mean([recall > 0 for recall in recalls]))
    assert found["coverage@10"] == len(covered) / 25
    assert losses(lines) == pytest.approx(1 - np.array(recalls))
    ranges = {metric.name: metric for metric in METRICS}
    assert all(ranges[name].low <= value <= ranges[name].high for name, value in found.items())


def test_equal_scores_may_change_places_and_others_may_not() -> None:
    line = {"target": {"items": ["a"], "num_items": 9}, "prediction": {"items": ["a", "b", "c"], "scores": [2, 1, 1]}}
    assert agrees(line, {**line, "prediction": {"items": ["a", "c", "b"], "scores": [2, 1, 1]}}, 0.0)
    assert agrees(line, {**line, "prediction": {"items": ["a", "b", "d"], "scores": [2, 1, 1]}}, 0.0)
    assert not agrees(line, {**line, "prediction": {"items": ["b", "a", "c"], "scores": [2, 1, 1]}}, 0.0)
    assert not agrees(line, {**line, "prediction": {"items": ["a", "b", "c"], "scores": [2, 1.1, 1]}}, 0.0)


# --- ranking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spans", [2, ranking.SPANS])
def test_the_best_are_those_of_a_stable_sort(spans: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as in a large catalogue, by the maxima of spans. Many are equal, minus zero and zero too."""
    monkeypatch.setattr(ranking, "SPANS", spans)
    rng = np.random.default_rng(0)
    for _ in range(300):
        count, num_items, taken, digits = rng.integers([1, 1, 0, 0], [13, 121, 4, 2]).tolist()
        row = rng.normal(size=num_items).round(digits).astype(np.float32)
        row[:taken] = -np.inf
        expected = [at for at in np.argsort(-row, kind="stable").tolist() if row[at] > -np.inf][:count]
        found = ranking.top(row[None], count)[0].tolist()
        assert found == expected + [-1] * (count - len(expected))


def test_a_mixed_list_gives_accuracy_for_unlikeness() -> None:
    scores, likeness = np.array([1.0, 0.9, 0.5]), np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]])
    assert ranking.mixed(scores, likeness, 3, 0.0).tolist() == [0, 1, 2]
    assert ranking.mixed(scores, likeness, 2, 0.6).tolist() == [0, 2]
    assert ranking.diversity(likeness[:2, :2]) == 0.0 and ranking.diversity(likeness) == pytest.approx(2 / 3)


def test_a_large_catalogue_is_ranked_a_few_users_at_a_time(monkeypatch: pytest.MonkeyPatch, books: Parts) -> None:
    assert ranking.at_once(100_000) * 100_000 * 8 <= 64_000_000
    _, model = TASK.baseline(books.train, OPTIONS)
    rows = [books.test[at] for at in range(len(books.test))]
    at_once = model.predict(rows)
    widths: list[int] = []
    inner = model._score  # type: ignore[attr-defined]
    monkeypatch.setattr(ranking, "CELLS", 180)
    monkeypatch.setattr(model, "_score", lambda asked: widths.append(len(asked)) or inner(asked))
    assert model.predict(rows) == at_once
    assert max(widths) == 3  # 60 items each


# --- closed forms ---------------------------------------------------------------------------------------------------


def made_up(num_users: int = 30, num_items: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.permutation(num_items)[: rng.integers(2, 7)] for _ in range(num_users)]


def dense(histories: list[np.ndarray], num_items: int = 12) -> np.ndarray:
    return np.asarray(closed.histories(Asked(histories, np.zeros(0)), num_items).toarray())


def test_ease_is_the_best_linear_map_with_an_empty_diagonal() -> None:
    """Each column is the ridge regression of its item on all others."""
    seen = dense(made_up())
    weights = closed.solve("ease", made_up(), 12, {"regularization": 5.0, "most_items": 12}, 0)
    for item in range(12):
        others = np.delete(np.arange(12), item)
        x = seen[:, others]
        ridge = np.linalg.solve(x.T @ x + 5 * np.eye(11), x.T @ seen[:, item])
        assert weights["weight"][others, item] == pytest.approx(ridge, abs=1e-5)
        assert weights["weight"][item, item] == 0


def test_slit_is_the_best_linear_map_from_what_was_to_what_comes() -> None:
    histories, memory, ahead, ridge = made_up(), 3.0, 2.0, 1.5
    gram, cross = ridge * np.eye(12), np.zeros((12, 12))
    for items in histories:
        for cut in range(1, len(items)):
            before, after = np.zeros(12), np.zeros(12)
            for at, item in enumerate(items):
                if at < cut:
                    before[item] = np.exp(-(cut - 1 - at) / memory)
                else:
                    after[item] = np.exp(-(at - cut) / ahead)
            weight = 1 / np.sqrt(len(items) - 1)
            gram += weight * np.outer(before, before)
            cross += weight * np.outer(before, after)
    options = {"memory": memory, "ahead": ahead, "regularization": ridge, "most_items": 12}
    weights = closed.solve("slit", histories, 12, options, 0)
    assert weights["weight"] == pytest.approx(np.linalg.solve(gram, cross), abs=1e-5)
    answer = closed.scorer("slit", weights, 12, options)(Asked([np.array([4, 7])], np.zeros(1)))[0]
    by_hand = np.exp(-1 / memory) * weights["weight"][4] + weights["weight"][7]
    assert answer == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("size", [1, 10**6])
def test_neighbours_are_the_nearest_by_shrunk_cosine(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether all pairs of items fit into memory, or one item's only."""
    monkeypatch.setattr(closed, "CELLS", size)
    seen = dense(made_up())
    both = seen.T @ seen
    size = np.sqrt(np.diag(both))
    cosine = both / (np.outer(size, size) + 2.0)
    np.fill_diagonal(cosine, 0)
    kept = np.where(np.argsort(np.argsort(-cosine, axis=1, kind="stable"), axis=1) < 4, cosine, 0)
    options = {"neighbours": 4, "shrink": 2.0}
    weights = closed.solve("item-knn", made_up(), 12, options, 0)
    answer = closed.scorer("item-knn", weights, 12, options)(Asked(made_up(), np.zeros(30)))
    assert answer == pytest.approx(seen @ kept.T, abs=1e-5)


def test_ials_factors_are_where_its_loss_is_least() -> None:
    """Folding a history in solves the published loss: no direction makes it smaller."""
    options = {"factors": 4, "unobserved": 0.2, "regularization": 0.05}
    weights = closed.solve("ials", made_up(), 12, options, 0)
    items, chosen = weights["factors"].astype(np.float64), np.array([1, 5, 6])
    scores = closed.scorer("ials", weights, 12, options)(Asked([chosen], np.zeros(1)))[0]
    user = np.linalg.lstsq(items, scores, rcond=None)[0]

    def loss(user: np.ndarray) -> float:
        product = items @ user
        ridge = 0.05 * (3 + 0.2 * 12) * user @ user
        return float(((1 - product[chosen]) ** 2).sum() + 0.2 * (product**2).sum() + ridge)

    rng = np.random.default_rng(0)
    assert all(loss(user + 0.01 * rng.normal(size=4)) > loss(user) for _ in range(50))


@pytest.mark.parametrize(("size", "factors"), [(500, 3), (4_000_000, 3), (4_000_000, 30)])
def test_rows_padded_together_are_solved_as_they_are_alone(
    size: int, factors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those with more choices than factors, and those with fewer."""
    monkeypatch.setattr(closed, "CELLS", size)
    seen, rng = csr_array(dense(made_up())), np.random.default_rng(0)
    other, everywhere = closed._own_basis(rng.normal(size=(12, factors)), 0.1)
    ridges = 0.1 * (np.diff(seen.indptr) + 0.1 * 12)
    together = closed._solved(seen.indptr, seen.indices, other, everywhere, ridges)
    for row, items in enumerate(made_up()):
        some = other[items]
        left = some.T @ some + 0.1 * other.T @ other + 0.1 * (len(items) + 0.1 * 12) * np.eye(factors)
        assert together[row] == pytest.approx(np.linalg.solve(left, some.sum(axis=0)))


def test_conjugate_gradients_lead_to_the_best_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed, "STEPS", 12)
    seen, rng = csr_array(dense(made_up())), np.random.default_rng(0)
    other, everywhere = closed._own_basis(rng.normal(size=(12, 3)), 0.1)
    found, ridges = np.zeros((30, 3)), 0.1 * (np.diff(seen.indptr) + 0.1 * 12)
    closed._improve(found, seen.indptr, seen.indices, other, 0.1, 0.1)
    assert found == pytest.approx(closed._solved(seen.indptr, seen.indices, other, everywhere, ridges), abs=1e-6)


# --- rows and split -------------------------------------------------------------------------------------------------


def test_each_users_last_events_are_the_test(books: Parts) -> None:
    events = events_of(books)
    for user in range(len(events.users)):
        start, trained, known, end = (
            int(at) for at in (events.starts[user], events.trained[user], events.known[user], events.starts[user + 1])
        )
        assert (end - start, trained - start, known - start) == (12, 9, 10)
        assert (np.diff(events.time[start:end]) >= 0).all()
    row = books.test[0]
    assert row.id == "reader0:11-12" and len(row.x.items) == 10 and len(row.y.items) == 2
    assert not set(row.x.items) & set(row.y.items)


def test_by_time_nothing_is_learned_from_what_comes_later(world: Path) -> None:
    parts = parts_of(world, Split(by="time"), time="day")
    events = events_of(parts)
    for part in ("validation", "test"):
        before = events.before(part)  # type: ignore[arg-type]
        first, end = events.ends(part)  # type: ignore[arg-type]
        asked = np.concatenate([events.time[a:b] for a, b in zip(first, end, strict=True)])
        assert events.time[before].max() < asked.min()
    assert parts.test[0].x.moment == events.cuts[1]  # type: ignore[index]


def test_official_parts_are_kept_and_nothing_known_is_asked_for(tmp_path: Path) -> None:
    train = "user,item,time\n" + "".join(f"u{user},i{item},{item}\n" for user in range(6) for item in range(5))
    test = "user,item,time\nu0,i0,9\nu0,i7,9\nu1,i8,9\nu1,i8,10\nnew,i1,3\n"
    parts = parts_of(write(tmp_path, train=train, test=test, items="item,title\ni9,Nine\n"))
    answers = {row.id: (row.y.items, row.y.seen) for row in map(parts.test.__getitem__, range(len(parts.test)))}
    # i0 is known of u0, i8 twice counts once, `new` has no history
    assert answers == {"u0:6-6": (("i7",), (0,)), "u1:6-6": (("i8",), (0,)), "new:1-1": (("i1",), (6,))}
    assert events_of(parts).items[-1] == "i9" and parts.test[0].y.num_items == 8
    assert parts.how == "official test; validation: each user's last events"
    pooled = parts_of(tmp_path, options=Options(official=False))
    assert pooled.how == "test: each user's last events; validation: each user's last events"


def test_low_ratings_are_no_choices(tmp_path: Path) -> None:
    rows = "".join(f"u{user},i{item},{item % 5}\n" for user in range(4) for item in range(20))
    source = local.find(write(tmp_path, data="user,item,rating\n" + rows), "here")
    reading = TASK.rows(source, {}, Options(least_rating=3))
    assert reading.notes == ("48 events rated below 3 are no choices", "32 events, 4 users, 20 items")


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
def test_times_in_finer_units_are_seconds(unit: int, tmp_path: Path) -> None:
    lines = [f"u{user},i{item},{(1_700_000_000 + item) * unit}" for user in range(3) for item in range(6)]
    events = events_of(parts_of(write(tmp_path, data="user,item,time\n" + "\n".join(lines))))
    assert events.time[:6].tolist() == [1_700_000_000.0 + item for item in range(6)]


@pytest.mark.parametrize(
    ("text", "options", "split", "said"),
    [
        ("user,time\nu,1\n", {}, {}, "Expected a column of items, found none among user, time"),
        ("user,item\nu,i\n", {"least_rating": 3}, {}, "least_rating needs a column of ratings"),
        ("user,item,rating\nu,i,1\n", {"least_rating": 3}, {}, "No event is left"),
        ("user,item\nu,i\nv,i\n", {}, {}, "2 events by 2 users none came into"),
        ("user,item\nu,i\nv,i\n", {}, {"by": "hash"}, "events are divided by time, asked was by 'hash'"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(
    text: str, options: dict[str, Any], split: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises((DataError, RecipeError), match=said):
        parts_of(write(tmp_path, data=text), Split(**split), Options(**options))


def test_bad_rows_are_counted_with_their_line(tmp_path: Path) -> None:
    rows = "".join(f"u{user},i{item},{item}\n" for user in range(3) for item in range(6))
    source = local.find(write(tmp_path, data=f"user,item,time\n{rows},i1,4\nu1,,5\nu1,i2,\n"), "here")
    reading = TASK.rows(source, {}, OPTIONS)
    assert (reading.num_bad, reading.num_read) == (3, 21)
    assert [bad.where for bad in reading.bad] == ["data.csv:20", "data.csv:21", "data.csv:22"]


# --- cold, new, live ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in ("popularity", "two-tower", "sasrec")])
def test_new_events_and_new_users_count_at_once(name: str, books: Parts, tmp_path: Path) -> None:
    """Nobody is retrained: who was never seen is answered as whoever has the same history, and one event counts."""
    model = fitted(books, tmp_path, name, trend=0)

    def listed(*items: str) -> list[str]:
        answer = model.predict([Row("new", History(items))])[0]["prediction"]
        return [str(item) for item in answer["items"]]

    known = books.test[0].x
    assert listed(*known.items) == model.predict([books.test[0]])[0]["prediction"]["items"]
    odd, even = ("book1", "book3", "book5", "book7"), ("book2", "book4", "book6", "book8")
    assert all(int(item[4:]) % 2 for item in listed(*odd)) and not any(int(item[4:]) % 2 for item in listed(*even))
    assert "book9" in listed(*odd) or listed(*odd, "book9") != listed(*odd)
    assert "book9" not in listed(*odd, "book9")
    assert len(listed()) == 10  # somebody without a history


def test_two_towers_know_a_book_that_nobody_has_read(tmp_path: Path, world: Path) -> None:
    folder = write(tmp_path / "data", events=(world / "events.csv").read_text())
    cold = "".join(f"new{number},Unread,{'odd' if number % 2 else 'even'}\n" for number in range(6))
    write(folder, items=(world / "items.csv").read_text() + cold)
    parts = parts_of(folder, time="day")
    model = fitted(parts, tmp_path, "two-tower", Training(epochs=15, learning_rate=0.02), width=16, trend=0)
    code = {id: at for at, id in enumerate(model.catalogue.items)}
    odd = model.scores(model.asked([History(("book1", "book3", "book5", "book7"))]))[0]
    even = model.scores(model.asked([History(("book2", "book4", "book6", "book8"))]))[0]
    for number in range(0, 6, 2):
        assert odd[code[f"new{number + 1}"]] > odd[code[f"new{number}"]]
        assert even[code[f"new{number}"]] > even[code[f"new{number + 1}"]]


def test_features_of_users_are_heard_where_there_is_no_history(tmp_path: Path, world: Path) -> None:
    folder = write(tmp_path / "data", events=(world / "events.csv").read_text())
    write(folder, users="user,club\n" + "".join(f"reader{at},{'odd' if at % 2 else 'even'}\n" for at in range(80)))
    parts = parts_of(folder, time="day")
    model = fitted(parts, tmp_path, "two-tower", Training(epochs=10, learning_rate=0.02), width=16, trend=0)
    for club in ("odd", "even"):
        answer = model.predict([Row("x", History((), None, (f"club: {club}",)))])[0]["prediction"]["items"]
        assert sum(int(item[4:]) % 2 == (club == "odd") for item in answer) >= 8


def test_sasrec_reads_the_order(tmp_path: Path) -> None:
    """A round of forty pages, begun anywhere: what comes next is near the last page, and popularity knows nothing."""
    lines = [f"u{user},p{(user + step) % 40},{step}" for user in range(120) for step in range(7)]
    parts = parts_of(write(tmp_path / "data", events="user,item,time\n" + "\n".join(lines)))
    training = Training(epochs=15, batch_size=32, learning_rate=0.02)
    model = fitted(parts, tmp_path, "sasrec", training, width=16, layers=1, dropout=0.1, trend=0)
    rows = [parts.test[at] for at in range(len(parts.test))]
    hits = [
        row.y.items[0] in answer["prediction"]["items"] for row, answer in zip(rows, model.predict(rows), strict=True)
    ]
    assert np.mean(hits) >= 0.9


def test_the_trend_sees_nothing_after_the_moment(books: Parts) -> None:
    _, model = TASK.baseline(books.train, OPTIONS)
    catalogue = model.catalogue  # type: ignore[attr-defined]
    moment = (catalogue.first_day + 100) * 86_400.0
    later = catalogue.trend.toarray()
    later[101:] = 50
    changed = replace(catalogue, trend=csr_array(later))
    asked = np.array([moment])
    assert (trending(catalogue, asked) == trending(changed, asked)).all()
    assert (trending(catalogue, asked + 86_400) != trending(changed, asked + 86_400)).any()


def test_a_person_gets_titles_and_is_told_of_unknown_items(books: Parts) -> None:
    _, model = TASK.baseline(books.train, OPTIONS)
    answer = model.predict(TASK.read_input(["book2", "book4"], OPTIONS))[0]["prediction"]
    assert answer["titles"] == [f"Book {item[4:]}" for item in answer["items"]]
    with pytest.raises(DataError, match=r"Expected ids of the catalogue such as book0, .* it has no 'film7'"):
        model.predict(TASK.read_input("film7", OPTIONS))
    with pytest.raises(DataError, match="Expected ids of items"):
        TASK.read_input(3.5, OPTIONS)


def test_a_table_of_events_is_answered_user_by_user(tmp_path: Path) -> None:
    write(tmp_path, asked="user,item,time\nb,book2,5\na,book1,1\nb,book4,2\n")
    rows = TASK.read_input(tmp_path / "asked.csv", OPTIONS)
    assert [(row.id, row.x.items) for row in rows] == [("a", ("book1",)), ("b", ("book4", "book2"))]


# --- fits -----------------------------------------------------------------------------------------------------------


def test_what_diversity_costs_is_said(books: Parts, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    job = Job(
        choice=Choice(None, "ease", {"diversity": 0.6, "trend": 0}), training=Training(), options=OPTIONS, seed=0,
        folder=tmp_path / "model", checkpoints=tmp_path, progress=mc.Silent(),
    )  # fmt: skip
    told = TASK.fit(books.train, books.validation, job).settings["price of diversity, on validation rows"]
    assert told["0.6"]["diversity@10"] > told["0"]["diversity@10"] and told["0.6"]["recall@10"] < told["0"]["recall@10"]


@pytest.mark.parametrize("name", ["two-tower", "sasrec"])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(name: str, books: Parts, tmp_path: Path) -> None:
    class Stop(mc.Silent):
        def step(self, stage: str, done: float, total: float, text: str = "") -> None:
            if done == 3:
                raise Stopped("now")

    training = Training(epochs=3, batch_size=32 if name == "sasrec" else 256, checkpoint_seconds=0)
    whole = fitted(books, tmp_path / "whole", name, training, width=8)
    (tmp_path / "cut" / "model").mkdir(parents=True)
    job = Job(
        choice=Choice(None, name, {"width": 8}), training=training, options=OPTIONS, seed=0,
        folder=tmp_path / "cut" / "model", checkpoints=tmp_path / "cut" / "checkpoints", progress=Stop(),
    )  # fmt: skip
    with pytest.raises(Stopped):
        TASK.fit(books.train, books.validation, job)
    assert list((tmp_path / "cut" / "checkpoints").iterdir())
    fitted(books, tmp_path / "cut", name, training, width=8)
    first, again = ((tmp_path / place / "model" / "model.safetensors").read_bytes() for place in ("whole", "cut"))
    assert first == again and whole.catalogue.num_users == 80


def test_a_budget_ends_the_search_with_a_usable_model(books: Parts, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    job = Job(
        choice=Choice(None, "slit", {}), training=Training(budget=Budget(minutes=1e-6)), options=OPTIONS, seed=0,
        folder=tmp_path / "model", checkpoints=tmp_path, progress=mc.Silent(), seconds=1e-4,
    )  # fmt: skip
    tried = TASK.fit(books.train, books.validation, job).settings["tried on validation"]
    assert list(tried)[1:] == ["the budget ended the search"]
    assert load(tmp_path / "model").predict([books.test[0]])


@pytest.mark.parametrize("name", ["config.json", "catalogue.json"])
def test_a_damaged_folder_is_refused(name: str, books: Parts, tmp_path: Path) -> None:
    fitted(books, tmp_path, "item-knn", trend=0)
    path = tmp_path / "model" / name
    path.write_text(path.read_text()[:-40])
    with pytest.raises(CommonsError, match="Get it again"):
        load(tmp_path / "model")


def test_the_explanation_of_ease_is_its_own_sum(books: Parts, tmp_path: Path) -> None:
    """Leaving one item out of a linear model takes exactly its share away."""
    model = fitted(books, tmp_path, "ease", trend=0)
    row = books.test[0]
    weights = TASK.explainer(tmp_path / "model").attribute(row).weights
    strength = TASK.explainer(tmp_path / "model").strength(row, [np.array([], int), np.arange(len(weights))])
    assert weights.sum() == pytest.approx(strength[0] - strength[1]) and model.blend.trend == 0


def test_histories_end_before_what_is_asked(books: Parts) -> None:
    events = events_of(books)
    for part, size in (("train", 0), ("validation", 9), ("test", 10)):
        assert {len(items) for items in sequences(events, part)} == {size}  # type: ignore[arg-type]
