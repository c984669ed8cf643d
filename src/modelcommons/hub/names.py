"""names: the one gate for what strangers call things: ids, paths, revisions. It refuses; it never repairs."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args

from modelcommons.errors import Unprocessable

Kind = Literal["model", "dataset", "space"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_NAME = 96  # characters of an owner or of a repository's name
MAX_PATH = 512  # bytes of a path
MAX_PART = 255  # bytes of one part of a path
MAX_DEPTH = 32  # parts of a path
MAX_REF = 128  # characters of a branch or tag

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
OID = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
REF_PART = re.compile(r"[A-Za-z0-9_+@=,-](?:[A-Za-z0-9._+@=,-]*[A-Za-z0-9_+@=,-])?")
PULL = re.compile(r"refs/pr/([1-9][0-9]{0,8})")

# names that would stand where the hub's own pages and routes stand
RESERVED = frozenset({
    "api", "admin", "auth", "collections", "datasets", "docs", "health", "help", "hub", "join", "kernels", "login",
    "logout", "metrics", "models", "new", "oauth", "organizations", "papers", "robots.txt", "favicon.ico", "search",
    "settings", "spaces", "static", "tokens", "uploads", "users", "v1", "v2", "xet", "webhooks", "well-known",
})  # fmt: skip
# names that Windows gives to devices, whatever their ending
DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
# what HFS+ and NTFS would take for .git
GIT = re.compile(r"(?:\.git|git~[0-9]+)[ .]*(?::.*)?", re.IGNORECASE)
# characters without a picture, or that turn the direction of writing; HFS+ ignores some of them in file names
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, slots=True, order=True)
class RepoId:
    """A repository by its name; whether there is one, and who may know, is another question."""

    kind: Kind
    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def route(self) -> str:
        """Where it lies on the wire: `ada/news`, `datasets/ada/news`."""
        return str(self) if self.kind == "model" else f"{self.kind}s/{self}"


def repo_id(kind: Kind, owner: str, name: str) -> RepoId:
    """Raises: Unprocessable: one of the two is no name."""
    return RepoId(kind, account(owner), repo_name(name))


def account(text: str) -> str:
    """The name of a user or an organisation: letters and digits with single `-`, `_` or `.` between."""
    name = _name(text, "a name of a user or organisation")
    if name.lower() in RESERVED:
        raise Unprocessable(f"'{name}' is a name that the hub uses itself. Choose another.")
    return name


def repo_name(text: str) -> str:
    """The name of a repository, without its owner; never one that ends like a git address."""
    name = _name(text, "a repository name")
    if name.lower().endswith((".git", ".ipynb")):
        raise Unprocessable(f"Expected a repository name that does not end in .git or .ipynb, got '{name}'.")
    return name


def _name(text: str, what: str) -> str:
    if len(text) > MAX_NAME or not NAME.fullmatch(text) or "--" in text or ".." in text:
        raise Unprocessable(
            f"Expected {what}: at most {MAX_NAME} letters, digits, '-', '_' and '.', neither '--' nor '..', "
            f"a letter or digit first and last; got {text[:100]!r}."
        )
    if DEVICES.fullmatch(text):
        raise Unprocessable(f"'{text[:100]}' is the name of a device on Windows. Choose another.")
    return text


def key(name: str) -> str:
    """Names that differ only in case, or in which of `-`, `_` and `.` they use, are one name."""
    return name.lower().replace("_", "-").replace(".", "-")


def path(text: str) -> str:
    """The path of a file or folder in a repository: relative, forward slashes, in the form NFC.

    Raises:
        Unprocessable: it leads out, hides something, or some system would take it for another.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_PATH:
        raise Unprocessable(f"Expected a path of at most {MAX_PATH} bytes, got one that begins {text[:40]!r}.")
    parts = text.split("/")
    if len(parts) > MAX_DEPTH:
        raise Unprocessable(f"Expected a path of at most {MAX_DEPTH} parts, got {len(parts)}.")
    for part in parts:
        if reason := _wrong(part):
            raise Unprocessable(f"{text[:200]!r} cannot be a path in a repository: {reason}.")
    return text


