"""card: what a repository says about itself on main: tags, task, library, sizes; read once for every commit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import Connection, delete, insert, select, update

from modelcommons.errors import FormatError, HubError
from modelcommons.formats import card as cards
from modelcommons.formats import safetensors
from modelcommons.hub import history
from modelcommons.hub.actions import contents
from modelcommons.hub.history.objects import FILE
from modelcommons.hub.logs import LOG
from modelcommons.hub.names import Kind
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import refs, repo_tags, repos

MAX_CARD = 256 * 1024  # bytes of a README.md that is read
MAX_JSON = 1 << 20  # bytes of a config.json that is read
MAX_FILES = 200  # that are kept beside the repository
MAX_TAGS = 256
MAX_TAG = 128  # characters
MAX_SHARDS = 512  # weight files whose parameters are counted
MAX_HEADERS = 64 << 20  # bytes of their headers together
INT64 = 1 << 63  # JSON writers go no further

# what an architecture's name ends in, and the task of it; the first that fits
TASKS = (
    ("ForSequenceClassification", "text-classification"), ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"), ("ForMultipleChoice", "multiple-choice"),
    ("ForMaskedLM", "fill-mask"), ("ForPreTraining", "fill-mask"), ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"), ("ForImageClassification", "image-classification"),
    ("ForObjectDetection", "object-detection"), ("ForSemanticSegmentation", "image-segmentation"),
    ("ForUniversalSegmentation", "image-segmentation"), ("ForInstanceSegmentation", "image-segmentation"),
    ("ForDepthEstimation", "depth-estimation"), ("ForVideoClassification", "video-classification"),
    ("ForAudioClassification", "audio-classification"), ("ForCTC", "automatic-speech-recognition"),
    ("ForSpeechSeq2Seq", "automatic-speech-recognition"), ("WhisperForConditionalGeneration",
    "automatic-speech-recognition"), ("ForImageTextToText", "image-text-to-text"),
    ("ForTableQuestionAnswering", "table-question-answering"), ("ForDocumentQuestionAnswering",
    "document-question-answering"), ("ForPrediction", "time-series-forecasting"),
    ("ForConditionalGeneration", "text2text-generation"), ("Model", "feature-extraction"),
)  # fmt: skip

# task -> the class of transformers that loads it, and what prepares its input
AUTO = {
    "text-classification": ("AutoModelForSequenceClassification", "AutoTokenizer"),
    "token-classification": ("AutoModelForTokenClassification", "AutoTokenizer"),
    "question-answering": ("AutoModelForQuestionAnswering", "AutoTokenizer"),
    "multiple-choice": ("AutoModelForMultipleChoice", "AutoTokenizer"),
    "fill-mask": ("AutoModelForMaskedLM", "AutoTokenizer"),
    "text-generation": ("AutoModelForCausalLM", "AutoTokenizer"),
    "text2text-generation": ("AutoModelForSeq2SeqLM", "AutoTokenizer"),
    "feature-extraction": ("AutoModel", "AutoTokenizer"),
    "image-classification": ("AutoModelForImageClassification", "AutoImageProcessor"),
    "object-detection": ("AutoModelForObjectDetection", "AutoImageProcessor"),
    "image-segmentation": ("AutoModelForImageSegmentation", "AutoImageProcessor"),
    "automatic-speech-recognition": ("AutoModelForSpeechSeq2Seq", "AutoProcessor"),
    "audio-classification": ("AutoModelForAudioClassification", "AutoFeatureExtractor"),
    "image-text-to-text": ("AutoModelForImageTextToText", "AutoProcessor"),
}

# file -> the library that writes it, in the order in which they are asked
LIBRARIES = (
    ("modules.json", "sentence-transformers"), ("config_sentence_transformers.json", "sentence-transformers"),
    ("model_index.json", "diffusers"), ("adapter_config.json", "peft"),
)  # fmt: skip
FORMATS = (  # what follows the last dot of a file, or its whole name; and the tag it earns
    (".safetensors", "safetensors"), ("pytorch_model.bin", "pytorch"), (".gguf", "gguf"), (".onnx", "onnx"),
    ("tf_model.h5", "tf"), ("flax_model.msgpack", "jax"), (".mlmodel", "coreml"), (".tflite", "tflite"),
)  # fmt: skip
DATA_FORMATS = (
    (".parquet", "format:parquet"), (".csv", "format:csv"), (".jsonl", "format:json"), (".json", "format:json"),
    (".arrow", "format:arrow"), (".txt", "format:text"),
)  # fmt: skip
DATA_KEYS = (  # keys of a data set's card whose values become tags `key:value`
    "task_categories", "task_ids", "annotations_creators", "language_creators", "multilinguality", "source_datasets",
    "language", "license", "size_categories",
)  # fmt: skip
TOKENS = ("bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token")
STANDING = ("config.json", "adapter_config.json", "model_index.json")  # a download of it is a download of the model
SHARD = re.compile(r"model-[0-9]{5}-of-[0-9]{5}\.safetensors")
MEMBER = re.compile(r"seed-[0-9]+/model\.safetensors")  # of the workbench's `tune.together`
ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/([0-9]{4}\.[0-9]{4,5})")


@dataclass(frozen=True, slots=True)
class Card:
    """README.md, read with limits; a broken one has a warning instead of values."""

    values: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()  # numbers on arxiv.org that it names


@lru_cache(maxsize=64)
def parse(data: bytes) -> Card:
    """The card of these bytes. Kept, so that it can be read before the transaction that commits it."""
    if len(data) > MAX_CARD:
        return Card(warnings=(f"README.md is longer than {MAX_CARD // 1024} KiB, so nothing was read from it.",))
    try:
        text = data.decode()
        values = plain(cards.read_front_matter(text))
    except UnicodeDecodeError as error:
        return Card(warnings=(f"README.md: expected UTF-8, got another byte at {error.start:,}.",))
    except FormatError as error:
        return Card(warnings=(str(error),))
    return Card(values, papers=tuple(dict.fromkeys(ARXIV.findall(text)))[:16])


def plain(value: Any) -> Any:
    """A value that every writer of JSON and every database takes: no number beyond 64 bits, no half characters."""
    match value:
        case bool() | None | float():
            return value
        case int():
            return value if -INT64 <= value < INT64 else str(value)
        case str():
            return value.encode("utf-8", "replace").decode().replace("\0", "")
        case list():
            return [plain(one) for one in value]
        case _:
            return {plain(key): plain(one) for key, one in value.items()}


# --- what a commit to main changes about its repository ---------------------------------------------------------------


def read_card(connection: Connection, repo_id: int, commit: str) -> list[str]:
    """Writes beside the repository what its new main says: card, tags, task, library, size, time.

    Never fails for what somebody wrote in a card or a config; what could not be read is told in the warnings.
    """
    row = connection.execute(select(repos.c.kind, repos.c.created).where(repos.c.id == repo_id)).one()
    facts = facts_of(connection, repo_id, row.kind, commit)
    # git counts whole seconds, and a pushed commit may be older than its repository
    updated = max(row.created, history.commit(connection, repo_id, commit).date)
    connection.execute(
        update(repos)
        .where(repos.c.id == repo_id)
        .values(
            card=dict(facts.card.values), tags=facts.tags, pipeline_tag=facts.pipeline_tag,
            library_name=facts.library_name, size=facts.size, details=facts.details, parameters=None,
            updated=updated, **({"sdk": facts.sdk} if facts.sdk else {}),
        )
    )  # fmt: skip
    connection.execute(delete(repo_tags).where(repo_tags.c.repo_id == repo_id))
    if facts.tags:
        connection.execute(insert(repo_tags), [{"repo_id": repo_id, "tag": tag} for tag in facts.tags])
    return list(facts.card.warnings)


def facts_of(connection: Connection, repo_id: int, kind: Kind, commit: str) -> Facts:
    """What one commit says about the repository."""
    nodes = history.listing(connection, repo_id, commit, recursive=True)
    files = {node.path: node for node in nodes if node.kind == "file"}
    read = _Reading(connection, repo_id, files)
    card = read.card()
    facts = _model(read, card) if kind == "model" else _data(files, card) if kind == "dataset" else _space(card)
    return replace(
        facts,
        card=card,
        tags=_short(facts.tags),
        size=sum(node.size for node in files.values()),
        details=facts.details | {"counted": _counted(files), "weights": _weights(files)} | _few(commit, files),
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """What a commit says about its repository, as the columns of `repos` have it."""

    tags: list[str]
    card: Card = field(default_factory=Card)
    pipeline_tag: str | None = None
    library_name: str | None = None
    sdk: str | None = None
    size: int = 0  # bytes of all files
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Small files of one commit."""

    connection: Connection
    repo_id: int
    files: Mapping[str, history.Node]

    def card(self) -> Card:
        node = self.files.get("README.md")
        if node is None:
            return Card()
        if node.lfs is not None or node.size > MAX_CARD:
            return Card(warnings=(f"README.md is longer than {MAX_CARD // 1024} KiB, so nothing was read from it.",))
        return parse(history.content(self.connection, self.repo_id, node.oid))

    def mapping(self, path: str) -> dict[str, Any]:
        """A JSON object; empty where there is none, or it is none."""
        node = self.files.get(path)
        if node is None or node.lfs is not None or node.size > MAX_JSON:
            return {}
        try:
            value = orjson.loads(history.content(self.connection, self.repo_id, node.oid))
        except orjson.JSONDecodeError:
            return {}
        return plain(value) if isinstance(value, dict) else {}


