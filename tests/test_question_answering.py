"""question-answering: scores against the scripts everybody uses; how data is read, cut into windows and answered."""

from __future__ import annotations

import difflib
import itertools
import json
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelcommons as mc
from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.statistics import bootstrap
from modelcommons.workbench.engine.tokenizer import learn_tokenizer
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.text.listed import Listed
from modelcommons.workbench.fields.text.question_answering import TASK
from modelcommons.workbench.fields.text.spans import metrics, rules
from modelcommons.workbench.fields.text.spans.kinds import kind_of
from modelcommons.workbench.fields.text.spans.overlap import BestSentence, Words, features, learn_rarity, sentences
from modelcommons.workbench.fields.text.spans.questions import Asked, Known, Options, answers, read
from modelcommons.workbench.fields.text.spans.windows import (
    Encoder,
    Logits,
    OpenEncoder,
    OwnEncoder,
    Size,
    Window,
    best,
    cut,
    log_probability,
)
from modelcommons.workbench.sources import find
from modelcommons.workbench.task import Choice, Job, Row

WORDS = st.lists(
    st.sampled_from(["the", "a", "cat", "Cat!", "sat.", "an", "on", "3,5", "U.S.", "-", "mat", "'s"]), max_size=6
)
ENGLISH = WORDS.map(" ".join)
CHINESE = st.text("猫坐在垫子上，。《》…-ab 1.5", max_size=12)
PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=80)


# --- rules and scores -----------------------------------------------------------------------------------------------


@given(ENGLISH, st.lists(ENGLISH, max_size=3))
def test_squads_rules_are_an_independent_count(answer: str, known: list[str]) -> None:
    """Words by one expression, those in common taken away one by one."""

    def words(text: str) -> list[str]:
        kept = "".join(char if char not in string.punctuation else "" for char in text.lower())
        return [word for word in re.findall(r"\S+", kept) if word not in ("a", "an", "the")]

    def f1(gold: list[str]) -> float:
        left, common = list(gold), 0
        for word in words(answer):
            if word in left:
                left.remove(word)
                common += 1
        if not gold or not words(answer):
            return float(gold == words(answer))
        return 2 * common / (len(gold) + len(words(answer)))

    golds = [words(text) for text in known if words(text)] or [[]]
    exact, found = rules.compare("squad", answer, known)
    assert exact == (words(answer) in golds) and found == pytest.approx(max(map(f1, golds)))


@given(CHINESE, st.lists(CHINESE, min_size=1, max_size=3))
def test_cmrcs_rules_are_an_independent_count(answer: str, known: list[str]) -> None:
    """Segments by one expression, the longest run by difflib."""

    def pieces(text: str) -> list[str]:
        kept = re.sub("[-:_*^/\\\\~`+=，。：？！“”；’《》·、「」（）－～『』]", "", text.lower().strip())
        return re.findall(r"[\u4e00-\u9fa5]|[a-z0-9]+(?:[.][a-z0-9]+)*|[^\w\s]", kept)

    def f1(gold: str) -> float:
        a, b = pieces(answer), pieces(gold)
        run = difflib.SequenceMatcher(None, a, b, autojunk=False).find_longest_match().size
        return 2 * run / (len(a) + len(b)) if run else 0.0

    bare = [re.sub("[-，。《》]", "", text.lower().strip()) for text in (answer, *known)]
    exact = bare[0] in bare[1:]
    assert rules.compare("cmrc", answer, known) == (float(exact), pytest.approx(max(map(f1, known))))


