"""listing: what there is, found by words, tags, people and order; page after page; nothing that is private."""

from __future__ import annotations

import functools
import json
import re
import struct
from itertools import islice

from checks import ENDPOINT, TOKENS, api, ask, main, raises, refused
from huggingface_hub import HfApi, RepoCard
from huggingface_hub.errors import BadRequestError


@functools.cache
def shelf() -> None:
    """Seven models, three data sets and a space of guild's, all called `shelf-..`; made once, by the first check."""
    for i, (task, library, languages, licence) in enumerate(
        [
            ("text-classification", "transformers", ["en"], "mit"),
            ("text-classification", "transformers", ["en", "zh"], "apache-2.0"),
            ("image-classification", "timm", [], "apache-2.0"),
            ("time-series-forecasting", "modelcommons", [], "mit"),
            ("text-classification", "setfit", ["zh"], "openrail"),
            ("fill-mask", "transformers", ["fr"], "mit"),
        ]
    ):
        repo = f"guild/shelf-{i}"
        api().create_repo(repo)
        card = f"---\npipeline_tag: {task}\nlibrary_name: {library}\nlicense: {licence}\ntags: [shelved, only-{i}]\n"
        card += f"language: [{', '.join(languages)}]\n" if languages else ""
        card += "datasets: [guild/shelf-data-0]\nbase_model: guild/shelf-0\n" if i == 1 else ""
        RepoCard(f"{card}---\n# Shelf {i}\n", ignore_metadata_errors=False)
        api().upload_file(path_or_fileobj=f"{card}---\n# Shelf {i}\n".encode(), path_in_repo="README.md", repo_id=repo)
    api().create_repo("guild/shelf-private", private=True)
    for i, language in enumerate(("en", "fr", "zh")):
        repo = f"guild/shelf-data-{i}"
        api().create_repo(repo, repo_type="dataset")
        card = f"---\nlanguage: [{language}]\ntask_categories: [text-classification]\nsize_categories: [n<1K]\n---\n"
        api().upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=repo, repo_type="dataset")
    api().create_repo("guild/shelf-space", repo_type="space", space_sdk="static")
    card = "---\nsdk: static\nmodels: [guild/shelf-0]\ndatasets: [guild/shelf-data-0]\n---\n"
    space = {"repo_id": "guild/shelf-space", "repo_type": "space"}
    api().upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", **space)
    api().create_repo("guild/shelf-alone", repo_type="space", space_sdk="static")
    header = json.dumps({"a": {"dtype": "F32", "shape": [50, 100], "data_offsets": [0, 20_000]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(20_000)
    api().upload_file(path_or_fileobj=weights, path_in_repo="model.safetensors", repo_id="guild/shelf-3")
    config = b'{"architectures": ["BertModel"], "model_type": "bert"}'
    api().upload_file(path_or_fileobj=config, path_in_repo="config.json", repo_id="guild/shelf-3")
    for who in ("ada", "ben"):
        ask("POST", "/api/models/guild/shelf-2/like", who=who)
    ask("POST", "/api/models/guild/shelf-4/like", who="ada")


def names(found: object) -> set[str]:
    return {one.id.removeprefix("guild/") for one in found}  # type: ignore[attr-defined]


def check_search_and_author() -> None:
    shelf()
    six = {f"shelf-{i}" for i in range(6)}
    assert names(api("nobody").list_models(author="guild", search="shelf")) == six
    assert names(api("nobody").list_models(search="SHELF-3")) == {"shelf-3"}
    assert names(api("nobody").list_models(author="nobody-of-this-name")) == set()
    assert names(api("nobody").list_models(search="shelf' OR 1=1 --")) == set()
    assert names(api("nobody").list_models(search="%shelf_")) == set()


def check_only_members_find_what_is_private() -> None:
    shelf()
    for who, sees in (("ada", True), ("ben", True), ("cleo", True), ("dan", False), ("nobody", False)):
        assert ("shelf-private" in names(api(who).list_models(author="guild"))) is sees, who
        assert ("shelf-private" in names(api(who).list_models(search="shelf-private"))) is sees, who
    assert "shelf-private" not in names(HfApi(token=TOKENS["other"]).list_models(author="guild"))


def check_filters() -> None:
    shelf()
    find = functools.partial(api().list_models, author="guild")
    assert names(find(pipeline_tag="text-classification")) == {"shelf-0", "shelf-1", "shelf-4"}
    assert names(find(filter="image-classification")) == {"shelf-2"}
    assert names(find(filter="transformers")) == {"shelf-0", "shelf-1", "shelf-5"}
    assert names(find(filter=["transformers", "text-classification"])) == {"shelf-0", "shelf-1"}
    assert names(find(filter=["license:apache-2.0"])) == {"shelf-1", "shelf-2"}
    assert names(find(filter=["zh"])) == {"shelf-1", "shelf-4"}
    assert names(find(filter="only-3")) == {"shelf-3"}
    assert names(find(filter="dataset:guild/shelf-data-0")) == {"shelf-1"}
    assert names(find(filter="base_model:guild/shelf-0")) == {"shelf-1"}
    assert names(find(filter="no-such-tag")) == set()
    assert names(api().list_models(author="guild", gated=True)) == set()
    api().update_repo_settings("guild/shelf-5", gated="auto")
    assert names(api().list_models(author="guild", gated=True)) == {"shelf-5"}
    assert "shelf-5" not in names(api().list_models(author="guild", gated=False))


def check_data_sets_and_spaces() -> None:
    shelf()
    find = functools.partial(api().list_datasets, author="guild")
    assert names(find()) == {"shelf-data-0", "shelf-data-1", "shelf-data-2"}
    assert names(find(language="fr")) == {"shelf-data-1"}
    assert names(find(task_categories="text-classification", language="en")) == {"shelf-data-0"}
    assert names(find(filter="size_categories:n<1K")) == {"shelf-data-0", "shelf-data-1", "shelf-data-2"}
    assert names(find(filter="format:parquet")) == names(find(benchmark=True)) == set()
    spaces = functools.partial(api().list_spaces, author="guild")
    assert names(spaces()) == {"shelf-space", "shelf-alone"}
    assert names(spaces(models="guild/shelf-0")) == names(spaces(datasets=["guild/shelf-data-0"])) == {"shelf-space"}
    assert names(spaces(models="guild/shelf-1")) == set()
    assert names(spaces(linked=True)) == {"shelf-space"}


def check_by_size_configuration_and_who_runs_it() -> None:
    shelf()
    assert api().model_info("guild/shelf-3").safetensors.total == 5000  # type: ignore[union-attr]
    find = functools.partial(api().list_models, author="guild", search="shelf")
    assert names(find(num_parameters="min:4K,max:6K")) == {"shelf-3"}
    assert names(find(num_parameters="min:6K")) == set()
    [found] = api().list_models(search="guild/shelf-3", fetch_config=True)
    assert found.config and found.config["model_type"] == "bert", found.config
    assert names(find(inference="warm")) == names(find(inference_provider="all")) == set(), "nothing is run here"
    with refused(status=400, says="applications"):
        list(find(apps="ollama"))


def check_words_that_tag() -> None:
    shelf()
    models, data = api().get_model_tags(), api().get_dataset_tags()
    assert "transformers" in {tag["id"] for tag in models["library"]}, models
    assert "text-classification" in {tag["id"] for tag in models["pipeline_tag"]}, models
    assert "license:mit" in {tag["id"] for tag in models["license"]}, models
    assert "language:fr" in {tag["id"] for tag in data["language"]}, data


def check_order() -> None:
    shelf()
    by_likes = [one.id for one in api().list_models(author="guild", search="shelf", sort="likes")]
    assert by_likes[:2] == ["guild/shelf-2", "guild/shelf-4"], by_likes
    made = [one.created_at for one in api().list_models(author="guild", sort="created_at", full=True)]
    assert made == sorted(made, reverse=True)
    changed = [one.last_modified for one in api().list_models(author="guild", sort="last_modified", full=True)]
    assert changed == sorted(changed, reverse=True)
    assert len(list(api().list_models(author="guild", search="shelf", sort="downloads"))) == 7
    assert len(list(api().list_models(author="guild", search="shelf", sort="trending_score"))) == 7
    assert ask("GET", "/api/models?sort=nonsense").status == 400


def check_what_comes_with_each() -> None:
    shelf()
    [full] = api().list_models(search="guild/shelf-1", full=True)
    assert full.sha and full.siblings and full.last_modified and full.private is False
    assert full.pipeline_tag == "text-classification" and "license:apache-2.0" in (full.tags or [])
    [with_card] = api().list_models(search="guild/shelf-1", cardData=True)
    assert with_card.card_data and with_card.card_data["license"] == "apache-2.0"
    [few] = api().list_models(search="guild/shelf-1", expand=["sha", "likes"])
    assert few.sha == full.sha and few.likes == 0 and few.siblings is None and few.tags is None
    with raises(BadRequestError):
        assert ask("GET", "/api/models?expand=nonsense").status == 400
        list(api().list_models(expand=["nonsense"]))  # type: ignore[list-item]


def check_pages() -> None:
    shelf()
    seen, path = [], "/api/models?author=guild&search=shelf&limit=2&sort=createdAt&direction=-1"
    for _ in range(10):
        answer = ask("GET", path)
        assert answer.status == 200 and 1 <= len(answer.json()) <= 2, answer
        seen += [one["id"] for one in answer.json()]
        link = re.search(r'<([^>]+)>; *rel="next"', answer.headers.get("link", ""))
        if not link:
            break
        assert link[1].startswith(f"{ENDPOINT}/api/models?"), link[1]
        path = link[1].removeprefix(ENDPOINT)
    assert len(seen) == len(set(seen)) == 7, seen
    assert len(list(islice(api().list_models(author="guild", limit=3), 10))) == 3
    for bad in ("limit=0", "limit=-1", "limit=abc", "cursor=nonsense", "cursor=%00"):
        assert ask("GET", f"/api/models?{bad}").status in (200, 400, 422), bad
    assert len(ask("GET", "/api/models?limit=100000000").json()) < 10_000


def check_one_of_each_kind_is_found_by_its_own_list() -> None:
    shelf()
    for kind, name in (("models", "shelf-data-0"), ("datasets", "shelf-0"), ("spaces", "shelf-0")):
        assert name not in [one["id"].removeprefix("guild/") for one in ask("GET", f"/api/{kind}?author=guild").json()]
    with refused(status=404):
        api().dataset_info("guild/shelf-1")


if __name__ == "__main__":
    main()