def _model(read: _Reading, card: Card) -> Facts:
    config, values = read.mapping("config.json"), card.values
    architectures = [one for one in listed(config.get("architectures")) if isinstance(one, str)][:8]
    model_type = _word(config.get("model_type"))
    library = _word(values.get("library_name")) or _library(read.files, config, architectures)
    derived = _task(architectures)
    if library == "sentence-transformers":
        derived = "sentence-similarity"
    pipeline_tag = _word(values.get("pipeline_tag")) or derived
    tokenizer = read.mapping("tokenizer_config.json") if library == "transformers" else {}
    special = {name: text for name in TOKENS if (text := _token(tokenizer.get(name)))}
    details: dict[str, Any] = {
        "config": {"architectures": architectures, "model_type": model_type, "tokenizer_config": special},
        "mask_token": special.get("mask_token") if pipeline_tag == "fill-mask" else None,
        "transformersInfo": _auto(pipeline_tag, config) if library == "transformers" else None,
    }
    details["config"] = {key: value for key, value in details["config"].items() if value}
    endings = _endings(read.files)
    formats = [tag for ending, tag in FORMATS if ending in endings]
    relation = _word(values.get("base_model_relation")) or ("adapter" if library == "peft" else "finetune")
    bases = words(values.get("base_model"))
    tags = [
        *filter(None, [library]), *formats, *filter(None, [model_type, pipeline_tag]), *words(values.get("tags")),
        *words(values.get("language")), *(f"dataset:{one}" for one in words(values.get("datasets"))),
        *(f"arxiv:{one}" for one in card.papers), *(f"base_model:{one}" for one in bases),
        *(f"base_model:{relation}:{one}" for one in bases), *(f"license:{one}" for one in words(values.get("license"))),
        *(["model-index"] if values.get("model-index") else []),
    ]  # fmt: skip
    return Facts(tags, pipeline_tag=pipeline_tag, library_name=library, details=details)


