"""SQuAD's JSON, v1.1 and v2: articles of paragraphs with questions, flattened into the columns that tables have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelcommons.errors import DataError, FormatError

COLUMNS = ("id", "question", "context", "answers", "title")


def read(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each question's place in the file, such as `dev.json:0.2.1` (article, paragraph, question), and its columns.

    Raises:
        FormatError: the file is no JSON.
        DataError: it is JSON of another kind.
    """
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        for a, article in enumerate(articles):
            for p, paragraph in enumerate(article["paragraphs"]):
                for q, asked in enumerate(paragraph["qas"]):
                    yield f"{name}:{a}.{p}.{q}", _columns(article, paragraph, asked)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} is no JSON in UTF-8 ({error!s:.100}). Get it again.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{name}: expected the JSON of SQuAD, data[].paragraphs[] with a `context` and `qas`, got another kind "
            f"({type(error).__name__}: {error!s:.80}). Write it as a table: question, context, answers."
        ) from error


def _columns(article: dict[str, Any], paragraph: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    answers = [] if asked.get("is_impossible") else asked.get("answers", [])
    return {
        "id": asked.get("id"), "question": asked["question"], "context": paragraph["context"], "answers": answers,
        "title": article.get("title"),
    }  # fmt: skip
