"""The one way in which commands print: lines of ours, in which text of others stays on its line.

What is written for programs goes out as it is: CSV, proofs, checkpoints, and SQL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import typer

from step_audit.printing import printable, printable_json


def say(line: object, *, err: bool = False) -> None:
    """Print a line for people."""
    typer.echo(printable(str(line)), err=err)


def say_json(document: str, *, err: bool = False) -> None:
    """Print a JSON document as a line."""
    typer.echo(printable_json(document), err=err)


def report(
    document: dict[str, Any], lines: Iterable[object], as_json: bool, quiet: bool = False
) -> None:
    """Print what a command did: as a JSON object, or as lines for people, unless it is quiet."""
    if as_json:
        say_json(json.dumps(document))
    elif not quiet:
        for line in lines:
            say(line)


def write_raw(text: str) -> None:
    """Write what a program is to read, to the byte."""
    typer.echo(text, nl=False)