def _library(files: Mapping[str, Any], config: Mapping[str, Any], architectures: list[str]) -> str | None:
    for path, library in LIBRARIES:
        if path in files:
            return library
    if "pretrained_cfg" in config or (isinstance(config.get("architecture"), str) and "num_classes" in config):
        return "timm"
    if architectures or isinstance(config.get("model_type"), str):
        return "transformers"
    return "gguf" if ".gguf" in _endings(files) else None


def _task(architectures: list[str]) -> str | None:
    for name in architectures:
        if name.startswith("Whisper"):
            return "automatic-speech-recognition"
        for ending, task in TASKS:
            if name.endswith(ending):
                return task
    return None


def _auto(task: str | None, config: Mapping[str, Any]) -> dict[str, str]:
    model, processor = AUTO.get(task or "", ("AutoModel", ""))
    info = {"auto_model": model, "pipeline_tag": task or "", "processor": processor}
    custom = config.get("auto_map")
    if isinstance(custom, dict) and isinstance(name := custom.get(model), str):
        info["custom_class"] = name[:MAX_TAG]
    return {key: value for key, value in info.items() if value}


def _data(files: Mapping[str, Any], card: Card) -> Facts:
    endings = _endings(files)
    formats = {tag: None for ending, tag in DATA_FORMATS if ending in endings}
    told = [f"{key}:{one}" for key in DATA_KEYS for one in words(card.values.get(key))]
    papers = [f"arxiv:{one}" for one in card.papers]
    return Facts([*told, *formats, *papers, *words(card.values.get("tags"))])


