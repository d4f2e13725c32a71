"""Run ``step-audit`` and Postgres' own programs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from step_audit.cli.cli import main
from tests.support.connect import dsn_of
from tests.support.postgres import client_binaries

STEP_AUDIT = (sys.executable, "-m", "step_audit")


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def step_audit(
    *arguments: str,
    to: psycopg.Connection[Any] | None = None,
    stdin: str = "",
    **settings: str,
) -> Done:
    """Run the command as a user does, for the database of ``to``, with environment variables."""
    options = () if to is None else ("--dsn", dsn_of(to))
    done = subprocess.run(
        [*STEP_AUDIT, *arguments, *options],
        env=environment(**settings),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def run(*arguments: str, to: psycopg.Connection[Any] | None = None) -> Done:
    """Run the command in this process, whatever comes of it."""
    options = () if to is None else ("--dsn", dsn_of(to))
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as done:
        main([*arguments, *options])
    code = done.value.code or 0
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())


def succeed(*arguments: str, to: psycopg.Connection[Any] | None = None) -> str:
    """Run the command in this process; it succeeds and complains of nothing. Gives its output."""
    done = run(*arguments, to=to)
    assert (done.code, done.err) == (0, "")
    return done.out


def status_of(conn: psycopg.Connection[Any] | None, *options: str) -> dict[str, Any]:
    """What ``status`` finds, whether it is as it should be or not."""
    done = run("status", "--json", *options, to=conn)
    assert done.code in {0, 1}
    assert done.err == ""
    found: dict[str, Any] = json.loads(done.out)
    return found


def psql(conn: psycopg.Connection[Any], script: str, **parameters: str) -> Done:
    """Run a script by psql in the database of ``conn``, up to its first error."""
    dsn = dsn_of(conn, **parameters)
    return client("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", dsn, stdin=script)


def pg_dump(conn: psycopg.Connection[Any]) -> str:
    """Dump the database of ``conn`` as a script."""
    done = client("pg_dump", "-d", dsn_of(conn))
    assert (done.code, done.err) == (0, "")
    return done.out


def environment(**settings: str) -> dict[str, str]:
    """The environment without what names a database, and with ``settings``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PG") and name != "STEP_AUDIT_DSN"
    }
    return kept | settings


def client(program: str, *arguments: str, stdin: str = "") -> Done:
    """Run one of Postgres' own programs."""
    done = subprocess.run(
        [client_binaries() / program, *arguments],
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
