"""values checked against a pydantic model; a mistake is told with file, line, key, what was expected and what came."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from modelcommons.errors import RecipeError
from modelcommons.formats.yaml import At, scalar

Value = TypeVar("Value", bound=BaseModel)
Schema = dict[str, Any]

MOST = 5  # mistakes told at once


def check(model: type[Value], values: Any, places: Mapping[At, str], at: At = ()) -> Value:
    """`values` as a `model`, without conversions: a number written as text is a mistake.

    Args:
        values: JSON values.
        places: where each part was written (`news.yaml:7`); a part not in it stands where its nearest parent does.
        at: where `values` themselves stand, for example ("data", "options").

    Raises:
        RecipeError: one line for each mistake, five at most.
    """
    try:
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        schema = model.model_json_schema()
        mistakes = _by_place(error.errors(include_url=False), values)
        written = {place: number for number, place in enumerate(places)}
        order = sorted(mistakes, key=lambda here: written.get((*at, *here), 0))
        told = [_sentence(mistakes[here], schema, values, here, places, at) for here in order]
        more = [f"... and {len(told) - MOST} more."] if len(told) > MOST else []
        raise RecipeError("\n".join(told[:MOST] + more)) from None


def place(places: Mapping[At, str], at: At) -> str:
    """Where `at`, or the nearest thing around it, was written: `news.yaml:7: `; empty when nobody knows."""
    while at and at not in places:
        at = at[:-1]
    return f"{places[at]}: " if at in places else ""


def dotted(at: At) -> str:
    """`model.auto[0].new`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).removeprefix(".")


def near(word: str, known: Sequence[str]) -> str:
    """`Did you mean 'epochs'?`, or what is known where nothing is near; empty where nothing is known."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(known)}." if known else ""


def shown(value: Any) -> str:
    """A value in a message: `'lots'`, `[1, 2]`; long ones are cut."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- mistakes -------------------------------------------------------------------------------------------------------


def _by_place(errors: Sequence[ErrorDetails], values: Any) -> dict[At, ErrorDetails]:
    """One mistake per place; of a choice of types only what went wrong deepest inside."""
    found: dict[At, ErrorDetails] = {}
    for error in errors:
        found.setdefault(_at(error, values), error)
    return {at: error for at, error in found.items() if not any(len(o) > len(at) and o[: len(at)] == at for o in found)}


def _at(error: ErrorDetails, values: Any) -> At:
    """Where in `values` the mistake is; pydantic's location also names the types it tried, which are left out."""
    at: At = ()
    for part in error["loc"]:
        if (isinstance(values, dict) and part in values) or (
            isinstance(values, list) and isinstance(part, int) and part < len(values)
        ):
            values = values[part]  # type: ignore[index]  # checked above
            at = (*at, part)
    return (*at, error["loc"][-1]) if error["type"] == "missing" else at


def _sentence(error: ErrorDetails, root: Schema, values: Any, here: At, places: Mapping[At, str], at: At) -> str:
    where, key = place(places, (*at, *here)), dotted((*at, *here))
    if error["type"] == "extra_forbidden":
        return f"{where}{key} is not a key. {_hint(str(here[-1]), root, here[:-1], at)}".rstrip()
    if error["type"] == "missing":
        what = _schema_at(root, here).get("description", "")
        return f"{where}expected the key {key}, it is missing. {what}".rstrip()
    if error["type"] == "value_error":
        return f"{where}{key + ': ' if key else ''}{error['ctx']['error']}"
    expected, value = words(_schema_at(root, here), root), _value(values, here)
    hint = " Put it in quotes." if expected == "text" and not isinstance(error["input"], (dict, list)) else ""
    if isinstance(value, str) and not isinstance(scalar(value), str):
        hint = " Remove the quotes."
    return f"{where}{key or 'it'}: expected {expected}, got {shown(value)}.{hint}"


def _value(values: Any, at: At) -> Any:
    for part in at:
        values = values[part]
    return values


def _hint(key: str, root: Schema, parent: At, at: At) -> str:
    """What was probably meant: a key beside it, or the key of this name elsewhere."""
    known = [name for option in _options(_schema_at(root, parent), root) for name in option.get("properties", {})]
    if not difflib.get_close_matches(key, known, n=1):
        for other in _keys(root, root):
            if other[-1] == key:
                return f"Did you mean '{dotted((*at, *other))}'?"
    return near(key, known) or f"{dotted((*at, *parent))} takes no keys yet."


# --- a JSON schema in words -----------------------------------------------------------------------------------------


def _schema_at(root: Schema, at: At) -> Schema:
    """The part of a JSON schema that describes `at`; empty where it says nothing."""
    schema = root
    for part in at:
        schema = next((found for option in _options(schema, root) if (found := _inside(option, part))), {})
    return schema


def _inside(schema: Schema, part: str | int) -> Schema:
    if isinstance(part, int):
        prefix = schema.get("prefixItems", [])
        found = prefix[part] if part < len(prefix) else schema.get("items", {})
    else:
        found = schema.get("properties", {}).get(part) or schema.get("additionalProperties", {})
    return found if isinstance(found, dict) else {}


def _options(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The schemas that a value may follow, references looked up."""
    if "$ref" in schema:
        yield from _options(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    elif "anyOf" in schema:
        for option in schema["anyOf"]:
            yield from _options(option, root)
    else:
        yield schema


def _keys(schema: Schema, root: Schema, at: At = ()) -> Iterator[At]:
    """Every key below `schema`, nearest the root first."""
    inside = [(key, part) for option in _options(schema, root) for key, part in option.get("properties", {}).items()]
    for key, _ in inside:
        yield (*at, key)
    for key, part in inside:
        yield from _keys(part, root, (*at, key))


def words(schema: Schema, root: Schema) -> str:
    """What a schema asks for: `a number above 0 or 'auto'`."""
    options = [_type_words(option, root) for option in _options(schema, root) if option.get("type") != "null"]
    return " or ".join(dict.fromkeys(options)) or "no value"


def _type_words(schema: Schema, root: Schema) -> str:
    if "const" in schema:
        return shown(schema["const"])
    if "enum" in schema:
        return " or ".join(shown(value) for value in schema["enum"])
    match schema.get("type"):
        case "integer":
            return f"a whole number{_range(schema)}"
        case "number":
            return f"a number{_range(schema)}"
        case "boolean":
            return "true or false"
        case "string":
            return "text" + (f" of the form {schema['pattern']}" if "pattern" in schema else "")
        case "array":
            return _list_words(schema, root)
        case "object":
            return "`key: value` lines"
        case _:
            return "a value"


def _list_words(schema: Schema, root: Schema) -> str:
    if "prefixItems" in schema:
        return (
            f"a list of {len(schema['prefixItems'])}: {', '.join(words(item, root) for item in schema['prefixItems'])}"
        )
    least = f"at least {schema['minItems']} " if "minItems" in schema else ""
    return f"a list of {least}({words(schema.get('items', {}), root)})"


def _range(schema: Schema) -> str:
    if {"minimum", "maximum"} <= schema.keys():
        return f" from {schema['minimum']:.12g} to {schema['maximum']:.12g}"
    words = {
        "minimum": "of at least", "exclusiveMinimum": "above", "maximum": "of at most", "exclusiveMaximum": "below",
    }  # fmt: skip
    said = [f"{word} {schema[key]:.12g}" for key, word in words.items() if key in schema]
    return f" {' and '.join(said)}" if said else ""
