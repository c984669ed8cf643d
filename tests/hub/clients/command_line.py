"""command_line: `hf` as a person types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from checks import ENDPOINT, TOKENS, WORK, Skip, api, fresh, main

HF = Path(sys.executable).with_name("hf")


def hf(*words: str | Path, who: str = "ada", fine: bool = True) -> str:
    """What it printed; a command that fails is a failure here, unless it is to fail."""
    done = subprocess.run(
        [HF, *map(str, words)], capture_output=True, text=True, timeout=120, env=os.environ | {"HF_TOKEN": TOKENS[who]}
    )
    assert (done.returncode == 0) is fine, f"hf {' '.join(map(str, words))}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def check_whoami() -> None:
    said = hf("auth", "whoami")
    assert "ada" in said and "guild" in said, said


def check_login_with_a_token() -> None:
    home = WORK / "login-home"
    environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"} | {"HF_HOME": str(home)}
    for words in (["auth", "login", "--token", TOKENS["ben"]], ["auth", "whoami"], ["auth", "logout"]):
        done = subprocess.run([HF, *words], capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, f"hf {words[:2]}: {done.stdout}{done.stderr}"
        if words[-1] == "whoami":
            assert "ben" in done.stdout, done.stdout


def check_upload_and_download_a_folder() -> None:
    repo = "ada/by-command-line"
    folder = WORK / "up"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "small.txt").write_text("small")
    (folder / "large.bin").write_bytes(os.urandom(4_000_000))
    said = hf("upload", repo, folder, ".")
    assert f"{ENDPOINT}/{repo}" in said, said
    hf("download", repo, "--local-dir", WORK / "down")
    for name in ("sub/small.txt", "large.bin"):
        assert (WORK / "down" / name).read_bytes() == (folder / name).read_bytes(), name
    path = hf("download", repo, "sub/small.txt", "--quiet").strip().splitlines()[-1]
    assert Path(path).read_text() == "small", path
    hf("upload", repo, folder / "large.bin", "other/name.bin", "--commit-message", "By hand")
    assert api().list_repo_commits(repo)[0].title == "By hand"
    assert "other/name.bin" in api().list_repo_files(repo)


def check_upload_private_and_to_a_data_set() -> None:
    (WORK / "rows.csv").write_text("a,b\n1,2\n")
    hf("upload", "ada/rows-by-cli", WORK / "rows.csv", "rows.csv", "--repo-type", "dataset", "--private")
    assert api().dataset_info("ada/rows-by-cli").private is True
    hf("download", "ada/rows-by-cli", "rows.csv", "--repo-type", "dataset", who="dan", fine=False)


def check_upload_as_a_proposal_and_to_a_branch() -> None:
    repo = fresh()
    (WORK / "p.txt").write_text("p")
    said = hf("upload", repo, WORK / "p.txt", "p.txt", "--create-pr", who="dan")
    assert f"{ENDPOINT}/{repo}/" in said, said
    assert "p.txt" in api().list_repo_files(repo, revision="refs/pr/1")
    api().create_branch(repo, branch="dev")
    hf("upload", repo, WORK / "p.txt", "p.txt", "--revision", "dev")
    assert "p.txt" in api().list_repo_files(repo, revision="dev") and "p.txt" not in api().list_repo_files(repo)


def check_repositories() -> None:
    word = "repos" if "repos" in hf("--help") else "repo"
    hf(word, "create", "made-by-cli", "--private")
    assert api().model_info("ada/made-by-cli").private
    hf(word, "create", "made-by-cli", fine=False)
    hf(word, "create", "made-by-cli", "--exist-ok")
    hf(word, "tag", "create", "ada/made-by-cli", "v1")
    assert "v1" in hf(word, "tag", "list", "ada/made-by-cli")
    hf(word, "branch", "create", "ada/made-by-cli", "dev")
    assert {one.name for one in api().list_repo_refs("ada/made-by-cli").branches} == {"main", "dev"}
    hf(word, "settings", "ada/made-by-cli", "--gated", "manual")
    assert api().model_info("ada/made-by-cli").gated == "manual"
    hf(word, "move", "ada/made-by-cli", "ada/moved-by-cli")
    sure = ["--yes"] if "--yes" in hf(word, "delete", "--help") else []
    hf(word, "delete", "ada/moved-by-cli", *sure)
    assert not api().repo_exists("ada/moved-by-cli")


def check_look_around() -> None:
    repo = fresh()
    said = hf("--help")
    if "models" not in said:
        raise Skip("this version has no `hf models`")
    assert repo.split("/")[1] in hf("models", "ls", "--author", "ada", "--limit", "100", "--json") or repo in hf(
        "models", "ls", "--author", "ada", "--limit", "100"
    )
    assert repo in hf("models", "info", repo)


def check_a_refusal_is_said_in_words() -> None:
    said = hf("download", "ada/no-such-repository", fine=False)
    assert "not found" in said.lower() or "404" in said, said
    assert "Traceback" not in said, said


if __name__ == "__main__":
    main()