def test_rules_as_their_scripts_have_them() -> None:
    assert rules.compare("squad", "the Broncos!", ["Denver Broncos", "Broncos"]) == (1.0, 1.0)
    assert rules.compare("squad", "", []) == (1.0, 1.0) and rules.compare("squad", "x", []) == (0.0, 0.0)
    assert rules.compare("cmrc", "", []) == (1.0, 1.0) and rules.compare("cmrc", "猫", []) == (0.0, 0.0)
    assert rules.segments("《战国》ω-force和2.5版") == ["战", "国", "ωforce", "和", "2.5", "版"]
    assert rules.compare("cmrc", "光荣公司", ["光荣和公司"]) == (0.0, pytest.approx(2 * 2 / 9))
    assert rules.rules_of("猫坐在垫子上 mat") == "cmrc"
    assert rules.rules_of("the cat 猫") == "squad"


def line(answer: str, known: list[str], passage: str = "p", **rest: Any) -> dict[str, Any]:
    target = {"answers": known, "rules": "squad", "passage": passage}
    return {"id": "1", "target": target, "prediction": {"text": answer, "start": 0}, **rest}


def test_scores_are_means_and_passages_are_drawn_whole() -> None:
    lines = [line("cat", ["cat"], f"p{at // 3}", margin=1.0) for at in range(9)]
    lines += [line("dog", ["black dog"], "p3", margin=0.5), line("x", ["y"], "p3", margin=0.1)]
    f1, exact = metrics.scores(lines)
    values = np.array([1.0] * 9 + [2 / 3, 0.0])
    assert f1.value == pytest.approx(values.mean()) and exact.value == pytest.approx(9 / 11)
    assert (exact.num, exact.den, f1.den) == (9, 11, None)
    passages = [one["target"]["passage"] for one in lines]
    assert (f1.low, f1.high) == bootstrap(values, 0, 2000, passages) != bootstrap(values, 0, 2000)
    np.testing.assert_allclose(metrics.losses(lines), 1 - values)
    assert metrics.block(lines) == 3
    assert len(metrics.figures(lines, "zh")) == 1 and not metrics.figures([line("a", ["a"])])
    with pytest.raises(FormatError, match="Expected lines with `answers`"):
        metrics.scores([{"id": "1", "target": "cat", "prediction": {"text": "cat"}}])


def test_another_stretch_is_the_same_only_where_the_margin_left_it_open() -> None:
    stored = line("cat", ["cat"], margin=0.01)
    assert metrics.agrees(stored, line("cat", ["cat"], margin=0.0105), 0.0)
    assert not metrics.agrees(stored, line("cat", ["cat"], margin=2.0), 0.1)
    assert metrics.agrees(stored, line("dog", ["cat"], margin=0.3), 0.02)
    assert not metrics.agrees(stored, line("dog", ["cat"], margin=0.3), 0.0)


# --- reading --------------------------------------------------------------------------------------------------------

CONTEXT = "Ada lives in Rome. Bob lives in Oslo."


