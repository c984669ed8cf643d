"""the card: metadata that the Hub's own classes take, and strangers' words that stay words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from modelcommons.errors import FormatError
from modelcommons.formats import card, keys, receipt

HEX = "0" * 64


def a_receipt(tmp_path: Path, **numbers: str) -> receipt.Receipt:
    """A signed receipt with one result, read back."""
    named = {"value": "0.921", "low": "0.9147", "high": "0.9269", "baseline": "0.25"} | numbers
    bounds = receipt.Interval(method="wilson", low=named["low"], high=named["high"])
    result = receipt.Result(
        metric="accuracy", direction="higher", value=named["value"], ci95=bounds, baseline=named["baseline"]
    )
    predicate = receipt.Predicate(
        relationship="first-party",
        claim=receipt.Claim(metric="accuracy", value=named["value"], split="test"),
        verdict="MEASURED",
        results=(result,),
        inputs=receipt.Inputs(data={}, protocol={}, evaluator={}, environment={"python": "3.11"}),
        predictions=receipt.Predictions(sha256=HEX, root=HEX, count=7600),
        exclusions=(),
        cost={},
        started="2026-11-23T00:00:00Z",
        finished="2026-11-23T00:00:01Z",
    )
    subject = receipt.Subject(name="ada/news:model", digest={"sha256": HEX})
    raw = receipt.sign(receipt.Statement(subject=(subject,), predicate=predicate), keys.own(tmp_path))
    return receipt.parse(raw)


def front(tmp_path: Path) -> dict[str, Any]:
    receipts = {"receipts/model.json": a_receipt(tmp_path)}
    index = card.model_index(
        "news", "text-classification", "ag-news", "3f2a", receipts, "https://hub/ada/news/blob/main"
    )
    return {
        "model-index": index,
        "tags": ["modelcommons", "receipts"],
        "license": "apache-2.0",
        "license_name": "",
        "pipeline_tag": "text-classification",
        "base_model": ["commons/minilm-l6"],
        "datasets": [],
        "metrics": ["accuracy"],
        "library_name": "transformers",
    }


def test_the_hubs_own_classes_take_it(tmp_path: Path) -> None:
    text = card.write(front(tmp_path), "# news")
    taken = ModelCard(text).data
    (result,) = taken.eval_results
    assert (result.task_type, result.dataset_name, result.dataset_split) == ("text-classification", "ag-news", "test")
    assert (result.metric_type, result.metric_value, result.dataset_revision) == ("accuracy", 0.921, "3f2a")
    assert result.metric_args == {"ci95": [0.9147, 0.9269], "baseline": 0.25, "direction": "higher", "rows": 7600}
    assert "95 % interval 0.9147 to 0.9269, baseline 0.25" in result.metric_name
    assert result.source_url == "https://hub/ada/news/blob/main/receipts/model.json"
    assert taken.license == "apache-2.0" and taken.base_model == ["commons/minilm-l6"] and taken.model_name == "news"
    assert set(taken.to_dict()) == set(card.read_front_matter(text))


def test_what_is_written_is_read_back_in_a_fixed_order(tmp_path: Path) -> None:
    values = front(tmp_path)
    text = card.write(values, "# news\n")
    assert card.read_front_matter(text) == {key: value for key, value in values.items() if value}
    assert list(card.read_front_matter(text)) == [key for key in card.ORDER if values.get(key)]
    assert text == card.write(dict(reversed(values.items())), "# news") and card.body(text).strip() == "# news"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=20), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=20), json_values, max_size=4), st.text())
def test_any_values_survive(values: dict[str, Any], prose: str) -> None:
    read = card.read_front_matter(card.write(values, prose))
    assert read == {key: value for key, value in values.items() if value not in (None, "", [], {})}


def test_a_card_without_front_matter_says_nothing() -> None:
    assert card.read_front_matter("# only prose\n\n---\nlicense: mit\n---\n") == {}
    assert card.read_front_matter("---\n---\nx") == {} and card.body("---\na: 1\n---\nx") == "x"
    assert card.read_front_matter("\ufeff---\r\nlicense: mit\r\n---\r\n") == {"license": "mit"}


@pytest.mark.parametrize("text", ["---\n- mit\n---\n", "---\na: &x 1\nb: *x\n---\n", "---\na: [\n---\n"])
def test_a_card_that_is_a_trap_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"README\.md"):
        card.read_front_matter(text)


def shown(markdown: str) -> str:
    """What a person reads, and that nothing but text came of it."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(f"a {markdown} b")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert {child.type for child in children} <= {"text", "text_special", "code_inline"}, children
    return "".join(child.content for child in children)


HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[click](javascript:alert(1))", "![x](http://evil/x.png)",
    "`code`", "**bold** _it_ ~~no~~", "a | b", "&lt;script&gt;", "<!-- -->", "\\<b>", "](x)", "[x]: http://evil",
    "$x^2$", "https://example.org", "line\nbreak\n# head", "\u202eevil", "---", "# head", "1. list", "- item", "======",
]  # fmt: skip


@pytest.mark.parametrize("words", HOSTILE)
def test_strangers_words_stay_words(words: str) -> None:
    plain = " ".join("".join(char for char in words.replace("\n", " ") if char.isprintable()).split())
    assert shown(card.escape(words)) == f"a {plain} b"
    assert shown(card.code(words)).replace("\\|", "|") == f"a {plain} b"
    alone = MarkdownIt("commonmark").render(card.escape(words))
    assert alone.startswith("<p>") and alone.count("<") == 2


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_no_text_becomes_markup(words: str) -> None:
    shown(card.escape(words))
    shown(card.code(words))
    rendered = MarkdownIt("commonmark", {"html": True}).render(card.escape(words))
    assert rendered == "" or (rendered.startswith("<p>") and rendered.count("<") == 2)


def test_every_pipeline_tag_is_one_the_hub_knows() -> None:
    """huggingface.js, packages/tasks/src/pipelines.ts; a task without a tag there is `other`."""
    from modelcommons.workbench import fields

    known = {
        "audio-to-audio",
        "audio-classification", "automatic-speech-recognition", "image-classification", "image-segmentation",
        "object-detection", "fill-mask", "question-answering", "tabular-classification", "tabular-regression",
        "text-classification", "text-generation", "text-to-speech", "text2text-generation", "time-series-forecasting",
        "translation", "zero-shot-image-classification", "other",
    }  # fmt: skip
    assert {card.PIPELINE_TAGS.get(task, task) for task in fields.TASKS} <= known
