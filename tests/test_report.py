"""card and report: every number from its receipt, nothing of strangers as markup, nothing from outside needed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_up import HOSTILE, evaluation, explained, facts, signed

from modelcommons.formats import keys, receipt
from modelcommons.formats.licence import Work, derive
from modelcommons.workbench.engine.curve import more
from modelcommons.workbench.engine.drawing import unique
from modelcommons.workbench.engine.training import Point
from modelcommons.workbench.stages.report import card, report
from modelcommons.workbench.stages.report.sections import number
from modelcommons.workbench.stages.report.words import WORDS, told

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """What a browser would build: tags with attributes, all ids, all text; and that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> Iterator[dict[str, str]]:
        return (attrs for name, attrs in self.tags if name == tag)


@pytest.fixture(scope="module", params=["en", "zh"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def page(language: str, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(report(facts(tmp_path_factory.mktemp("facts"), language)))


def test_the_report_needs_nothing_from_outside(page: Page) -> None:
    tags = Counter(tag for tag, _ in page.tags)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(tags)
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        for name in ("href", "src", "xlink:href", "action"):
            assert attrs.get(name, "#").startswith(("#", "data:image/")), (tag, attrs)
        assert not re.search(r"url\((?!#|'#|\"#)", attrs.get("style", "")), attrs
    (policy,) = (attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "script-src" not in policy


def test_ids_are_unique_and_every_link_inside_leads_somewhere(page: Page) -> None:
    ids = Counter(attrs["id"] for _, attrs in page.tags if "id" in attrs)
    assert [id for id, times in ids.items() if times > 1] == []
    links = [attrs[name] for _, attrs in page.tags for name in ("href", "xlink:href") if name in attrs]
    wanted = {link[1:] for link in links if link.startswith("#")}
    wanted |= {
        found for _, attrs in page.tags for value in attrs.values() for found in re.findall(r"url\(#([^)]+)\)", value)
    }
    assert wanted and not wanted - set(ids)


def test_strangers_words_are_only_words(page: Page) -> None:
    assert page.text.count("<script>alert('x')</script>") > 10
    assert "](http://evil)" in page.text


def test_pictures_speak_to_those_who_do_not_see(page: Page, language: str) -> None:
    plots = [attrs for attrs in page.all("figure") if attrs.get("class") == "plot"]
    assert len(plots) == 6 and all(attrs["role"] == "img" and attrs["aria-label"] for attrs in plots)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("figcaption") == tags.count("figure") and tags.count("h1") == 1
    assert next(page.all("html"))["lang"] == {"en": "en", "zh": "zh-CN"}[language]


@pytest.fixture(scope="module")
def prose(language: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return card(facts(tmp_path_factory.mktemp("facts"), language))


def test_the_card_is_plain_markdown(prose: str) -> None:
    from markdown_it import MarkdownIt

    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(prose)
    page = Page(html)
    kinds = {
        "h1",
        "h2",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "ul",
        "li",
        "code",
        "pre",
        "strong",
        "hr",
        "blockquote",
    }
    assert {tag for tag, _ in page.tags} <= kinds
    assert "<script>alert('x')</script>" in page.text
    for line in prose.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    for table in re.findall(r"(?:^\|.*\n)+", prose, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


@pytest.mark.parametrize("write", [card, report])
def test_scores_are_those_of_the_receipts(write: Any, tmp_path: Path) -> None:
    """A score that was changed in the run's own records, and not in the receipt, does not reach the reader."""
    whole = facts(tmp_path)
    forged = replace(whole.scored.main, scores=evaluation("model", shift=0.0777).scores)
    assert number(0.9777) not in write(replace(whole, scored=replace(whole.scored, main=forged)))
    honest = receipt.parse(signed(evaluation("model", shift=0.0777), keys.own(tmp_path)))
    assert number(0.9777) in write(replace(whole, receipts={**whole.receipts, "model": honest}))


@pytest.mark.parametrize("write", [card, report])
def test_every_score_has_interval_and_baseline_beside_it(write: Any, tmp_path: Path) -> None:
    text = write(facts(tmp_path))
    for words in ("0.9000", "[0.8800, 0.9200]", "0.5000", "majority class", "receipts/model.json"):
        assert words in text, words


def test_what_a_sceptic_asks_is_on_the_card(tmp_path: Path) -> None:
    text = card(facts(tmp_path))
    for words in (
        "2 of the test rows also stand in the training data",
        "The 2 unreadable rows were left out",
        "| a.csv:9 | no text |",
        "| exact duplicates among training rows | 8 |",
        "| near duplicates among training rows | not looked for |",
        "| personal data found by pattern: e-mail addresses | 114 |",
        "The personal data found were left in",
        "The same recipe with 3 seeds; shipped is seed 0",
        "| `accuracy` | 0.9000 | 0.0100 | 0.8900 | 0.9100 |",
        "`auto` tried these",
        "removing what they name weakens the answer by 0.4100",
        "| scoring | 0.413 | 0.392 to 0.434 | RAPL |",
        "31 / 200",
        "not shipped",
        "accuracy is 2.1 % worse than its parent",
        "MIT License (mit)",
        "not legal advice",
        "cannot show that a public test set was not trained on",
        "commons verify ada/news-minilm",
        'mc.load("ada/news-minilm")',
        'pipeline("text-classification", model="ada/news-minilm")',
    ):
        assert words in text, words


def test_what_was_not_looked_for_is_not_said_to_be_absent(tmp_path: Path) -> None:
    """A task without comparable contents (series) looks for no leaks, whatever the recipe asks for."""
    whole = facts(tmp_path)
    clean = replace(whole.data, leaked=frozenset())
    scored = replace(whole.scored, main=replace(whole.scored.main, without_leaked=()))
    assert "No test row was found" in card(replace(whole, data=clean, scored=scored))
    silent = replace(clean, report={key: value for key, value in clean.report.items() if key != "leaks"})
    assert "No test row was found" not in card(replace(whole, data=silent, scored=scored))


SAID = (  # by curve, split, series and stages
    *(more([Point(step, step, 1.0, 1.0, value) for step, value in enumerate(values, 1)], "MSE", "higher", 1.0)
      for values in ([0.1], [0.5] * 6, [0.1, 0.3, 0.4, 0.45, 0.47])),
    "official train and test; validation by hash of the id", "validation and test by hash of the group",
    "validation and test by time", "test by order of the rows", "validation and test by the first 90 rows in order",
    "90 + 10 + 20 steps by time in each of 3 series; season 7, standardised on the training steps",
    "90 + 10 + 20 steps as given; season 7, original units", "majority class", "seasonal naive (7)",
    "the recipe asks for no examples", "the recipe asks for no export",
)  # fmt: skip


@pytest.mark.parametrize("words", SAID)
def test_what_stages_say_is_said_in_chinese_on_a_chinese_card(words: str) -> None:
    assert not re.search("[a-z]{3}", told(words, WORDS["zh"])) and told(words, WORDS["en"]) == words


def test_explanations_that_fail_their_own_check_carry_a_warning(tmp_path: Path) -> None:
    whole, good = facts(tmp_path), explained()
    weak = replace(good, deletion=replace(good.deletion, p_value=0.3))
    assert "Do not rely on them" not in card(whole)
    assert "Do not rely on them" in card(replace(whole, explained=weak))


def test_what_was_skipped_says_so(tmp_path: Path) -> None:
    assert "Skipped: the recipe asks for none." in card(
        facts(tmp_path, explained=explained("the recipe asks for none"))
    )


def test_a_caution_of_the_task_is_on_the_card(tmp_path: Path) -> None:
    assert "- Nobody said this." in card(facts(tmp_path, caution="Nobody said this."))


def test_data_that_stay_at_home_are_announced(tmp_path: Path) -> None:
    decision = derive([], [Work("etth1", "cc-by-nd-4.0")])
    assert "`predictions/` and `report.html` are not uploaded" in card(facts(tmp_path, decision=decision))


def test_both_languages_have_the_same_words() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    for key in WORDS["en"]:
        names = {language: sorted(re.findall(r"{(\w+)}", WORDS[language][key])) for language in WORDS}
        assert names["en"] == names["zh"], key


def test_two_drawings_in_one_page_keep_their_own_parts() -> None:
    drawing = '<svg><defs><path id="a"/></defs><use xlink:href="#a"/><g clip-path="url(#a)" data-x="#a"/></svg>'
    assert unique(drawing, "one") == (
        '<svg><defs><path id="one-a"/></defs><use xlink:href="#one-a"/><g clip-path="url(#one-a)" data-x="#a"/></svg>'
    )


def test_the_hostile_words_are_hostile() -> None:
    assert "<script>" in HOSTILE and "`" in HOSTILE and "$" in HOSTILE
