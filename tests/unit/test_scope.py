"""The name of an environment's state is accepted by every service, and no two branches have the same."""

from __future__ import annotations

import re

import pytest

from ledgerline.errors import ConfigurationError
from ledgerline.projects.sections import NAME_LENGTH
from resources.scope import LONGEST, schema_of, scope_of

BRANCHES = [
    "main", "prod", "fix/parser", "fix-parser", "FIX/parser", "feature/JIRA-1234_really-long-name-of-a-branch-indeed" * 4,
    "공시-파서", "--", "a", "../../etc", "x'; DROP SCHEMA public; --", "9f8e7d6c5b4a",
]  # fmt: skip


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_name_is_valid_for_every_service(branch: str) -> None:
    scope = scope_of("branch", branch)
    longest = f"{scope}-{'p' * NAME_LENGTH}-qa"
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", longest), "SageMaker"
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", scope), "an index of OpenSearch, a key of S3, an id of Neptune"
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,62}", schema_of(scope)), "a schema of PostgreSQL"
    assert len(scope) <= LONGEST
    assert scope == scope_of("branch", branch)


def test_branches_that_look_alike_have_different_names() -> None:
    assert len({scope_of("branch", branch) for branch in BRANCHES}) == len(BRANCHES)


def test_a_branch_that_is_called_like_an_environment_is_not_that_environment() -> None:
    assert scope_of("prod", "") == "ledgerline-prod"
    for branch in ("prod", "local"):
        assert not scope_of("branch", branch).startswith(scope_of(branch, ""))


def test_the_name_of_the_branch_can_be_read_in_it() -> None:
    assert re.fullmatch(r"ledgerline-b-fix-par-[0-9a-f]{6}", scope_of("branch", "fix/parser"))


@pytest.mark.parametrize("branch", ["", "  "])
def test_a_branch_without_a_name_is_refused(branch: str) -> None:
    with pytest.raises(ConfigurationError, match="set DAGSTER_CLOUD_GIT_BRANCH"):
        scope_of("branch", branch)
