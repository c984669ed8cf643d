"""the arrows: which room may import which, imports hidden in functions included; and what is loaded when."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelcommons.workbench import fields

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"

# room -> rooms it may import besides itself; a change of this table is a change of architecture (ARCHITECTURE.md has
# it in words). The longest name that fits a module is its room.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "formats": {"errors"},
    "workbench.engine": {"errors"},
    "workbench.task": {"workbench.engine"},
    "workbench.folder": {"errors"},
    "workbench.recipe": {"errors", "formats", "workbench.engine", "workbench.task"},
    "workbench.sources": {"errors", "formats", "workbench.task"},
    "workbench.protocols": {"errors", "formats"},
    "workbench.privacy": {"errors", "formats", "workbench.engine"},
    "workbench.fields": {"errors", "workbench.task"},  # the table of tasks
    "workbench.fields.*": {"errors", "formats", "workbench.engine", "workbench.task"},
    "workbench.stages": {
        "", "errors", "formats", "workbench.engine", "workbench.task", "workbench.folder", "workbench.recipe",
        "workbench.sources", "workbench.protocols", "workbench.privacy",
    },
    "workbench": {"*"},  # run, serve, verify, diff, plan, resolve: all of the workbench, never the command line
    "hub.settings": {"errors"},
    "hub.names": {"errors"},
    "hub.tables": set(),
    "hub.logs": set(),
    "hub.metrics": set(),
    "hub.downloads": set(),
    "hub.database": {"errors"},
    "hub.permissions": {"errors", "hub.names"},
    "hub.tickets": {"errors"},
    "hub.sealing": {"errors"},
    "hub.outbound": {"errors"},
    "hub.rendering": {"errors"},
    "hub.patterns": set(),
    "hub.xet": {"errors", "formats", "hub.names"},
    "hub.blobs": {"errors", "formats", "hub.names", "hub.settings"},
    "hub.migrations": {"errors", "hub.database", "hub.sealing", "hub.tables"},
    "hub.history": {"errors", "formats", "hub.names", "hub.tables", "hub.database"},
    "hub.stores": {"errors", "hub.settings", "hub.database", "hub.migrations", "hub.blobs", "hub.downloads"},
    "hub.actions": {
        "errors", "formats", "hub.names", "hub.tables", "hub.settings", "hub.logs", "hub.database", "hub.permissions",
        "hub.tickets", "hub.sealing", "hub.outbound", "hub.rendering", "hub.patterns", "hub.xet", "hub.blobs",
        "hub.history", "hub.stores",
    },
    # a door sees what actions hand out, and forms of data; never the tables, never the database
    "hub.wire": {
        "", "errors", "hub.names", "hub.logs", "hub.metrics", "hub.permissions", "hub.tickets", "hub.outbound",
        "hub.xet", "hub.blobs", "hub.history", "hub.stores", "hub.actions",
    },
    "hub": {"*"},  # app, server: all of the hub, never the workbench
    "cli": {"*"},
    "": {"errors", "workbench", "workbench.engine", "workbench.recipe"},  # the public names
}  # fmt: skip
HEAVY = (
    "torch", "transformers", "datasets", "fastapi", "sqlalchemy", "uvicorn", "dulwich", "pyarrow", "pandas",
    "matplotlib", "sklearn", "scipy", "peft",
)  # fmt: skip


def room(module: str) -> str:
    """The room of a module: `modelcommons.workbench.fields.text.rows` -> `workbench.fields.text`."""
    parts = module.split(".")[1:]
    if parts[:2] == ["workbench", "fields"] and len(parts) > 2:
        return ".".join(parts[:3])
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[:length])) in ROOMS:
            return name
    return ""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((SOURCE / "modelcommons").rglob("*.py")):
        yield ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module of ours that a file imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("modelcommons"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide where an arrow goes"
            if (node.module or "").startswith("modelcommons"):
                yield from ((node.lineno, _target(str(node.module), alias.name)) for alias in node.names)


def _target(module: str, name: str) -> str:
    """`from modelcommons.workbench import fields` imports a module, not a name in one."""
    path = SOURCE.joinpath(*module.split("."), name)
    return f"{module}.{name}" if path.is_dir() or path.with_suffix(".py").is_file() else module


def allowed(importer: str, imported: str) -> bool:
    a, b = room(importer), room(imported)
    if a == b:
        return True
    if imported == "modelcommons.cli" or b == "cli":
        return False
    if a != "cli" and {a.split(".")[0], b.split(".")[0]} == {"hub", "workbench"}:  # they meet over HTTP
        return False
    rule = ROOMS["workbench.fields.*"] if a.startswith("workbench.fields.") else ROOMS[a]
    return "*" in rule or b in rule


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {room(name) or 'modelcommons'} may not import {imported}"
        for name, path in modules()
        for line, imported in imports(path)
        if not allowed(name, imported)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("modelcommons.workbench.stages.tune", "modelcommons.workbench.fields.text.rows"),
        ("modelcommons.workbench.fields.text.rows", "modelcommons.workbench.fields.image.rows"),
        ("modelcommons.workbench.fields.text.rows", "modelcommons.workbench.recipe"),
        ("modelcommons.workbench.engine.train", "modelcommons.workbench.task"),
        ("modelcommons.formats.card", "modelcommons.workbench.recipe"),
        ("modelcommons.workbench.run", "modelcommons.cli"),
        ("modelcommons.workbench.run", "modelcommons.hub.app"),
        ("modelcommons.hub.app", "modelcommons.workbench.run"),
        ("modelcommons.hub.wire.repos", "modelcommons.hub.tables"),
        ("modelcommons.hub.wire.repos", "modelcommons.hub.database"),
        ("modelcommons.hub.actions.repos", "modelcommons.hub.wire.doors"),
        ("modelcommons.hub.permissions", "modelcommons.hub.actions.repos"),
    ],
)
def test_a_forbidden_arrow_is_seen(importer: str, imported: str) -> None:
    assert not allowed(importer, imported)


def test_no_field_is_named_outside_the_table() -> None:
    named = {module.split(".")[0] for module in fields.TASKS.values()}
    for name, path in modules():
        if room(name).startswith("workbench.fields"):
            continue
        for line, imported in imports(path):
            assert not any(f".fields.{field}" in imported for field in named), f"{path}:{line} names {imported}"


def loaded(code: str) -> set[str]:
    """The packages that a fresh Python has loaded after `code`."""
    program = f"{code}\nimport sys; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


# every task, one after the other in one process; which files a digest is over is asked where no torch is installed
EVERY_TASK = f"""
import sys
from contextlib import suppress
from pathlib import Path
from modelcommons.errors import CommonsError
from modelcommons.workbench import fields
for name in fields.TASKS:
    with suppress(CommonsError, OSError):
        fields.find(name).files(Path("nowhere"))
    heavy = set({HEAVY}) & set(sys.modules)
    assert not heavy, f"{{name}} loads {{heavy}}"
