"""writing: operations on a commit make the next one; only the folders that change are read and written."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from modelcommons.errors import EntryNotFound, Unprocessable
from modelcommons.hub import names
from modelcommons.hub.history import objects, refs, trees
from modelcommons.hub.history.objects import BLOB, COMMIT, FILE, FOLDER, LINK, TREE, Blob, Entry, Packed, Pointer
from modelcommons.hub.names import Kind

MAX_ENTRIES = 10_000  # of one folder
MAX_FILES = 100_000  # of one repository


@dataclass(frozen=True, slots=True)
class Add:
    """A file with these bytes, or the large file that a pointer names; it takes the place of a file already there."""

    path: str
    data: bytes | Pointer | Blob


@dataclass(frozen=True, slots=True)
class Delete:
    path: str


@dataclass(frozen=True, slots=True)
class DeleteFolder:
    path: str


Operation = Add | Delete | DeleteFolder


@dataclass(slots=True)
class Folder:
    """A folder that is being changed; the folders in it stay as they are until an operation reaches into them."""

    entries: dict[str, Entry | Folder] = field(default_factory=dict)
    grew: bool = False  # it has a name that it had not

    def is_empty(self) -> bool:
        """Whether no file is left in it: for git it is not there then."""
        return all(isinstance(one, Folder) and one.is_empty() for one in self.entries.values())


@dataclass(slots=True)
class Draft:
    """A tree that is being changed: what it will be, and the rows that it needs."""

    connection: Connection
    repo_id: int
    root: Folder
    new: list[Packed] = field(default_factory=list)

    def add(self, path: str, data: bytes | Pointer | Blob) -> None:
        *folders, name = names.path(path).split("/")
        at = self.root
        for depth, part in enumerate(folders, 1):
            below = at.entries.get(part)
            if below is None:
                below = at.entries[part] = Folder()
                at.grew = True
            elif isinstance(below, Entry) and below.mode != FOLDER:
                raise Unprocessable(
                    f"'{'/'.join(folders[:depth])}' is a file, so '{path}' cannot be in it. Delete the file first."
                )
            at = self._opened(at, part)
        old = at.entries.get(name)
        if isinstance(old, Folder) and old.is_empty():
            old = None
        if isinstance(old, Folder) or (old is not None and old.mode == FOLDER):
            raise Unprocessable(f"'{path}' is a folder, so no file can be there. Delete the folder first.")
        mode = FILE if old is None or old.mode == LINK else old.mode
        at.entries[name] = Entry(mode, self._blob(data))
        at.grew = at.grew or old is None

    def delete(self, path: str) -> None:
        folder, name = self._reach(path)
        found = folder.entries.get(name) if folder else None
        if folder is None or not isinstance(found, Entry) or found.mode == FOLDER:
            raise EntryNotFound(f"A file with this name doesn't exist: {path}")
        del folder.entries[name]

    def delete_folder(self, path: str) -> None:
        folder, name = self._reach(path.removesuffix("/"))
        found = folder.entries.get(name) if folder else None
        is_folder = not found.is_empty() if isinstance(found, Folder) else found is not None and found.mode == FOLDER
        if folder is None or not is_folder:
            raise EntryNotFound(f"A folder with this name doesn't exist: {path}")
        del folder.entries[name]

    def _reach(self, path: str) -> tuple[Folder | None, str]:
        """The folder that holds a path, opened for a change, and the name in it; None where there is no folder."""
        *folders, name = names.path(path).split("/")
        at = self.root
        for part in folders:
            below = at.entries.get(part)
            if below is None or (isinstance(below, Entry) and below.mode != FOLDER):
                return None, name
            at = self._opened(at, part)
        return at, name

    def _opened(self, at: Folder, part: str) -> Folder:
        below = at.entries[part]
        if isinstance(below, Entry):
            below = at.entries[part] = Folder(dict(objects.tree(self.connection, self.repo_id, below.oid)))
        return below

    def _blob(self, data: bytes | Pointer | Blob) -> str:
        if isinstance(data, Blob):
            return data.oid
        packed = objects.pack(BLOB, data.data() if isinstance(data, Pointer) else data)
        self.new.append(packed)
        return packed.oid

    def close(self, folder: Folder, path: str = "") -> tuple[dict[str, Entry], int]:
        """Settles a folder and all below it: its entries, and how many files it has. Folders without files go.

        Raises:
            Unprocessable: two names would be one on some systems, or there are too many.
        """
        entries: dict[str, Entry] = {}
        num_files = 0
        for name, one in folder.entries.items():
            if isinstance(one, Folder):
                below, num_below = self.close(one, f"{path}{name}/")
                if not below:
                    continue
                entries[name] = Entry(FOLDER, self._tree(below))
                num_files += num_below
            else:
                entries[name] = one
                num_files += trees.count(self.connection, self.repo_id, one.oid) if one.mode == FOLDER else 1
        if folder.grew:
            check_names(entries, path)
        return entries, num_files

    def _tree(self, entries: dict[str, Entry]) -> str:
        packed = objects.pack(TREE, objects.tree_bytes(entries))
        self.new.append(packed)
        objects.remember_tree(self.connection, self.repo_id, packed.oid, objects.in_order(entries))
        return packed.oid


def check_names(entries: Mapping[str, Entry], path: str) -> None:
    """Raises: Unprocessable: a folder has too many names, or two that are twins."""
    if len(entries) > MAX_ENTRIES:
        raise Unprocessable(
            f"'{path or '/'}' would have {len(entries):,} entries; a folder has at most {MAX_ENTRIES:,}. "
            "Spread the files over several folders."
        )
    seen: dict[str, str] = {}
    for name in entries:
        if (other := seen.setdefault(twin(name), name)) != name:
            raise Unprocessable(
                f"'{path}{other}' and '{path}{name}' differ in a way that some systems do not see. Rename one of them."
            )


def twin(name: str) -> str:
    """`names.twin`, and quick for the many names that are plain ASCII."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", names.twin(name))