def _space(card: Card) -> Facts:
    sdk = _word(card.values.get("sdk"))
    uses = [f"{key}:{one}" for key in ("dataset", "model") for one in words(card.values.get(f"{key}s"))]
    return Facts([*filter(None, [sdk]), *words(card.values.get("tags")), *uses], sdk=sdk)


def _endings(files: Iterable[str]) -> set[str]:
    """What the files are called without their folders, and what follows their last dot."""
    found = {path.rpartition("/")[2] for path in files}
    return found | {"." + name.rpartition(".")[2] for name in found}


def listed(value: object) -> list[Any]:
    """A list; one value is a list of one, nothing is an empty one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def words(value: object) -> list[str]:
    """The texts in a value that may be one text or a list of them."""
    return [one.strip() for one in listed(value) if isinstance(one, str) and one.strip()]


def _word(value: object) -> str | None:
    return value.strip()[:MAX_TAG] or None if isinstance(value, str) else None


def _token(value: object) -> str | None:
    """A special token, which tokenizers write as a text or as {"content": ...}."""
    text = value.get("content") if isinstance(value, dict) else value
    return text[:MAX_TAG] if isinstance(text, str) else None


def _short(tags: Iterable[str]) -> list[str]:
    """Each once, in order, and no more than a list can show."""
    return [tag for tag in dict.fromkeys(tags) if len(tag) <= MAX_TAG and tag.isprintable()][:MAX_TAGS]


def _few(commit: str, files: Mapping[str, history.Node]) -> dict[str, Any]:
    """The files themselves, where they are few, so that info need not open a tree."""
    if len(files) > MAX_FILES:
        return {}
    rows = [[node.path, node.oid, node.size, node.lfs.sha256 if node.lfs else None] for node in files.values()]
    return {"commit": commit, "files": rows}


def few(details: Mapping[str, Any], commit: str) -> tuple[history.Node, ...] | None:
    """What `_few` wrote, if it is of this commit."""
    if details.get("commit") != commit:
        return None
    return tuple(
        history.Node(path, "file", oid, size, history.Pointer(sha256, size) if sha256 else None, FILE)
        for path, oid, size, sha256 in details["files"]
    )


def _counted(files: Mapping[str, history.Node]) -> str | None:
    """The file whose download counts as one of the repository: its config, else its largest file."""
    for path in STANDING:
        if path in files:
            return path
    shown = (path for path in files if path not in (".gitattributes", "README.md"))
    return max(shown, key=lambda path: (files[path].size, path), default=None)


# --- parameters -----------------------------------------------------------------------------------------------------


def _weights(files: Mapping[str, history.Node]) -> list[str]:
    """The files that together are the model: one, all the shards of one, or one of each that answer together."""
    if "model.safetensors" in files:
        return ["model.safetensors"]
    for pattern in (SHARD, MEMBER):
        if parts := sorted(path for path in files if pattern.fullmatch(path)):
            return parts[:MAX_SHARDS]
    alone = [path for path in files if path.endswith(".safetensors") and "/" not in path]
    return alone if len(alone) == 1 else []


def weigh(stores: Stores, repo_id: int) -> None:
    """Counts the parameters in the headers of main's weights, unless they are counted already.

    Called after the commit's transaction, so that nobody waits while a bucket is read; whoever asks for info of a
    repository that is not counted yet calls it too. Raises nothing: a commit that is done must be answered as done,
    whatever goes wrong in counting.
    """
    try:
        _weigh(stores, repo_id)
    except Exception as error:
        LOG.error("not counted", exc_info=error, extra={"data": {"repo": repo_id}})


def _weigh(stores: Stores, repo_id: int) -> None:
    details = select(repos.c.details, refs.c.oid).join(refs, refs.c.repo_id == repos.c.id)
    with stores.database.reading() as connection:
        row = connection.execute(details.where(repos.c.id == repo_id, refs.c.name == history.MAIN)).first()
        if row is None or not row.details.get("weights") or "safetensors" in row.details:
            return
        counted = _count(stores, connection, repo_id, row.oid, row.details["weights"])
    total = None if counted is None else counted["total"]
    with stores.database.writing() as connection:
        same = connection.execute(details.where(repos.c.id == repo_id, refs.c.name == history.MAIN)).first()
        if same is not None and same.oid == row.oid:
            values = {"details": same.details | {"safetensors": counted}, "parameters": total}
            connection.execute(update(repos).where(repos.c.id == repo_id).values(values))


def _count(
    stores: Stores, connection: Connection, repo_id: int, commit: str, paths: list[str]
) -> dict[str, Any] | None:
    """`{"parameters": {dtype: number}, "total": number}`; None where a header cannot be trusted."""
    numbers: dict[str, int] = {}
    left = MAX_HEADERS
    for path in paths:
        try:
            node = history.entry(connection, repo_id, commit, path)
            if node is None:
                return None
            raw = _raw_header(stores, contents.content(connection, repo_id, node), node.size, left)
            header = safetensors.parse(raw, path, node.size)
        except (FormatError, HubError):
            return None  # a broken file, or bytes that are not there: no number is better than a wrong one
        left -= len(raw)
        for tensor in header.tensors.values():
            numbers[tensor.dtype] = numbers.get(tensor.dtype, 0) + tensor.num_elements
    total = sum(numbers.values())
    return {"parameters": numbers, "total": total} if total < INT64 else None


def headers(stores: Stores, connection: Connection, repo_id: int, nodes: Iterable[history.Node]) -> Iterator[bytes]:
    """The JSON headers of safetensors files, checked.

    Raises:
        FormatError: one of them is not what it says, or all of them are too much.
    """
    left = MAX_HEADERS
    for node in nodes:
        raw = _raw_header(stores, contents.content(connection, repo_id, node), node.size, left)
        safetensors.parse(raw, node.path, node.size)
        left -= len(raw)
        yield raw


def _raw_header(stores: Stores, found: Any, size: int, most: int) -> bytes:
    start = b"".join(contents.pieces(stores.blobs, found, 0, 8))
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(safetensors.LARGEST_HEADER, most, size - 8):
        raise FormatError("The header of a safetensors file is cut off, or too long.")
    return b"".join(contents.pieces(stores.blobs, found, 8, 8 + length))