def squad_file(folder: Path, name: str = "dev.json") -> Path:
    asked = [
        {"id": "q1", "question": "Where is Ada?", "answers": [{"text": "Rome", "answer_start": 13}]},
        {"id": "q2", "question": "Where is Cem?", "answers": [], "is_impossible": True,
         "plausible_answers": [{"text": "Oslo", "answer_start": 32}]},
    ]  # fmt: skip
    made = {"version": "v2.0", "data": [{"title": "Homes", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]}
    (folder / name).write_text(json.dumps(made), encoding="utf-8")
    return folder / name


def rows_of(path: Path, columns: dict[str, str] | None = None, **options: Any) -> list[Row]:
    parts = read(find(str(path), None, "mit"), columns or {}, Options(**options)).parts
    return [row for rows in parts.values() for row in (rows[at] for at in range(len(rows)))]


def test_squads_json_is_read_with_its_impossible_questions(tmp_path: Path) -> None:
    first, second = rows_of(squad_file(tmp_path))
    assert (first.id, first.group, first.x) == ("q1", "Homes", Asked("Where is Ada?", CONTEXT))
    assert first.y == Known(("Rome",), (13,), "squad") and second.y == Known((), (), "squad")
    assert TASK.slice(second, "answer") == "no answer" and TASK.slice(first, "answer") == "1 word"
    assert first.x.context is second.x.context
    (tmp_path / "other.json").write_text('{"data": [{"paragraphs": [{"qas": [{"id": "1"}]}]}]}')
    with pytest.raises(DataError, match=r"other\.json: expected the JSON of SQuAD"):
        rows_of(tmp_path / "other.json")


def test_a_folder_of_squads_json_is_train_and_validation(tmp_path: Path) -> None:
    squad_file(tmp_path, "train-v2.0.json")
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert set(read(find(str(tmp_path), None, "mit"), {}, Options()).parts) == {"train"}


@pytest.mark.parametrize(
    "cell",
    [
        {"text": ["Rome"], "answer_start": [13]}, [{"text": "Rome", "answer_start": 13}],
        '{"text": ["Rome"], "answer_start": [13]}', "Rome",
    ],
)  # fmt: skip
def test_answers_are_read_in_every_form(cell: Any) -> None:
    assert answers(cell, CONTEXT) == [("Rome", 13)]


@pytest.mark.parametrize("cell", [None, "", [], {"text": [], "answer_start": []}, "[]"])
def test_a_question_may_have_no_answer(cell: Any) -> None:
    assert answers(cell, CONTEXT) == []


def test_answers_that_are_not_there_are_counted_with_their_place(tmp_path: Path) -> None:
    cells = ['{"text": ["Rome"], "answer_start": [12]}', "Paris", "Rome", '{"text": "x"}']
    table = "\n".join(json.dumps({"question": "Where?", "context": CONTEXT, "answers": cell}) for cell in cells)
    (tmp_path / "a.jsonl").write_text(table + "\n" + json.dumps({"question": " ", "context": CONTEXT, "answers": ""}))
    reading = read(find(str(tmp_path / "a.jsonl"), None, "mit"), {}, Options())
    assert (reading.num_bad, reading.num_read) == (4, 5)
    assert reading.bad[0].where == "a.jsonl:1" and "has ' Rom' at character 12" in reading.bad[0].reason
    assert [bad.reason for bad in reading.bad[1:]] == [
        "the answer 'Paris' does not stand in the context",
        "answers {'text': 'x'}, expected `text` and `answer_start`",
        "no question",
    ]


def test_languages_groups_and_parts_are_as_asked_for(tmp_path: Path) -> None:
    for part, titles in (("train", "AB"), ("test", "BC")):
        found = [
            {"id": f"{title}{at}", "language": language, "title": title, "question": f"{at}?",
             "context": CONTEXT + title, "answers": "Rome"}
            for title in titles for at in range(2) for language in ("en", "zh")
        ]  # fmt: skip
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, found)))
    source = find(str(tmp_path), None, "mit")
    both = read(source, {}, Options())
    assert both.parts["train"][0].id == "train.jsonl:1", "an id that comes twice names no row"
    assert "2 languages: en, zh" in both.notes and "1 of the 2 groups in the official test" in both.notes[-1]
    one = read(source, {}, Options(language="zh", official=False))
    assert list(one.parts) == ["all"] and len(one.parts["all"]) == 8
    with pytest.raises(DataError, match=r"no row has 'de'\. Expected one of en, zh"):
        read(source, {}, Options(language="de"))
    with pytest.raises(DataError, match="there is no column 'x'"):
        read(source, {"question": "x"}, Options())


@pytest.mark.parametrize("name", ["xquad", "cmrc2018_small"])
def test_samples_of_real_data_hold_every_answer(name: str, real: Callable[[str], Path]) -> None:
    found = rows_of(real("samples") / name)
    assert found and all(
        row.x.context[start : start + len(text)] == text
        for row in found for text, start in zip(row.y.texts, row.y.starts, strict=True)
    )  # fmt: skip
    assert {row.y.rules for row in found} >= {"cmrc"}


