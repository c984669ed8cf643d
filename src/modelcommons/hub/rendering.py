"""rendering: Markdown of strangers as HTML that can do nothing but be read."""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import Any

MAX_MARKDOWN = 32_768  # characters that are rendered; a longer text is shown as it is
MAX_OPENERS = 4_000  # brackets, stars and the like in one block: what opens and never closes costs time squared
MAX_NESTING = 20

TAGS = frozenset({
    "a", "b", "blockquote", "br", "code", "dd", "del", "details", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "i", "img", "kbd", "li", "ol", "p", "pre", "s", "strong", "sub", "summary", "sup", "table", "tbody", "td",
    "th", "thead", "tr", "ul",
})  # fmt: skip
ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title"},
    "ol": {"start"},
    "td": {"align"},
    "th": {"align"},
}
SCHEMES = frozenset({"http", "https", "mailto"})
OPENERS = re.compile(r"[\[\]!*_`~<&(]")
BLOCK = re.compile(r"\n[ \t]*\n")


def render(markdown: str) -> str:
    """HTML with no script, no style, no form, no frame, no id and no link but http, https and mailto.

    A text that is too long or too tangled to be rendered in good time comes back as it was written, in `<pre>`.
    """
    if len(markdown) > MAX_MARKDOWN or _tangled(markdown):
        return f"<pre>{html.escape(markdown[:MAX_MARKDOWN])}</pre>"
    return _clean(_parser().render(markdown))


def _tangled(markdown: str) -> bool:
    """Whether some block has so many openers that parsers look for their ends time and again."""
    return any(len(OPENERS.findall(block)) > MAX_OPENERS for block in BLOCK.split(markdown))


def _clean(dirty: str) -> str:
    import nh3

    return nh3.clean(
        dirty,
        tags=set(TAGS),
        attributes={tag: set(names) for tag, names in ATTRIBUTES.items()},
        url_schemes=set(SCHEMES),
        link_rel="noopener noreferrer nofollow ugc",
        strip_comments=True,
    )


@lru_cache(maxsize=1)
def _parser() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": True, "maxNesting": MAX_NESTING}).enable(["table", "strikethrough"])
