"""report: the card (Markdown) and the report (one HTML file) from the same sections."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from modelcommons.formats.card import code, escape
from modelcommons.workbench.engine.drawing import unique
from modelcommons.workbench.stages.report.sections import (
    Code,
    Example,
    Facts,
    Items,
    Mono,
    Picture,
    Table,
    Text,
    headline,
    sections,
    summary,
)
from modelcommons.workbench.stages.report.words import WORDS

if TYPE_CHECKING:
    from jinja2 import Environment


def card(facts: Facts) -> str:
    """The prose of README.md."""
    return _render("card.md.jinja", facts)


def report(facts: Facts) -> str:
    """One HTML file that needs nothing else: no script, no link outside, no font."""
    return _render("report.html.jinja", facts)


def _render(template: str, facts: Facts) -> str:
    parts = {"facts": facts, "w": WORDS[facts.language], "sections": sections(facts)}
    return _templates().get_template(template).render(**parts, summary=summary(facts), headline=headline(facts))


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader(__name__, "."),
        autoescape=lambda name: bool(name and name.endswith(".html.jinja")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    kinds = (Text, Table, Items, Code, Picture, Example)
    templates.tests |= {kind.__name__.lower(): _is(kind) for kind in kinds}
    templates.filters |= {"md": md, "html": as_html, "cell": cell, "html_cell": html_cell, "unique": _unique}
    return templates


def _is(kind: type) -> Callable[[object], bool]:
    return lambda block: isinstance(block, kind)


def md(text: Text) -> str:
    """Our words as they are, strangers' values escaped for Markdown."""
    return text.words.format(**{key: escape(value) for key, value in text.values.items()})


def cell(value: str) -> str:
    return (code(value) if value else "") if isinstance(value, Mono) else escape(value)


def as_html(text: Text) -> Any:
    """Our words with `code` marked, strangers' values escaped for HTML."""
    from markupsafe import Markup

    words = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text.words, quote=False))
    return Markup(words.format(**{key: html.escape(str(value)) for key, value in text.values.items()}))


def html_cell(value: str) -> Any:
    from markupsafe import Markup

    return Markup("<code>{}</code>").format(str(value)) if isinstance(value, Mono) and value else str(value)


def _unique(svg: str, prefix: str) -> Any:
    from markupsafe import Markup

    return Markup(unique(svg, prefix))  # drawn by matplotlib, which escapes text; see test_report