"""


@pytest.mark.parametrize(
    "code",
    [
        "import modelcommons",
        "import modelcommons.cli",
        "import modelcommons.workbench.recipe, modelcommons.workbench.resolve",
        EVERY_TASK,
    ],
    ids=["package", "command line", "recipe", "every task"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str) -> None:
    assert not loaded(code) & set(HEAVY)


def test_an_export_answers_without_torch(tmp_path: Path) -> None:
    """Four fifths of the time to a first answer were torch and transformers, for a tokenizer that needs neither."""
    import onnx
    from onnx import TensorProto, helper

    from modelcommons.workbench.engine.quantize import OPSET, write
    from modelcommons.workbench.engine.tokenizer import TOKENIZER, learn_tokenizer

    learn_tokenizer(["one two three"], 100, tmp_path / TOKENIZER)
    (tmp_path / "config.json").write_text(
        '{"model_type": "bert", "task": "text-classification", "id2label": {"0": "a"}}'
    )
    names = ("input_ids", "attention_mask")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "time"]) for name in names]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])
    nodes = [
        helper.make_node("Mul", names, ["seen"]),
        helper.make_node("ReduceSum", ["seen", "axes"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["sum"], ["logits"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [logits], [helper.make_tensor("axes", TensorProto.INT64, [1], [1])])
    write(tmp_path / "m.onnx", helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)]))
    code = f"import modelcommons as mc; mc.load({str(tmp_path)!r}, 'm.onnx').predict(['one two', 'three'])"
    assert "onnxruntime" in (found := loaded(code)) and not found & set(HEAVY)


def test_help_loads_next_to_nothing() -> None:
    code = "import sys\nfrom modelcommons.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not loaded(code) & {*HEAVY, "numpy", "pydantic", "rich", "yaml", "huggingface_hub", "cryptography"}


def test_a_heavy_import_would_be_seen() -> None:
    assert "pyarrow" in loaded("import modelcommons, pyarrow")
