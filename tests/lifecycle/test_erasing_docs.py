"""docs/erasing.md: its session is replayed against a database."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from step_audit.cli.erase_command import OUT_OF_REACH
from step_audit.database import Connection
from tests.lifecycle.test_who_docs import pages_step  # noqa: F401 (a fixture)
from tests.support.host import HOST
from tests.test_lifecycle_docs import normalised

PAGE = (Path(__file__).parents[2] / "docs" / "erasing.md").read_text()


def as_shown(output: str) -> str:
    """The output without what differs from run to run and between the layouts."""
    output = re.sub(r"root [0-9a-f]{64}", "root <hash>", output)
    return normalised(output.replace(HOST.transitions, "public.tasker_workflow_step_transitions"))


def test_the_session_does_what_the_page_says(
    conn: Connection,
    pages_step: None,  # noqa: F811
) -> None:
    ran = 0
    for language, block in re.findall(
        r"^```(python|console)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    ):
        ran += 1
        if language == "python":
            exec(block, {})
            continue
        command, _, shown = block.removeprefix("$ ").partition("\n")
        path = {"PGOPTIONS": HOST.options} if command.startswith("psql ") else {}
        done = subprocess.run(
            shlex.split(command),
            env=os.environ | path,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        if "CALL" in command:
            assert "0 transitions erased, 1 were erased before" in done.stderr
            said = done.stdout
        assert as_shown(said) == as_shown(shown), said
        assert done.returncode == (1 if "refused: " in shown else 0)
    assert ran == 7


def test_the_page_names_what_is_not_reached() -> None:
    for each in OUT_OF_REACH:
        assert f"  {each}\n" in PAGE