def draft(connection: Connection, repo_id: int, tree: str | None) -> Draft:
    """A tree to be changed; None begins with an empty one."""
    return Draft(connection, repo_id, Folder(dict(objects.tree(connection, repo_id, tree)) if tree else {}))


def finish(made: Draft, now: float) -> str:
    """Writes what a draft has new, and says its tree.

    Raises:
        Unprocessable: names clash, or there are too many files.
    """
    entries, num_files = made.close(made.root)
    if num_files > MAX_FILES:
        raise Unprocessable(
            f"The repository would have {num_files:,} files; the hub keeps at most {MAX_FILES:,}. Pack some together."
        )
    tree = made._tree(entries)
    objects.put(made.connection, made.repo_id, made.new, now)
    return tree


def write_commit(
    connection: Connection,
    repo_id: int,
    parent: str | None,
    operations: Iterable[Operation],
    *,
    author: str,
    email: str,
    message: str,
    date: float,
) -> str:
    """Applies the operations in order to `parent`, and writes the commit; moves no ref.

    Returns: its id; that of `parent` where nothing changes.

    Raises:
        EntryNotFound: a file or folder to delete is not there.
        Unprocessable: a path cannot be, a file stands where a folder should, two names are twins, or it is too much.
    """
    before = objects.commit(connection, repo_id, parent).tree if parent else None
    made = draft(connection, repo_id, before)
    for one in operations:
        match one:
            case Add(path, data):
                made.add(path, data)
            case Delete(path):
                made.delete(path)
            case DeleteFolder(path):
                made.delete_folder(path)
    tree = finish(made, date)
    if parent and tree == before:
        return parent
    parents = [parent] if parent else []
    return merge_commit(connection, repo_id, tree, parents, author=author, email=email, message=message, date=date)


def merge_commit(
    connection: Connection,
    repo_id: int,
    tree: str,
    parents: Iterable[str],
    *,
    author: str,
    email: str,
    message: str,
    date: float,
) -> str:
    """Writes a commit of a tree that is there, with any number of parents."""
    data = objects.commit_bytes(tree, list(parents), author=author, email=email, message=message, date=date)
    packed = objects.pack(COMMIT, data)
    objects.put(connection, repo_id, [packed], date)
    return packed.oid


# --- the first commit -----------------------------------------------------------------------------------------------

# what the Hugging Face Hub puts into a new repository
LFS = (  # patterns, with blanks between
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx "
    "*.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz "
    "*.wasm *.xz *.zip *.zst *tfevents*"
)
LFS_DATASET = (
    "*.lz4 *.mds *.pcm *.sam *.raw *.aac *.flac *.mp3 *.ogg *.wav *.bmp *.gif *.png *.tiff *.jpg *.jpeg *.webp "
    "*.mp4 *.webm"
)
SPACE_CARD = "---\ntitle: {title}\nsdk: {sdk}\n---\n"


def initial_commit(
    connection: Connection,
    repo_id: int,
    kind: Kind,
    now: float,
    *,
    author: str = "system",
    email: str = "system@users.noreply.localhost",
    title: str = "A space",
    sdk: str = "static",
) -> str:
    """'initial commit' on main of a new repository: .gitattributes, and for a space its README.md."""
    patterns = LFS.split() + (LFS_DATASET.split() if kind == "dataset" else [])
    lines = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in patterns)
    operations: list[Operation] = [Add(".gitattributes", lines.encode())]
    if kind == "space":
        operations.append(Add("README.md", SPACE_CARD.format(title=title, sdk=sdk).encode()))
    oid = write_commit(
        connection, repo_id, None, operations, author=author, email=email, message="initial commit", date=now
    )
    assert refs.move_ref(connection, repo_id, refs.MAIN, None, oid), "a new repository has no main"
    return oid