def test_what_a_person_hands_in(tmp_path: Path) -> None:
    asked = {"question": "Where is Ada?", "context": CONTEXT}
    for value in (asked, json.dumps(asked), [asked], squad_file(tmp_path)):
        assert TASK.read_input(value, Options())[0].x == Asked(**asked)
    for value in ("Where is Ada?", {"question": "?"}, 7, {"question": "", "context": "x"}):
        with pytest.raises(DataError, match="xpected"):
            TASK.read_input(value, Options())


# --- windows --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that knows few words."""
    made = tmp_path_factory.mktemp("tokenizer")
    learn_tokenizer([CONTEXT, "猫坐在垫子上。 the cat"], 120, made / "tokenizer.json")
    return made


def bert_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


@pytest.fixture(scope="module", params=["own", "open"])
def encoder(request: pytest.FixtureRequest, folder: Path) -> Encoder:
    if request.param == "own":
        return OwnEncoder(folder, learn_rarity([CONTEXT]), Size(24, 6))
    return OpenEncoder(bert_tokenizer(folder), Size(24, 6), folder)


@given(count=st.integers(0, 60), room=st.integers(1, 30), stride=st.integers(0, 30))
def test_windows_hold_every_token_and_overlap(count: int, room: int, stride: int) -> None:
    pieces = cut(count, room, stride)
    assert pieces[0][0] == 0 and pieces[-1][1] == count and all(0 <= end - start <= room for start, end in pieces)
    shared = min(stride, room // 2)
    for (_, end), (start, _) in itertools.pairwise(pieces):
        assert end - start == (shared if room - shared else 0)


@settings(max_examples=40)
@given(question=PLAIN, context=PLAIN, data=st.data())
def test_a_stretch_is_found_again_where_its_window_holds_it(
    encoder: Encoder, question: str, context: str, data: st.DataObject
) -> None:
    """Also where characters are none of the tokenizer's, are written otherwise in Unicode, or are blanks."""
    windows = encoder.windows(Asked(question, context))
    assert windows and all(len(window.ids) <= 24 for window in windows)
    tokens = sorted({(int(a), int(b)) for w in windows for a, b in zip(w.starts, w.ends, strict=True) if 0 <= a < b})
    if not tokens:
        return
    first = data.draw(st.sampled_from(tokens))
    last = data.draw(st.sampled_from([token for token in tokens if token >= first][:4]))
    places = [(window, window.place(first[0], last[1])) for window in windows]
    held = [(window, place) for window, place in places if place is not None]
    assert held, "a short stretch is whole in one window at least"
    for window, place in held:
        assert window.starts[place[0]] <= first[0] and window.ends[place[1]] >= last[1]


def test_every_token_of_a_long_context_stands_in_a_window(encoder: Encoder) -> None:
    windows = encoder.windows(Asked("Where is Ada? " * 9, CONTEXT * 6))
    seen = {at for window in windows for a, b in zip(window.starts, window.ends, strict=True) for at in range(a, b)}
    assert len(windows) > 3 and {at for at, char in enumerate(CONTEXT * 6) if not char.isspace()} <= seen
    batch = encoder.collate(windows)
    assert all(len(array) == len(windows) for array in batch.values())
    assert batch["attention_mask"].sum(1).tolist() == [len(window.ids) for window in windows]


def test_our_own_readers_never_tear_a_word(folder: Path) -> None:
    (found,) = OwnEncoder(folder, learn_rarity([CONTEXT]), Size(64, 6)).windows(Asked("?", "livesoslo Ada-Rome 猫坐"))
    places = {(int(a), int(b)) for a, b in zip(found.starts, found.ends, strict=True) if a >= 0}
    assert sorted(places) == [(0, 9), (10, 13), (13, 14), (14, 18), (19, 20), (20, 21)]
    assert len(found.ids) > len(places) + 1


def window(starts: list[int], ends: list[int]) -> Window:
    return Window(np.arange(len(starts)), np.ones(len(starts), np.int64), np.array(starts), np.array(ends))


@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=8, max_size=8),
    st.integers(1, 5),
    st.booleans(),
)
def test_the_best_stretch_is_that_of_a_search_of_all(
    scores: list[tuple[int, int]], most: int, impossible: bool
) -> None:
    """Two windows of four tokens, the first outside the context, one token of it in both."""
    windows = [window([-1, 0, 2, 4], [-1, 1, 3, 5]), window([-1, 4, 6, 8], [-1, 5, 7, 9])]
    values = np.array(scores, float).reshape(2, 4, 2)
    logits = [Logits(each[:, 0], each[:, 1]) for each in values]
    every: dict[tuple[int, int], float] = {}
    for each, (begins, ends) in zip(windows, values.transpose(0, 2, 1), strict=True):
        for a in range(1, 4):
            for b in range(a, min(4, a + most)):
                place = int(each.starts[a]), int(each.ends[b])
                every[place] = max(every.get(place, -1e9), begins[a] + ends[b])
    if impossible:
        every[0, 0] = min(each[0].sum() for each in values)
    found = best(windows, logits, most, impossible)
    top = sorted(every.values(), reverse=True)
    assert every[found.start, found.end] == top[0]
    assert found.margin == top[0] - top[1]


