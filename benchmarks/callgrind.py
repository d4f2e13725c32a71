"""Count the instructions of statements in a server that runs under valgrind, alone.

What is counted repeats within 1 %, whatever else the machine does. The server runs in single-user
mode: one process, no client, each line of input a command.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from step_audit.demo.embedded import EmbeddedServer
from step_audit.errors import RefusedError, StepAuditError

# The functions between whose calls is counted: the first sets the counters to zero, the second
# writes them out.
_BEGIN, _END = "pg_sleep", "pg_backend_pid"


def count(
    server: EmbeddedServer, database: str, prelude: Iterable[str], *parts: Iterable[str]
) -> list[int]:
    """The instructions of each part's commands, one part after the other.

    ``server`` must be stopped. Each command is one line. The prelude is run first, uncounted.

    Raises:
        RefusedError: valgrind is not installed.
        StepAuditError: the server or one of the commands failed.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise RefusedError("valgrind is not installed. Install it: apt-get install valgrind.")
    user = "nobody" if os.geteuid() == 0 else None
    lines = [*prelude]
    for part in parts:
        lines += [f"SELECT {_BEGIN}(0)", *part, f"SELECT {_END}()"]
    assert not any("\n" in line for line in lines)
    with tempfile.TemporaryDirectory(prefix="step-audit-") as folder:
        if user:
            shutil.chown(folder, user)
        done = subprocess.run(
            [
                valgrind,
                "--tool=callgrind",
                f"--zero-before={_BEGIN}",
                f"--dump-before={_END}",
                f"--callgrind-out-file={folder}/counts",
                str(server.binaries / "postgres"),
                *("--single", "-D", str(server.data)),
                # valgrind's stack is small.
                *("-c", "max_stack_depth=2MB", "-c", "log_min_messages=error"),
                *("-c", "log_min_error_statement=panic"),
                database,
            ],
            input="\n".join(lines) + "\n",
            user=user,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        # An error in single-user mode does not end the server.
        if done.returncode or "ERROR:" in done.stdout + done.stderr:
            raise StepAuditError(f"a counted server failed: {(done.stdout + done.stderr)[-2000:]}")
        totals = [
            int(found.group(1))
            for number in range(1, len(parts) + 1)
            if (
                found := re.search(
                    r"^totals: (\d+)", (Path(folder) / f"counts.{number}").read_text(), re.MULTILINE
                )
            )
        ]
    if len(totals) != len(parts):
        raise StepAuditError(f"{len(parts)} counts were expected, not {totals}")
    return totals
