"""files from the hub at HF_ENDPOINT, through the client everybody has. Scripts and pickles are never even fetched."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelcommons.errors import NotFound, UnsafeFile
from modelcommons.formats.cache import cache_folder, replacing
from modelcommons.workbench.sources import about, listing
from modelcommons.workbench.task import Source

ABOUT = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE")
# all files of a repository, and the folder with its card -> the files that are wanted
Choose = Callable[[Sequence[str], Path], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The wanted files of a repository at one commit, on this machine."""

    folder: Path
    commit: str
    paths: tuple[str, ...]


def find_data(name: str, revision: str | None = None) -> Source:
    """A hub data set: its Parquet, CSV, JSON Lines or picture files, chosen as `datasets` would.

    Raises:
        NotFound: there is none of this name, or the hub cannot be reached and nothing is cached.
        UnsafeFile: it consists of a script; that is never executed.
    """
    kept = snapshot(name, revision, "dataset", lambda paths, folder: tuple(_choose_data(name, paths, folder)))
    chosen = listing.choose(kept.paths, about.front_matter(kept.folder))
    files, sha256 = listing.digested(kept.folder, chosen, name)
    home = f"{_endpoint()}/datasets/{name}"
    return Source(name, kept.folder, files, sha256, kept.commit, about.read(kept.folder).licence, home)


def _choose_data(name: str, paths: Sequence[str], folder: Path) -> listing.Chosen:
    chosen = listing.choose(paths, about.front_matter(folder))
    if not chosen and any(path.endswith(".py") for path in paths):
        raise UnsafeFile(f"{name} is a script that makes data; scripts are never executed. Name its Parquet files.")
    return chosen


def snapshot(name: str, revision: str | None, kind: Literal["model", "dataset"], choose: Choose) -> Snapshot:
    """Fetches what `choose` wants of a repository (and its card and licence), the revision pinned to its commit.

    Without a connection, what was chosen when it was last fetched is used, if all of it is still in the cache.

    Raises:
        NotFound: no such repository or revision; or it cannot be reached, and is not in the cache.
    """
    from huggingface_hub import HfApi, errors

    try:
        api = HfApi(endpoint=_endpoint())
        found = (api.model_info if kind == "model" else api.dataset_info)(name, revision=revision)
        commit, paths = str(found.sha), [file.rfilename for file in found.siblings or ()]
    except errors.RevisionNotFoundError:
        raise NotFound(f"{name} has no revision '{revision}'. Look at its branches and tags.") from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise NotFound(
            f"There is no {kind} '{name}' at {_endpoint()} (or you may not see it), and no such file here. "
            "Check the name; for a private one, log in: hf auth login."
        ) from None
    except (_transport_error(), OSError) as error:
        return _cached(name, revision, kind, error)
    wanted = tuple(choose(paths, _download(name, commit, kind, ())))
    kept = Snapshot(_download(name, commit, kind, wanted), commit, wanted)
    _remember(name, revision, kind, kept)
    return kept


def models(tags: Sequence[str], search: str, pipeline_tags: Sequence[str | None]) -> Iterator[Any]:
    """Models of the hub that have all these tags, the most downloaded of each pipeline tag first, as the client's
    `ModelInfo`; only as many are asked for as are taken.

    Raises:
        NotFound: the hub cannot be reached.
    """
    from huggingface_hub import HfApi, errors

    api = HfApi(endpoint=_endpoint())
    try:
        for pipeline_tag in pipeline_tags:
            yield from api.list_models(
                filter=list(tags), search=search or None, pipeline_tag=pipeline_tag, sort="downloads",
                expand=["cardData", "downloads", "pipeline_tag", "safetensors", "sha", "tags"],
            )  # fmt: skip
    except (errors.HfHubHTTPError, _transport_error(), OSError) as error:
        raise NotFound(
            f"Expected a list of models from {_endpoint()}, it cannot be had ({type(error).__name__}). "
            "Set HF_ENDPOINT, or look in folders only: --in FOLDER --no-hub."
        ) from None


def fetch(name: str, commit: str, paths: Sequence[str]) -> Path:
    """The folder with some small files of a model at one commit; what is not there is left out.

    Raises:
        NotFound: the hub cannot be reached, or they may not be seen.
    """
    from huggingface_hub import errors

    try:
        return _download(name, commit, "model", paths)
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, _transport_error(), OSError) as error:
        raise NotFound(f"Expected files of {name} from {_endpoint()}, got {type(error).__name__}. Try again.") from None


def _download(name: str, commit: str, kind: str, paths: Sequence[str], local: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    # it warns where a repository has neither card nor licence; that is said in our own words
    logging.getLogger("huggingface_hub._snapshot_download").setLevel(logging.ERROR)
    patterns = [*(glob.escape(path) for path in paths), *ABOUT]
    return Path(
        snapshot_download(
            name,
            repo_type=kind,
            revision=commit,
            allow_patterns=patterns,
            endpoint=_endpoint(),
            local_files_only=local,
        )
    )


def _record(name: str, revision: str | None, kind: str) -> Path:
    """Where we noted what was fetched under this name."""
    key = "\0".join((_endpoint(), kind, name, revision or ""))
    return cache_folder("hub") / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _remember(name: str, revision: str | None, kind: str, kept: Snapshot) -> None:
    for asked in {revision, kept.commit}:
        with replacing(_record(name, asked, kind)) as part:
            part.write_text(json.dumps({"commit": kept.commit, "paths": kept.paths}), encoding="utf-8")


def _cached(name: str, revision: str | None, kind: str, error: Exception) -> Snapshot:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        noted: dict[str, Any] = json.loads(_record(name, revision, kind).read_text(encoding="utf-8"))
        folder = _download(name, noted["commit"], kind, noted["paths"], local=True)
    except (FileNotFoundError, LocalEntryNotFoundError):
        raise NotFound(
            f"Expected the {kind} '{name}': no such folder is here, it is not in the cache, and {_endpoint()} cannot "
            f"be reached ({type(error).__name__}). Connect once, or name a folder."
        ) from None
    return Snapshot(folder, noted["commit"], tuple(noted["paths"]))


def _transport_error() -> type[Exception]:
    """What the client raises when a hub cannot be reached: of httpx or httpx2, whichever this version stands on."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0]


def _endpoint() -> str:
    """Where the hub is; read when asked, so that it can be set after the client was imported."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
