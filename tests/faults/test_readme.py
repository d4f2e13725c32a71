"""Each input of README.md has the test that it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = [
    line
    for line in (Path(__file__).parent / "README.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| input ")
]


def test_the_page_has_its_inputs() -> None:
    assert len(LINES) > 30


@pytest.mark.parametrize("line", LINES)
def test_an_input_has_its_test(line: str) -> None:
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`", line.rpartition(" | ")[2])
    assert named
    for path, test in named:
        # A folder or file without a test's name is a whole one for its kind.
        assert (ROOT / path).exists()
        if test:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert test in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
