"""intake: what a push brings is looked at before it comes in: complete, canonical, and nothing in it leads out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection

from modelcommons.errors import HubError, Unprocessable
from modelcommons.hub import names
from modelcommons.hub.history import objects, writing
from modelcommons.hub.history.objects import BLOB, COMMIT, FILE, FOLDER, LINK, PROGRAM, TAG, TREE, Entry, Pointer
from modelcommons.hub.history.quarantine import Quarantine

MAX_LINK = 1024  # bytes of a symbolic link's target


class Shape(NamedTuple):
    """What must be known of a tree wherever it may hang."""

    num_files: int
    depth: int  # parts of the longest path in it
    length: int  # bytes of the longest path in it
    up: int  # how many folders above itself its links lead


@dataclass(slots=True)
class Intake:
    """The state of one check; `named` and `pointers` are what is left to ask of the database."""

    connection: Connection
    repo_id: int
    quarantine: Quarantine
    too_large: Mapping[str, int]  # id -> bytes, of files that were not kept
    named: dict[str, int] = field(default_factory=dict)  # objects that must be in the repository already -> type
    pointers: dict[Pointer, None] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def run(self) -> None:
        """Raises: Unprocessable: something in it cannot be; the words are for the person who pushes."""
        trees: list[str] = []
        roots: dict[str, None] = {}
        for oid, place in self.quarantine.places.items():
            data = self.quarantine.read(oid)
            match place.type:
                case objects.COMMIT:
                    roots[self._commit(oid, data)] = None
                case objects.TREE:
                    self._tree(oid, data)
                    trees.append(oid)
                case objects.TAG:
                    self._tag(oid, data)
                case objects.BLOB:
                    if lfs := objects.pointer(data):
                        self.pointers[lfs] = None
        missing(self.connection, self.repo_id, self.named)
        for oid in trees:
            self._shape(oid, 0)
        for oid in roots:
            if self._shape(oid, 0).up > 0:
                raise Unprocessable("A symbolic link leads out of the repository. Links may only lead to files in it.")

    def _need(self, oid: str, kind: int) -> None:
        place = self.quarantine.places.get(oid)
        if place is None:
            self.named[oid] = kind
        elif place.type != kind:
            raise Unprocessable(f"{oid} should be a {objects.WORDS[kind].decode()}, and is something else.")

    def _commit(self, oid: str, data: bytes) -> str:
        try:
            commit = objects.read_commit(oid, data)
        except ValueError as error:
            raise Unprocessable(f"{oid}: {error}.") from None
        lines = data.partition(b"\n\n")[0].split(b"\n")
        if b"\0" in data or sum(line.startswith(b"author ") for line in lines) != 1 or not commit.date:
            raise Unprocessable(f"The commit {oid} has no author, no time, or a zero byte in it.")
        if data.count(b"\ntree ", 0, data.find(b"\n\n")):
            raise Unprocessable(f"The commit {oid} has two trees.")
        self._need(commit.tree, TREE)
        for parent in commit.parents:
            self._need(parent, COMMIT)
        return commit.tree

    def _tag(self, oid: str, data: bytes) -> None:
        try:
            target, kind = objects.read_tag(data)
        except ValueError as error:
            raise Unprocessable(f"{oid}: {error}.") from None
        if kind not in (COMMIT, TAG):
            raise Unprocessable(f"The tag {oid} should be on a commit.")
        self._need(target, kind)

    def _tree(self, oid: str, data: bytes) -> None:
        try:
            entries = objects.read_tree(data)
        except ValueError:
            raise Unprocessable(f"The folder {oid} is damaged, or has a name that is not UTF-8.") from None
        if objects.tree_bytes(entries) != data:
            raise Unprocessable(f"The folder {oid} is not in git's order, or has a name twice.")
        for name, one in entries.items():
            try:
                names.path(name)
            except HubError as error:
                raise Unprocessable(f"{error}") from None
            if "/" in name:
                raise Unprocessable(f"{name[:100]!r} cannot be the name of one file.")
            match one.mode:
                case objects.FOLDER:
                    self._need(one.oid, TREE)
                case objects.FILE | objects.PROGRAM | objects.LINK:
                    self._file(name, one)
                case objects.MODULE:
                    raise Unprocessable(f"'{name}' is a submodule. The hub keeps files only: add them themselves.")
                case _:
                    raise Unprocessable(f"'{name}' has the mode {one.mode:o}; expected {FILE:o} or {PROGRAM:o}.")
        writing.check_names(entries, "")

    def _file(self, name: str, one: Entry) -> None:
        if size := self.too_large.get(one.oid):
            raise Unprocessable(
                f"'{name}' has {size:,} bytes. Files over 10 MiB go by git-lfs: "
                f"git lfs migrate import --include='{name}'"
            )
        self._need(one.oid, BLOB)

    def _shape(self, oid: str, above: int) -> Shape:
        """Measured once for each tree, wherever it hangs: a tree can be in itself a thousandfold."""
        if (found := self.shapes.get(oid)) is not None:
            return found
        if above > names.MAX_DEPTH:
            raise Unprocessable(f"Expected folders at most {names.MAX_DEPTH} deep.")
        num_files = depth = length = up = 0
        for name, one in self._entries(oid).items():
            if one.mode == FOLDER:
                below = self._shape(one.oid, above + 1)
                if not below.num_files:
                    raise Unprocessable(f"The folder '{name}' has nothing in it; git keeps no empty folders.")
            else:
                below = Shape(1, 0, -1, self._link(name, one) + 1 if one.mode == LINK else 0)
            num_files += below.num_files
            depth = max(depth, below.depth + 1)
            length = max(length, len(name.encode()) + 1 + below.length)
            up = max(up, below.up - 1)
        if num_files > writing.MAX_FILES:
            raise Unprocessable(f"Expected at most {writing.MAX_FILES:,} files, got {num_files:,}. Pack some together.")
        if depth > names.MAX_DEPTH or length > names.MAX_PATH:
            raise Unprocessable(f"Expected paths of at most {names.MAX_DEPTH} parts and {names.MAX_PATH} bytes.")
        self.shapes[oid] = Shape(num_files, depth, length, up)
        return self.shapes[oid]

    def _entries(self, oid: str) -> dict[str, Entry]:
        if oid in self.quarantine.places:
            return objects.read_tree(self.quarantine.read(oid))
        return objects.tree(self.connection, self.repo_id, oid)

    def _link(self, name: str, one: Entry) -> int:
        """How many folders up a symbolic link leads before it goes down again; it may not go up later."""
        if one.oid in self.quarantine.places:
            data = self.quarantine.read(one.oid)
        else:
            data = objects.content(self.connection, self.repo_id, one.oid)
        target = data.decode(errors="replace")
        rest = target.removesuffix("/")
        up = 0
        while rest == ".." or rest.startswith("../"):
            rest = rest[3:]
            up += 1
        try:
            if len(data) > MAX_LINK or (not rest and not up):
                raise Unprocessable("too long, or empty")
            names.folder(rest)
        except HubError:
            raise Unprocessable(
                f"'{name}' is a symbolic link to {target[:80]!r}. Links may only lead to files of the repository."
            ) from None
        return up


def missing(connection: Connection, repo_id: int, named: Mapping[str, int]) -> None:
    """Raises: Unprocessable: the repository lacks one of these objects, or it is of another type."""
    here = objects.types(connection, repo_id, named)
    for oid, kind in named.items():
        if here.get(oid) != kind:
            raise Unprocessable(f"The push names the {objects.WORDS[kind].decode()} {oid}, and does not bring it.")


def check_pointers(pointers: Iterable[Pointer], sizes: Mapping[str, int]) -> None:
    """Raises: Unprocessable: a pointer names bytes that this repository was never sent."""
    for one in pointers:
        if sizes.get(one.sha256) != one.size:
            raise Unprocessable(
                f"The large file {one.sha256} is not here yet. Send it first: git lfs push --all origin <branch>"
            )
