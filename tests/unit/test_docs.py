"""What the documentation points at exists: make targets, files, pages and headings. That commands work is CI's to show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.environment import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SHELL = re.compile(r"^```(?:console|bash|sh|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
# A path in backticks: has a folder of this project before its first slash, or is a file at the root.
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} | {".ci"}
PLACEHOLDER = re.compile(r"[<>*{}]|\.\.\.")
ENDINGS = (".py", ".md", ".yaml", ".yml", ".toml", ".json", ".txt")
# A file that is named alone may lie anywhere in these folders; some are written by jobs and by commands only.
BY_NAME = {path.name for folder in sorted(FOLDERS) for path in (ROOT / folder).rglob("*") if path.is_file()}
WRITTEN_LATER = {
    "comparison.json",
    "evaluation.html",
    "evaluation.json",
    "schema.json",
    "trials.json",
}


def pages() -> list:
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES]


def commands(page: Path) -> Iterator[str]:
    for block in SHELL.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            yield line.removeprefix("$ ").strip()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    prose = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def quoted(page: Path) -> Iterator[str]:
    """What stands in backticks outside of fenced blocks."""
    yield from re.findall(r"`([^`\n]+)`", FENCED.sub("", page.read_text(encoding="utf-8")))


def looks_like_a_path(text: str) -> bool:
    if PLACEHOLDER.search(text) or " " in text or text.startswith("-"):
        return False
    if "/" in text:
        return text.split("/")[0] in FOLDERS
    return text.endswith(ENDINGS) and text not in BY_NAME | WRITTEN_LATER


@pytest.mark.parametrize("page", pages())
def test_every_make_command_names_a_target(page):
    named = {
        found
        for text in [*commands(page), *quoted(page)]
        if (found := next(iter(re.findall(r"^make ([a-z][a-z-]*)", text)), None))
    }
    assert named - TARGETS == set()


@pytest.mark.parametrize("page", pages())
def test_every_path_in_backticks_exists(page):
    missing = []
    for text in quoted(page):
        path = text.split(":")[0].rstrip("/")
        if looks_like_a_path(path) and not (ROOT / path).exists():
            missing.append(text)
    assert missing == []


@pytest.mark.parametrize("page", pages())
def test_every_link_between_pages_resolves(page):
    broken = []
    for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", pages())
def test_every_job_that_a_command_names_is_one(page):
    from platform_assets.definitions import build_defs

    named = {job for command in commands(page) for job in re.findall(r"dagster job \w+ .*?-j (\S+)", command)}
    made = [name for command in commands(page) for name in re.findall(r"^make new-project NAME=(\w+)", command)]
    named -= {f"{verb}_{name}" for verb in ("train", "deploy") for name in made}  # the page makes the project itself
    if named:
        assert named - set(build_defs("local").get_repository_def().job_names) == set()


def test_operations_name_every_schedule_and_sensor():
    from platform_assets.definitions import build_defs

    repository = build_defs("local").get_repository_def()
    names = {one.name for one in [*repository.schedule_defs, *repository.sensor_defs]}
    assert names - set(quoted(ROOT / "docs" / "operations.md")) == set()


def test_these_tests_can_fail(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```console\n$ make nothing\n```\n\n`ledgerline/nothing.py` [x](#a-page) [y](#none)\n")
    assert list(commands(page)) == ["make nothing"]
    assert [text for text in quoted(page) if looks_like_a_path(text)] == ["ledgerline/nothing.py"]
    assert anchors(page) == {"a-page"}
