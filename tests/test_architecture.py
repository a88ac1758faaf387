"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
MODULES = sorted((REPOSITORY / "src").rglob("*.py"))
FOLDERS = [path for path in REPOSITORY.iterdir() if path.is_dir() and path.name[0] != "."]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(page for f in FOLDERS for page in f.rglob("*.md"))])
MOST_LINES = 400
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def relative(path):
    return path.relative_to(REPOSITORY).as_posix()


def test_there_is_something_to_check():
    assert len(MODULES) > 50
    assert REPOSITORY / "README.md" in PAGES


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_is_short_and_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES, "split it by concept"
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "start with a docstring that says what the module is for"


def test_imports_run_downwards_only(tmp_path):
    pytest.importorskip("importlinter", reason="NOT TESTED: install the extra 'dev'")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--cache-dir", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def anchor(heading):
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_relative_links_lead_somewhere(page):
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, fragment = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), f"{relative(page)} links to {target}, which does not exist"
        if fragment and place.suffix == ".md":
            anchors = {anchor(title) for title in _HEADING.findall(place.read_text("utf-8"))}
            assert fragment in anchors, f"{relative(page)} links to {target}: no such heading"
