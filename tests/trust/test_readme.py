"""Each input of README.md has the test that it names, and each kind of finding its advice."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from step_audit.trust.verify import KINDS
from tests.trust.rows import ATTACKS

ROOT = Path(__file__).parents[2]
LINES = [
    line
    for line in (Path(__file__).parent / "README.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| input ")
]


def test_the_page_has_its_inputs() -> None:
    assert len(LINES) > 25


@pytest.mark.parametrize("line", LINES)
def test_an_input_has_its_test(line: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line.rpartition(" | ")[2])
    assert named
    for path, test in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert test in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
        # What is no test of its own is a row of the matrix.
        assert test.startswith("test_") or test in ATTACKS or test == "setting"


def test_each_kind_of_finding_has_its_advice_on_the_page() -> None:
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    section = page.partition("\n## What to do about a finding\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE) == list(KINDS)