def test_how_likely_a_stretch_is() -> None:
    logits = [Logits(np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.0, 1.0]))]
    total = [np.log(np.exp(side).sum()) for side in (logits[0].start, logits[0].end)]
    some = [window([-1, 0, 4], [-1, 3, 7])]
    assert log_probability(some, logits, 0, 7) == pytest.approx(1.0 - total[0] + 1.0 - total[1])
    assert log_probability(some, logits, 0, 0) == pytest.approx(0.0 - total[0] + 0.5 - total[1])
    assert log_probability(some, logits, 8, 9) == -np.inf


# --- overlap and the floor ------------------------------------------------------------------------------------------


def test_sentences_are_the_text_in_pieces() -> None:
    text = 'He said "no." Then 3.5 years。他走了。“好！”\nEnd'
    pieces = [text[start:end] for start, end in sentences(text)]
    assert pieces == ['He said "no." ', "Then 3.5 years。", "他走了。", "“好！”", "\n", "End"]


def test_overlap_tells_shared_words_runs_and_sentences() -> None:
    asked, there = Words.of("where does Bob live"), Words.of(CONTEXT)
    of_question, told = features(
        asked, there, Asked("where does Bob live", CONTEXT), learn_rarity([CONTEXT, "lives in"])
    )
    assert of_question[:, 0].tolist() == [0, 0, 1, 0] and told[:, 0].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert told[:, 7].tolist() == [0] * 5 + [1] * 5, "the sentence with Bob"
    assert told[8, 3] > told[9, 3] > 0 and not told[5, 3], "what comes after Bob, fading"
    assert told[:, 14].tolist() == [1, 0, 0, 1, 0, 1, 0, 0, 1, 0], "names, as `where` asks for"
    question = "she lives in Rome now"
    runs = features(Words.of(question), there, Asked(question, CONTEXT), learn_rarity([CONTEXT]))[1][:, 2]
    assert runs.tolist() == [0, 0.75, 0.75, 0.75, 0, 0, 0.5, 0.5, 0, 0]


