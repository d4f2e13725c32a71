"""Each input of the pages of faults and of attacks has the test that its page names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from step_audit.trust.verify import KINDS
from tests.trust.rows import ATTACKS

ROOT = Path(__file__).parents[1]
PAGES = {"tests/faults": 30, "tests/trust": 25}
"""Folders, and how many inputs their page has at least."""


def inputs_of(folder: str) -> list[str]:
    """The lines of the page's tables."""
    page = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    return [
        line
        for line in page.splitlines()
        if line.startswith("| ") and not line.startswith("| input ")
    ]


@pytest.mark.parametrize(("folder", "least"), PAGES.items())
def test_a_page_has_its_inputs(folder: str, least: int) -> None:
    assert len(inputs_of(folder)) > least


@pytest.mark.parametrize("line", [line for folder in PAGES for line in inputs_of(folder)])
def test_an_input_has_its_test(line: str) -> None:
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`", line.rpartition(" | ")[2])
    assert named
    for path, test in named:
        # A folder or file without a test's name is a whole one for its kind.
        assert (ROOT / path).exists()
        if test:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert test in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
            # What is no test of its own is a row of the matrix.
            assert test.startswith("test_") or test in ATTACKS or test == "setting"


def test_each_kind_of_finding_has_its_advice_on_the_page() -> None:
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    section = page.partition("\n## What to do about a finding\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE) == list(KINDS)
