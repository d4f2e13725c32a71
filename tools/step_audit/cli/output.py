"""The one way in which commands print: lines of ours, in which text of others stays on its line.

What is written for programs goes out as it is: CSV, proofs, checkpoints, and SQL.
"""

from __future__ import annotations

import typer

from step_audit.printing import printable, printable_json


def say(line: object, *, err: bool = False) -> None:
    """Print a line for people."""
    typer.echo(printable(str(line)), err=err)


def say_json(document: str, *, err: bool = False) -> None:
    """Print a JSON document as a line."""
    typer.echo(printable_json(document), err=err)


def write_raw(text: str) -> None:
    """Write what a program is to read, to the byte."""
    typer.echo(text, nl=False)
