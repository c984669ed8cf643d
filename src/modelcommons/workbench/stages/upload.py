"""upload: a finished model folder to the hub at HF_ENDPOINT, as one commit: all of it is there, or none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelcommons.errors import CommonsError, NotFound, UsageError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# what an earlier upload may have left and this one may lack; receipts and people's own files are never removed
OURS = ("onnx/*", "predictions/*", ".eval_results/modelcommons.yaml", "model.cdx.json", "report.html", "NOTICE")
AGAIN = "The folder {folder} is complete; run the same command again to upload it."


def endpoint() -> str:
    """Address of the hub, as the client takes it from the environment."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT")).endpoint


def upload(
    folder: Path, repo: str, visibility: Literal["private", "public"], leave_out: tuple[str, ...], message: str
) -> str:
    """Makes the repository if there is none, and commits the folder.

    Args:
        leave_out: patterns of paths that stay at home.

    Returns:
        The commit. Nothing is committed when the hub has the same files already.

    Raises:
        UsageError: no token, no permission, or the branch moved meanwhile.
        NotFound: the hub cannot be reached, or does not know the owner.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    again = AGAIN.format(folder=folder)
    if not get_token():
        raise UsageError(f"Expected an access token for {api.endpoint}, found none. Set HF_TOKEN. {again}")
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    sent = {name: path for name, path in files.items() if not any(fnmatch(name, pattern) for pattern in leave_out)}
    with _in_words(api, repo, again):
        api.create_repo(repo, private=visibility == "private", exist_ok=True)
        found = api.model_info(repo)
        stale = [
            file.rfilename
            for file in found.siblings or ()
            if file.rfilename not in sent and any(fnmatch(file.rfilename, pattern) for pattern in OURS)
        ]
        # upload_folder of current clients splits a large folder into several commits: a reader could see a half
        done = api.create_commit(
            repo,
            [CommitOperationDelete(name) for name in stale]
            + [CommitOperationAdd(name, path) for name, path in sent.items()],
            commit_message=message,
            parent_commit=found.sha,
        )
    return str(done.oid)


@contextmanager
def _in_words(api: HfApi, repo: str, again: str) -> Iterator[None]:
    """The client's many errors as one sentence each."""
    from huggingface_hub import errors

    transport: type[Exception] = errors.HfHubHTTPError.__bases__[
        0
    ]  # of httpx or httpx2, as the client's version has it
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise NotFound(f"HF_HUB_OFFLINE is set, so nothing is uploaded. Unset it. {again}") from None
    except errors.HFValidationError as error:
        raise UsageError(f"publish.repo: expected owner/name, got '{repo}' ({error}).") from None
    except errors.HfHubHTTPError as error:
        raise _answered(error, api.endpoint, repo, again) from error
    except (transport, OSError, RuntimeError) as error:  # RuntimeError: all that hf_xet raises
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotFound(f"{api.endpoint} cannot be reached or broke off: {reason}. {again}") from error


def _answered(error: Exception, where: str, repo: str, again: str) -> CommonsError:
    """What the hub's refusal means."""
    response = getattr(error, "response", None)
    status = response.status_code if response is not None else 0
    said = getattr(error, "server_message", None) or str(error).strip().splitlines()[0]
    match status:
        case 401:
            return UsageError(
                f"{where} does not accept the access token ({said}). Set HF_TOKEN to a valid one. {again}"
            )
        case 403:
            return UsageError(
                f"The access token may not write to {repo} at {where} ({said}). "
                f"Use a token with write permission, or another publish.repo. {again}"
            )
        case 404:
            return NotFound(f"{where} does not know {repo} or its owner ({said}). Check publish.repo. {again}")
        case 409 | 412:
            return UsageError(f"{repo} was changed by someone else meanwhile ({said}). {again}")
        case 400 | 422:
            return UsageError(f"{where} refuses the upload of {repo}: {said}. {again}")
    return NotFound(f"{where} answered with an error {status}: {said}. Try later. {again}")