def test_the_floor_is_the_sentence_with_the_rarest_words_in_common() -> None:
    row = Row("1", Asked("Where is Bob?", CONTEXT), Known(("Oslo",), (32,), "squad"))
    other = Row("2", Asked("?", "Other words."), Known(("words",), (6,), "squad"))
    name, model = TASK.baseline(Listed([row, other]), Options())
    assert name == "best sentence"
    assert model.predict([row]) == [{"prediction": {"text": "Bob lives in Oslo.", "start": 19}}]
    nothing = BestSentence(learn_rarity(["x"])).predict([Row("2", Asked("？", "…"))])
    assert nothing == [{"prediction": {"text": "…", "start": 0}}]
    name, model = TASK.baseline(Listed([Row("1", row.x, Known((), (), "squad"))]), Options())
    assert name == "no answer" and model.predict([row]) == [{"prediction": {"text": "", "start": None}}]


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many points?", "how many"), ("In what year was it?", "when"), ("Who won?", "who"), ("Name one.", "other"),
        ("是由哪两个公司开发的？", "which"), ("他什么时候出生？", "when"), ("有几个人？", "how many"),
        ("作者是谁？", "who"), ("为什么？", "why"), ("是什么？", "what"), ("哪一年？", "when"),
    ],
)  # fmt: skip
def test_what_a_question_asks_for(question: str, kind: str) -> None:
    assert kind_of(question) == kind


# --- models ---------------------------------------------------------------------------------------------------------


def job(choice: Choice, place: Path, options: Options | None = None, **training: Any) -> Job:
    (place / "model").mkdir(parents=True)
    return Job(
        choice=choice, training=Training.model_validate({"epochs": 1, "batch_size": 4, **training}),
        options=options or Options(max_length=24), seed=0, folder=place / "model", checkpoints=place / "checkpoints",
        progress=mc.Silent(), max_steps=2,
    )  # fmt: skip


def some_rows() -> Listed:
    made = [Row("1", Asked("Where is Ada?", CONTEXT), Known(("Rome",), (13,), "squad"))]
    made += [Row(str(at), Asked("Where is Cem?", CONTEXT * at), Known((), (), "squad")) for at in range(2, 5)]
    return Listed(made)


@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_a_bert_without_a_head_is_tuned_and_answers_with_stretches(method: str, folder: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    tokenizer = bert_tokenizer(folder)
    base = tmp_path / "base"
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=40,
        )
    ).save_pretrained(base)  # fmt: skip
    tokenizer.save_pretrained(base)
    rows = some_rows()
    TASK.fit(rows, rows, job(Choice(base, "bert"), tmp_path / method, method=method))
    made = tmp_path / method / "model"
    config = json.loads((made / "config.json").read_text())
    assert config["preprocess"] == {"max_length": 24, "stride": 6, "max_answer": 1, "impossible": True}
    assert config["architectures"] == ["BertForQuestionAnswering"]
    model = TASK.load(made)
    for row, answer in zip(rows, model.predict(list(rows)), strict=True):
        text, start = answer["prediction"]["text"], answer["prediction"]["start"]
        assert (start is None) == (text == "") and row.x.context[start or 0 :].startswith(text)
        assert answer["margin"] >= 0
    if method == "full":  # as it came, the same model answers with the sizes that it can read
        (made / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "preprocess"}))
        assert TASK.load(made).preprocess.max_length == 40


def test_a_width_that_the_heads_do_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"width: expected a multiple of `heads` \(3\), got 32"):
        TASK.fit(some_rows(), some_rows(), job(Choice(None, "transformer", {"width": 32, "heads": 3}), tmp_path))


def test_the_words_of_an_answer_are_no_explanation_of_it(tmp_path: Path) -> None:
    """Those before it move it when they are left out; it is still found."""
    rows = some_rows()
    options = {"width": 8, "layers": 1, "vocabulary": 100}
    TASK.fit(rows, rows, job(Choice(None, "convolution", options), tmp_path))
    explainer = TASK.explainer(tmp_path / "model")
    explainer._seen[rows[0].id] = (13, 17)
    found = explainer.attribute(rows[0])
    assert found.answer == "Rome"
    assert found.names == ("Where", "is", "Ada", "Ada", "lives", "in", "Bob", "lives", "in", "Oslo")
    strengths = explainer.strength(rows[0], [np.array([], np.int64), np.arange(10)])
    assert np.isfinite(strengths).all() and (strengths < 0).all()
    assert '<span style="font-weight:bold">Rome</span>' in explainer.show(rows[0], found)
