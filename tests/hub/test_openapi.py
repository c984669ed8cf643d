"""openapi: what /openapi.json describes is asked for in every way it allows, and in some it does not: never a 5xx."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hubs import Template, make_site
from schemathesis.checks import not_a_server_error

EXAMPLES = int(os.environ.get("COMMONS_TEST_EXAMPLES", "4"))  # for each operation


@pytest.fixture(scope="module")
def described(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with make_site(template, tmp_path_factory.mktemp("openapi") / "hub") as site:
        token = {"Authorization": f"Bearer {site.tokens['ada']}"}
        made = site.client("ada").post("/api/repos/create", json={"name": "here", "type": "model"})
        assert made.status_code == 200
        yield schemathesis.openapi.from_asgi("/openapi.json", site.app, headers=token)


def test_no_operation_answers_with_a_5xx(described: Any, template: Template) -> None:
    headers = {"Authorization": f"Bearer {template.tokens['ada']}"}
    num_operations = 0
    for found in described.get_all_operations():
        operation = found.ok()
        num_operations += 1

        @hypothesis.settings(
            max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            case.call_and_validate(checks=[not_a_server_error], headers=headers)

        ask()
    assert num_operations > 100
