"""validation: what the Hub would say about a card before it is committed: errors that stop it, and warnings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelcommons.errors import FormatError
from modelcommons.formats import card as cards
from modelcommons.formats.licence import TABLE
from modelcommons.hub.actions.card import MAX_CARD, listed
from modelcommons.hub.actions.lifecycle import SDKS
from modelcommons.hub.names import Kind

MAX_MESSAGES = 50

LICENCES = frozenset(name for name, licence in TABLE.items() if licence.on_hub)

# huggingface.js, packages/tasks/src/pipelines.ts
PIPELINE_TAGS = frozenset({
    "any-to-any", "audio-classification", "audio-text-to-text", "audio-to-audio", "automatic-speech-recognition",
    "depth-estimation", "document-question-answering", "feature-extraction", "fill-mask", "graph-ml",
    "image-classification", "image-feature-extraction", "image-segmentation", "image-text-to-image",
    "image-text-to-text", "image-text-to-video", "image-to-3d", "image-to-image", "image-to-text", "image-to-video",
    "keypoint-detection", "mask-generation", "multiple-choice", "object-detection", "other", "question-answering",
    "reinforcement-learning", "robotics", "sentence-similarity", "summarization", "table-question-answering",
    "table-to-text", "tabular-classification", "tabular-regression", "tabular-to-text", "text-classification",
    "text-generation", "text-ranking", "text-retrieval", "text-to-3d", "text-to-audio", "text-to-image",
    "text-to-speech", "text-to-video", "text2text-generation", "time-series-forecasting", "token-classification",
    "translation", "unconditional-image-generation", "video-classification", "video-text-to-text", "video-to-video",
    "visual-document-retrieval", "visual-question-answering", "voice-activity-detection",
    "zero-shot-classification", "zero-shot-image-classification", "zero-shot-object-detection",
})  # fmt: skip
LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?")
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
# keys that hold a text or a list of texts
TEXTS = {
    "model": ("license", "language", "tags", "datasets", "metrics", "base_model"),
    "dataset": (
        "license", "language", "tags", "annotations_creators", "language_creators", "multilinguality",
        "size_categories", "source_datasets", "task_categories", "task_ids",
    ),
    "space": ("license", "tags", "datasets", "models"),
}  # fmt: skip
WORDS = {  # keys that hold one text
    "model": ("license_name", "license_link", "library_name", "pipeline_tag", "thumbnail", "base_model_relation"),
    "dataset": ("license_name", "license_link", "pretty_name", "viewer_language"),
    "space": ("title", "emoji", "colorFrom", "colorTo", "sdk", "app_file", "short_description"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def validate(content: str, kind: Kind) -> Verdict:
    """Checks the front matter of a README.md of a repository of this kind."""
    size = len(content.encode(errors="replace"))
    if size > MAX_CARD:
        return Verdict((f"README.md must be at most {MAX_CARD // 1024} KiB; it has {size // 1024:,}.",), ())
    try:
        values = cards.read_front_matter(content)
    except FormatError as error:
        return Verdict((f"Invalid metadata in README.md: {error}",), ())
    if not values:
        return Verdict((), ("empty or missing yaml metadata in repo card",))
    errors = [*_types(values, kind), *_licence(values), *_languages(values)]
    match kind:
        case "model":
            errors += [*_bases(values), *_model_index(values.get("model-index"))]
        case "space":
            errors += _space(values)
    return Verdict(tuple(errors[:MAX_MESSAGES]), tuple(_doubts(values, kind))[:MAX_MESSAGES])


def _types(values: Mapping[str, Any], kind: Kind) -> Iterator[str]:
    for key in WORDS[kind]:
        if not isinstance(values.get(key), str | None):
            yield f'"{key}" must be a string'
    for key in TEXTS[kind]:
        value = values.get(key)
        if isinstance(value, list):
            yield from (f'"{key}[{at}]" must be a string' for at, one in enumerate(value) if not isinstance(one, str))
        elif not isinstance(value, str | None):
            yield f'"{key}" must be a string or an array of strings'


def _licence(values: Mapping[str, Any]) -> Iterator[str]:
    for one in listed(values.get("license")):
        if isinstance(one, str) and one not in LICENCES:
            yield f'"license" must be one of [{", ".join(sorted(LICENCES))}], got "{one[:80]}"'


def _languages(values: Mapping[str, Any]) -> Iterator[str]:
    for at, one in enumerate(listed(values.get("language"))):
        if not isinstance(one, str):
            continue
        if one != one.lower():
            yield f'"language[{at}]" must only contain lowercase characters'
        elif not LANGUAGE.fullmatch(one.partition("-")[0]):
            yield (
                f'"language[{at}]" with value "{one[:80]}" is not valid. It must be an ISO 639-1, 639-2 or 639-3 code '
                '(two/three letters), or a special value like "code", "multilingual".'
            )


def _bases(values: Mapping[str, Any]) -> Iterator[str]:
    for at, one in enumerate(listed(values.get("base_model"))):
        if isinstance(one, str) and not HUB_ID.fullmatch(one):
            yield f'"base_model[{at}]" with value "{one[:80]}" is not valid. Use a model id from the hub.'
    relation = values.get("base_model_relation")
    if isinstance(relation, str) and relation not in ("adapter", "finetune", "merge", "quantized"):
        yield '"base_model_relation" must be one of [adapter, finetune, merge, quantized]'


def _model_index(index: object) -> Iterator[str]:
    """As huggingface.js reads it: name, results, and in each a task, a data set and metrics that have values."""
    if index is None:
        return
    if not isinstance(index, list):
        yield '"model-index" must be an array'
        return
    for at, model in enumerate(index):
        here = f"model-index[{at}]"
        if not isinstance(model, dict):
            yield f'"{here}" must be an object'
            continue
        if not isinstance(model.get("name"), str):
            yield f'"{here}.name" is required'
        if not isinstance(model.get("results"), list):
            yield f'"{here}.results" is required'
            continue
        for number, result in enumerate(model["results"]):
            yield from _result(result, f"{here}.results[{number}]")


def _result(result: object, here: str) -> Iterator[str]:
    if not isinstance(result, dict):
        yield f'"{here}" must be an object'
        return
    for part, keys in (("task", ("type",)), ("dataset", ("type", "name"))):
        inner = result.get(part)
        if not isinstance(inner, dict):
            yield f'"{here}.{part}" is required'
            continue
        yield from (f'"{here}.{part}.{key}" is required' for key in keys if not isinstance(inner.get(key), str))
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        yield f'"{here}.metrics" is required'
        return
    for at, metric in enumerate(metrics):
        where = f"{here}.metrics[{at}]"
        if not isinstance(metric, dict):
            yield f'"{where}" must be an object'
            continue
        if not isinstance(metric.get("type"), str):
            yield f'"{where}.type" is required'
        if metric.get("value") is None:
            yield f'"{where}.value" is required'


def _space(values: Mapping[str, Any]) -> Iterator[str]:
    if (sdk := values.get("sdk")) is not None and sdk not in SDKS:
        yield f'"sdk" must be one of [{", ".join(SDKS)}]'
    for key in ("colorFrom", "colorTo"):
        if (color := values.get(key)) is not None and color not in COLORS:
            yield f'"{key}" must be one of [{", ".join(COLORS)}]'


def _doubts(values: Mapping[str, Any], kind: Kind) -> Iterator[str]:
    """What the Hub warns of, and takes."""
    if kind == "model":
        task = values.get("pipeline_tag")
        if isinstance(task, str) and task not in PIPELINE_TAGS:
            yield f'The pipeline tag "{task[:80]}" is not in the official list: {", ".join(sorted(PIPELINE_TAGS))}'
    if kind == "dataset":
        for one in listed(values.get("task_categories")):
            if isinstance(one, str) and one not in PIPELINE_TAGS:
                yield f'The task_categories "{one[:80]}" is not in the official list'
    if values.get("license") == "other" and not values.get("license_name"):
        yield '"license_name" should say which license it is, since "license" is "other"'
