"""history: commits, trees and small files as real git objects in SQL; branches move by compare-and-swap."""

from modelcommons.hub.history.diff import Change, changes, diff
from modelcommons.hub.history.merge import Merged, conflicts, merge
from modelcommons.hub.history.objects import Blob, Commit, Pointer, commit, content
from modelcommons.hub.history.refs import MAIN, Ref, all_refs, lock, move_ref, ref, resolve
from modelcommons.hub.history.trees import Node, Weight, entry, listing, weigh
from modelcommons.hub.history.walk import is_ancestor, last_commits, log, merge_base
from modelcommons.hub.history.writing import (
    Add,
    Delete,
    DeleteFolder,
    Operation,
    initial_commit,
    merge_commit,
    write_commit,
)

__all__ = [
    "MAIN",
    "Add",
    "Blob",
    "Change",
    "Commit",
    "Delete",
    "DeleteFolder",
    "Merged",
    "Node",
    "Operation",
    "Pointer",
    "Ref",
    "Weight",
    "all_refs",
    "changes",
    "commit",
    "conflicts",
    "content",
    "diff",
    "entry",
    "initial_commit",
    "is_ancestor",
    "last_commits",
    "listing",
    "lock",
    "log",
    "merge",
    "merge_base",
    "merge_commit",
    "move_ref",
    "ref",
    "resolve",
    "weigh",
    "write_commit",
]
