"""hostile content: cards, JSON and weights that would explode, code that would run: refused, or kept and never run."""

from __future__ import annotations

import asyncio
import base64
import gzip
import html.parser
import io
import json
import pickle
import re
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import Answer, ask, ask_now
from hubs import Site, Template, make_site

from modelcommons.hub.app import routes

NDJSON = [("Content-Type", "application/x-ndjson")]


def commit(site: Site, files: dict[str, bytes], repo: str = "models/ada/here") -> Answer:
    header = {"key": "header", "value": {"summary": "x", "description": ""}}
    lines: list[dict[str, Any]] = [header]
    for path, data in files.items():
        content = base64.b64encode(data).decode()
        lines.append({"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}})
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return ask_now(site.app, "POST", f"/api/{repo}/commit/main", body, token=site.tokens["ada"], headers=NDJSON)


def get(site: Site, path: str, who: str = "ada") -> Answer:
    return ask_now(site.app, "GET", path, token=site.tokens.get(who, ""))


@pytest.fixture(scope="module")
def here(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub with the models ada/here and ada/pickled, and the data set ada/here."""
    with make_site(template, tmp_path_factory.mktemp("hostile") / "hub") as site:
        for name, kind in (("here", "model"), ("here", "dataset"), ("pickled", "model")):
            body = {"name": name, "type": kind}
            assert ask_now(site.app, "POST", "/api/repos/create", body, token=site.tokens["ada"]).status == 200
        yield site


# --- cards ----------------------------------------------------------------------------------------------------------

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 30))
BOMBS = {
    "a billion laughs": LAUGHS,
    "a merge bomb": MERGES,
    "a loop": "a: &a [*a]\n",
    "deep lists": "a: " + "[" * 20_000 + "]" * 20_000 + "\n",
    "deep lists that never end": "a: " + "[" * 100_000,
    "deep maps": "a: " + "{b: " * 5_000 + "1" + "}" * 5_000 + "\n",
    "deep by indent": "".join(f"{' ' * i}k:\n" for i in range(400)) + " " * 401 + "v\n",
    "a sexagesimal number": "a: " + ":".join(["1"] * 30_000) + "\n",
    "many keys": "".join(f"k{i}: v\n" for i in range(60_000)),
    "a long key": "k" * 60_000 + ": v\n",
    "a long text": "a: " + "x" * 2_000_000 + "\n",
    "a tag that calls": "a: !!python/object/apply:os.system ['touch canary']\n",
    "a tag of our own": "a: !commons/secret x\n",
    "a binary": "a: !!binary " + "A" * 100_000 + "\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "NUL": "a: x\0y\n",
    "no map": "- a\n- b\n",
    "the same key twice": "license: mit\nlicense: gpl-3.0\n",
    "infinity": "model-index: [{name: x, results: [{metrics: [{type: a, value: .inf}]}]}]\n",
    "a huge number": "a: " + "9" * 50_000 + "\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_card_that_would_explode(here: Site, name: str) -> None:
    """Refused, or kept as text; quick either way, and the hub describes the repository as before or better."""
    card = f"---\n{BOMBS[name]}---\nwords\n"
    began = time.process_time()
    for answer in (
        ask_now(here.app, "POST", "/api/validate-yaml", {"content": card, "repoType": "model"}),
        commit(here, {"README.md": card.encode()}),
        get(here, "/api/models/ada/here?expand=cardData&expand=tags"),
        get(here, "/api/models?search=here&full=true&cardData=true"),
    ):
        assert answer.status < 500, (name, answer)
    # no assertion on time: but a bomb that goes off takes minutes, and this is the CPU time of this process
    assert time.process_time() - began < 60
    assert get(here, "/api/models/ada/here").status == 200
    assert not Path("canary").exists()


def test_metadata_that_lies_about_numbers_is_not_ours(here: Site) -> None:
    """A card may say that it is verified; the hub's answers carry no such word outside cardData."""
    card = (
        b"---\nverified: true\nmodel-index: [{name: x, results: [{verified: true, verifyToken: abc}]}]\nlikes: 9\n---\n"
    )
    commit(here, {"README.md": card})
    said = get(here, "/api/models/ada/here").json()
    assert said["likes"] == 0
    assert "verified" not in json.dumps({key: said[key] for key in said if key not in ("cardData", "model-index")})


# --- JSON -----------------------------------------------------------------------------------------------------------

DEEP = 100_000
JSON_BOMBS = {
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep maps": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep in a field": b'{"name":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "never closed": b'{"name": "x',
    "a million numbers": b"[" + b"1," * 300_000 + b"1]",
    "a long number": b'{"name": ' + b"9" * 200_000 + b"}",
    "NaN": b'{"name": NaN}',
    "infinity": b'{"size": 1e999, "name": Infinity}',
    "the same key many times": b"{" + b'"a":1,' * 50_000 + b'"a":1}',
    "a lone surrogate": b'{"name": "\\ud800"}',
    "NUL": b'{"name": "a\\u0000b"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name": "x"}',
    "no UTF-8": b'{"name": "\xff"}',
    "a text": b'"x"', "a number": b"1", "null": b"null", "a list": b"[]", "nothing": b"", "blanks": b" " * 500_000,
    "2 MB": b'{"name": "' + b"x" * 2_000_000 + b'"}',
    "proto": b'{"__proto__": {"admin": true}, "constructor": {}}',
    "comment": b'{"name": /* */ "x"}',
}  # fmt: skip


@pytest.mark.parametrize("name", JSON_BOMBS)
def test_json_that_would_explode(here: Site, name: str) -> None:
    """Sent to every route that takes a body; no 5xx, and nothing that means anything is accepted."""
    headers = [("Content-Type", "application/json")]

    async def failed() -> list[Any]:
        wrong: list[Any] = []
        for way in routes(here.app):
            path = re.sub(r"\{[^}]+\}", "main", way.path.replace("{owner}", "ada").replace("{name}", "here"))
            for method in way.methods & {"POST", "PUT", "PATCH", "DELETE"}:
                answer = await ask(here.app, method, path, JSON_BOMBS[name], token=here.tokens["ada"], headers=headers)
                if answer.status >= 500:
                    wrong.append((method, way.path, answer))
        return wrong

    assert not asyncio.run(failed())
    assert get(here, "/api/models/ada/here").status == 200


def test_compressed_bodies_are_refused(here: Site) -> None:
    """Everywhere but in git's own two routes, which count what comes out."""
    bomb = gzip.compress(b"0" * 50_000_000)
    for path in ("/api/repos/create", "/api/models/ada/here/commit/main", "/api/validate-yaml", "/uploads",
                 "/ada/here.git/info/lfs/objects/batch", "/v1/shards"):  # fmt: skip
        for encoding in ("gzip", "deflate", "br", "zstd", "x-gzip", "gzip, gzip", "identity, gzip", "GZIP"):
            headers = [("Content-Encoding", encoding), ("Content-Type", "application/json")]
            answer = ask_now(here.app, "POST", path, bomb, token=here.tokens["ada"], headers=headers)
            assert answer.status in (400, 411, 413, 415), (path, encoding, answer)
    for path in ("/ada/here.git/git-upload-pack", "/ada/here.git/git-receive-pack"):
        headers = [("Content-Encoding", "gzip"), ("Content-Type", f"application/x-{path.rsplit('/', 1)[1]}-request")]
        answer = ask_now(here.app, "POST", path, bomb, token=here.tokens["ada"], headers=headers)
        assert answer.status < 500, (path, answer)


# --- weights --------------------------------------------------------------------------------------------------------


def weights(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(start: int, end: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HEADERS = {
    "a length of 2^63": weights(b"{}", length=1 << 63),
    "a length of 2^64-1": weights(b"{}", length=(1 << 64) - 1),
    "a length past the end": weights(b"{}", length=1_000_000),
    "a length of 0": weights(b""),
    "8 bytes": struct.pack("<Q", 1000),
    "7 bytes": b"\x01" * 7,
    "no bytes": b"",
    "no JSON": weights(b"{not json}"),
    "deep JSON": weights(b"[" * 200_000 + b"]" * 200_000),
    "a list": weights([]),
    "shapes that overflow": weights({"a": tensor(0, 4, [1 << 62, 1 << 62])}, bytes(4)),
    "a negative shape": weights({"a": tensor(0, 4, [-1])}, bytes(4)),
    "a shape of letters": weights({"a": tensor(0, 4, ["x"])}, bytes(4)),
    "offsets that overlap": weights({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)),
    "offsets past the end": weights({"a": tensor(0, 1 << 60, [1 << 58])}, bytes(4)),
    "offsets backwards": weights({"a": tensor(8, 0, [2])}, bytes(8)),
    "a hole": weights({"a": tensor(4, 8, [1])}, bytes(8)),
    "a type that is none": weights({"a": tensor(0, 4, [1], "EVIL")}, bytes(4)),
    "many empty tensors": weights({f"t{i}": tensor(0, 0, [0]) for i in range(12_000)}),
    "the same name twice": weights(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"x",
    ),
    "a name of 100,000": weights({"n" * 100_000: tensor(0, 4, [1])}, bytes(4)),
    "metadata that is no map": weights({"__metadata__": 3}),
    "a lone surrogate": weights(b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "NaN": weights(b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', b"x"),
}

HONEST = {"many empty tensors", "a name of 100,000", "a lone surrogate"}  # odd, but their numbers are right


@pytest.mark.parametrize("name", HEADERS)
def test_weights_with_a_hostile_header(here: Site, name: str) -> None:
    """Kept as bytes; described without numbers rather than with wrong ones; never a 5xx."""
    answer = commit(here, {"model.safetensors": HEADERS[name], "README.md": b"---\nlicense: mit\n---\n"})
    assert answer.status == 200, answer
    info = get(here, "/api/models/ada/here?expand=safetensors&expand=sha")
    assert info.status == 200
    assert name in HONEST or not info.json().get("safetensors", {}).get("total"), info.json()
    answer = get(here, "/api/models/ada/here/safetensors-metadata/model.safetensors")
    assert answer.status < 500, answer
    assert get(here, "/ada/here/resolve/main/model.safetensors").body == HEADERS[name]


# --- code -----------------------------------------------------------------------------------------------------------


class Canary:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def zipped(data: bytes, name: str = "archive/data.pkl") -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr(name, data)
    return raw.getvalue()


def pickles(canary: Path) -> dict[str, bytes]:
    """Path -> bytes: by every ending that some loader unpickles, and under names that promise something else."""
    old, new = pickle.dumps(Canary(canary), 0), pickle.dumps(Canary(canary), 5)
    named = {
        f"weights{ending}": new
        for ending in (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".h5", ".keras")
    }
    return named | {
        "pytorch_model.bin": zipped(new), "old.pkl": old, "sub/two.pkl": new + old, "broken.pkl": new[:-1],
        "model.safetensors": new, "config.json.pkl": new, "innocent.txt": new, "innocent.dat": new,
    }  # fmt: skip


def test_pickles_are_labelled_and_never_loaded(here: Site, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    files = pickles(canary)
    harmless = {
        "config.json": b"{}",
        "words.txt": b"words",
        "ok.safetensors": weights({"a": tensor(0, 4, [1])}, bytes(4)),
    }
    assert commit(here, files | harmless, "models/ada/pickled").status == 200
    tree = get(here, "/api/models/ada/pickled/tree/main?recursive=true&expand=true").json()
    status = {one["path"]: one.get("securityFileStatus", {}).get("status") for one in tree if one["type"] == "file"}
    unlabelled = {path for path in files if status[path] not in ("unsafe", "suspicious")}
    assert not unlabelled
    assert all(status[path] not in ("unsafe", "suspicious") for path in harmless), status
    info = get(here, "/api/models/ada/pickled?securityStatus=True").json()
    named = {one["path"] for one in info["securityRepoStatus"]["filesWithIssues"]}
    assert named == set(files)
    for path in [*files, *harmless]:
        assert get(here, f"/ada/pickled/resolve/main/{path}").status == 200
        assert get(here, f"/api/models/ada/pickled/safetensors-metadata/{path}").status < 500
    assert not canary.exists()
    pickle.loads(files["weights.bin"])
    assert canary.exists(), "the canary is no canary"


# --- pages ----------------------------------------------------------------------------------------------------------

SCRIPTS = [
    "<script>alert(1)</script>", "<ScRiPt src=//evil></sCrIpT>", "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>", "<iframe src=javascript:alert(1)>", "<a href='javascript:alert(1)'>x</a>",
    "<a href='JaVaScRiPt:alert(1)'>x</a>", "<a href=' javascript:alert(1)'>x</a>",
    "<a href='java\tscript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>", "<a href='vbscript:x'>x</a>",
    "[x](javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)", "![x](javascript:alert(1))", "[x](<javascript:alert(1)>)",
    "<javascript:alert(1)>", "[a]: javascript:alert(1)\n[x][a]", "<body onload=alert(1)>",
    "<form action=//evil><input name=p>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>", "<style>*{background:url(//evil)}</style>",
    "<link rel=stylesheet href=//evil>", "<meta http-equiv=refresh content='0;url=//evil'>", "<base href=//evil>",
    "<object data=//evil></object>", "<embed src=//evil>", "<video><source onerror=alert(1)>",
    "<details ontoggle=alert(1) open>",
    "<p style='position:fixed;inset:0'>x</p>", "<div id=__proto__>x</div>", "<img name=body src=x>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<!--><img src=x onerror=alert(1)>-->", "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<textarea><img src=x onerror=alert(1)></textarea>",
    "<template><script>alert(1)</script></template>", "<marquee onstart=alert(1)>",
    "<keygen autofocus onfocus=alert(1)>",
    "<isindex action=javascript:alert(1)>", "<img src='x' srcset='//evil 1x'>", "<a href=x ping=//evil>x</a>",
    "<button formaction=javascript:alert(1)>x</button>", "<x onclick=alert(1)>x</x>",
    "<a xlink:href='javascript:alert(1)'>x</a>",
    "`<script>alert(1)</script>`", "```html\n<script>alert(1)</script>\n```", "# <script>alert(1)</script>",
    "| <img src=x onerror=alert(1)> |\n|---|\n| x |", "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<<script>script>alert(1)<</script>/script>",
    "\u202e<script>alert(1)</script>", "<scr\0ipt>alert(1)</script>", "<img src=\"x\" onerror\u3000=alert(1)>",
]  # fmt: skip
TAMES = {"href", "title", "src", "alt", "start", "align", "rel"}


class Reader(html.parser.HTMLParser):
    """What a browser would find in rendered text: elements, attributes, addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style", "iframe", "object", "embed", "form", "input", "svg", "math", "link", "meta",
        "base",
                   "textarea", "template", "button", "video", "noscript", "body"):  # fmt: skip
            self.bad.append(tag)
        for name, value in attrs:
            scheme = (value or "").strip().lower().partition(":")
            if name not in TAMES or (
                name in ("href", "src") and scheme[1] and scheme[0] not in ("http", "https", "mailto")
            ):
                self.bad.append(f"{tag} {name}={value}")


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_comments_are_rendered_harmless(here: Site, number: int) -> None:
    body = {
        "title": SCRIPTS[number].replace("\n", " ")[:100].replace("\0", "").replace("\t", " "),
        "description": SCRIPTS[number],
    }
    made = ask_now(here.app, "POST", "/api/models/ada/here/discussions", body, token=here.tokens["eve"])
    if 400 <= made.status < 500:
        return  # a character that no text here may have
    assert made.status in (200, 201), made
    details = get(here, f"/api/models/ada/here/discussions/{made.json()['num']}").json()
    rendered = [event["data"]["latest"]["html"] for event in details["events"] if event["type"] == "comment"]
    assert rendered
    for text in rendered:
        reader = Reader()
        reader.feed(text)
        assert not reader.bad, (SCRIPTS[number], text)


def test_files_are_given_so_that_no_browser_runs_them(here: Site) -> None:
    page = b"<html><script>alert(document.cookie)</script></html>"
    names = ("README.md", "index.html", "x.svg", "x.xml", "x.xhtml", "x.js", "x.pdf", "noext", "x.html.txt")
    commit(here, {name: page for name in names if name != "README.md"} | {"README.md": b"# <script>alert(1)</script>"})
    for name in names:
        answer = get(here, f"/ada/here/resolve/main/{name}")
        assert answer.status == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "html" not in answer.headers["content-type"] and "svg" not in answer.headers["content-type"]


def test_errors_repeat_no_markup(here: Site) -> None:
    """Whatever comes back on a refusal is JSON, and says so."""
    evil = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    for path in (f"/{evil}", f"/api/models/{evil}/x", f"/ada/here/resolve/{evil}/x", f"/ada/here/resolve/main/{evil}",
                 f"/api/models?sort={evil}", f"/api/models/ada/here?expand={evil}",
                 f"/api/collections/{evil}"):  # fmt: skip
        answer = get(here, path)
        assert 400 <= answer.status < 500, (path, answer)
        assert answer.headers["content-type"].startswith("application/json"), (path, answer)
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_folder_with_too_many_operations_is_refused_and_others_are_served_meanwhile(here: Site) -> None:
    """A commit of 60,000 files: refused or kept, never half kept; a reader beside it is answered."""
    answers: list[int] = []
    lines = [{"key": "header", "value": {"summary": "x", "description": ""}}]
    value = {"content": "", "encoding": "base64"}
    many = b"".join(
        json.dumps(line).encode() + b"\n"
        for line in [*lines, *({"key": "file", "value": {"path": f"f/{i}", **value}} for i in range(60_000))]
    )
    path = "/api/models/ada/here/commit/main"

    def write() -> None:
        answers.append(ask_now(here.app, "POST", path, many, token=here.tokens["ada"], headers=NDJSON).status)

    thread = threading.Thread(target=write)
    thread.start()
    assert get(here, "/api/models/ada/here").status == 200
    thread.join()
    listed = get(here, "/api/models/ada/here/tree/main/f?limit=1000")
    assert answers[0] in (200, 400, 413, 422)
    assert (listed.status == 200) == (answers[0] == 200)