def folder(text: str) -> str:
    """As `path`, but the root, the empty text, is one too; a slash at the end is allowed, and is not part of it."""
    bare = text.removesuffix("/")
    return path(bare) if bare else ""


def _wrong(part: str) -> str:
    """What is wrong with one part of a path; nothing where nothing is."""
    if part in ("", ".", ".."):
        return "it has an empty part, '.' or '..'"
    if len(part.encode(errors="surrogatepass")) > MAX_PART:
        return f"a part of it is longer than {MAX_PART} bytes"
    if any(char in '\\:*?"<>|' for char in part):
        return 'it has one of \\ : * ? " < > |'
    if any(unicodedata.category(char) in INVISIBLE for char in part):
        return "it has a character that cannot be seen"
    if unicodedata.normalize("NFC", part) != part:
        return "it is not in the Unicode form NFC"
    if part[-1] in " ." or part[0] == " ":
        return "a part begins with a blank, or ends with a blank or a dot"
    if GIT.fullmatch(part):
        return "git keeps its own files under such a name"
    if DEVICES.fullmatch(part):
        return "a part of it is the name of a device on Windows"
    return ""


def twin(text: str) -> str:
    """Two paths with the same twin would be one file on systems that do not tell case apart."""
    return unicodedata.normalize("NFC", text.casefold())


def ref_name(text: str) -> str:
    """The short name of a branch or tag: `main`, `fix/labels`.

    Raises:
        Unprocessable: git would refuse it, or it could be taken for a commit or for one of the hub's own refs.
    """
    parts = text.split("/")
    refused = (
        len(text) > MAX_REF
        or not all(REF_PART.fullmatch(part) and ".." not in part and not part.endswith(".lock") for part in parts)
        or "@{" in text
        or text == "@"
        or parts[0] == "refs"
        or text.startswith("-")  # git would take it for an option
        or any(DEVICES.fullmatch(part) for part in parts)  # git keeps a ref as a file, on Windows too
        or text.upper() == "HEAD"
        or OID.fullmatch(text)
    )
    if refused:
        raise Unprocessable(f"Expected the name of a branch or tag, such as 'main', got {text[:100]!r}.")
    return text


def revision(text: str) -> str:
    """What can stand for a commit: a commit id, a branch, a tag, `refs/heads/..`, `refs/tags/..` or `refs/pr/N`."""
    if OID.fullmatch(text) or PULL.fullmatch(text):
        return text
    for prefix in ("refs/heads/", "refs/tags/"):
        if text.startswith(prefix):
            return prefix + ref_name(text.removeprefix(prefix))
    return ref_name(text)


def line(text: str, what: str, low: int, high: int) -> str:
    """A title or another short text of one line, without the blanks around it.

    Raises:
        Unprocessable: it is too short or too long, or has a character that cannot be seen.
    """
    bare = text.strip()
    # the joiner makes one picture of several
    hidden = any(unicodedata.category(char) in INVISIBLE and char != "\u200d" for char in bare)
    if hidden or not low <= len(bare) <= high:
        raise Unprocessable(f"Expected {what} of {low} to {high} visible characters, got {bare[:80]!r}.")
    return bare


def prose(text: str, what: str, low: int, high: int) -> str:
    """A text of any number of lines, as it is.

    Raises:
        Unprocessable: it is too short or too long, or has a control character that no text has.
    """
    if not low <= len(text) <= high or (not text.strip() and low):
        raise Unprocessable(f"Expected {what} of {low} to {high:,} characters, got {len(text):,}.")
    # databases refuse some of these, and no text needs any
    if any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\r\t" for char in text):
        raise Unprocessable(f"Expected {what} without control characters.")
    return text


def sha256(text: str) -> str:
    """64 hexadecimal digits, small letters."""
    if not SHA256.fullmatch(text):
        raise Unprocessable(f"Expected a SHA-256 of 64 hexadecimal digits, got {text[:100]!r}.")
    return text
