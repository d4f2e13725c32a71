"""The SQL scripts: what ``install`` runs, what ``sql`` prints, and the files of the extension."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from step_audit.errors import writing
from step_audit.setup.sources import SourceFile, Sources, release_key

EXTENSION = "step_audit"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to install, and how.

    Attributes:
        schema: where step-audit stands; None: with the engine's tables if they are called
            ``tasker_…``, else in ``step_audit``.
        engine_schema: where the engine's tables are; None: found.
        enforce_keys: whether the keys to the engine's tables are enforced; None: as they were,
            at first not.
        lock_timeout: how long to wait for a lock, like ``5s``.
    """

    schema: str | None = None
    engine_schema: str | None = None
    enforce_keys: bool | None = None
    lock_timeout: str = "5s"


def quote_literal(text: str | None) -> str:
    """Write ``text`` as an SQL string constant, safe under any ``standard_conforming_strings``."""
    if text is None:
        return "NULL"
    quoted = text.replace("'", "''")
    if "\\" in quoted:
        return "E'" + quoted.replace("\\", "\\\\") + "'"
    return f"'{quoted}'"


def enter(sources: Sources, target: Target) -> str:
    """How each install transaction begins: engine, schema, owner and lock."""
    engines = next(file for file in sources.functions if file.name == "list_workflow_engines")
    query = engines.text.partition("\nAS $$")[2].partition("$$")[0].strip()
    return _fill(
        "enter",
        {
            "'<schema>'": quote_literal(target.schema),
            "'<engine schema>'": quote_literal(target.engine_schema),
            "'<lock timeout>'": quote_literal(target.lock_timeout),
            "'<functions>'": quote_literal(
                f"{{{','.join(file.name for file in sources.functions)}}}"
            ),
            "list_workflow_engines() AS": f"(\n{query}\n) AS",
        },
    )


def attach(target: Target) -> str:
    """The call that binds the audit to the engine's tables."""
    enforce = {None: "NULL", True: "TRUE", False: "FALSE"}[target.enforce_keys]
    return f"SELECT attach_step_result_audit({quote_literal(target.engine_schema)}, {enforce});"


def record(sources: Sources) -> str:
    """The call that notes what has been applied."""
    digests = quote_literal(json.dumps(sources.digests, indent=1))
    return f"SELECT record_step_audit_install({quote_literal(sources.release)}, {digests});"


def pending_script(sources: Sources, files: Iterable[SourceFile], target: Target) -> str:
    """Render what applies ``files`` in one transaction, for ``psql -f`` or by hand."""
    return _in_transactions(sources, target, [*_bodies(files), record(sources)])


def install_script(sources: Sources, target: Target) -> str:
    """Render the whole install for ``psql -f``; it may run again."""
    return _in_transactions(sources, target, list(_parts(sources)))


def install_statement(sources: Sources, target: Target) -> str:
    """Render the whole install as one statement, for tools that run migrations; it may run again.

    With enforced keys it is two: the second looks whether they hold for what is there.
    """
    begin = enter(sources, target).rstrip()
    statements = [_as_statement([begin, *_parts(sources), attach(target)])]
    if target.enforce_keys:
        statements.append(_as_statement([begin, "SELECT validate_step_audit_keys();"]))
    return "\n".join([f"-- step-audit {sources.release}", *statements])


def _in_transactions(sources: Sources, target: Target, parts: list[str]) -> str:
    begin = ["BEGIN ISOLATION LEVEL READ COMMITTED;", enter(sources, target).rstrip()]
    script = [f"-- step-audit {sources.release}", *begin, *parts, attach(target), "COMMIT;"]
    if target.enforce_keys:
        # In a transaction of its own, without the locks of the first.
        script += [*begin, "SELECT validate_step_audit_keys();", "COMMIT;"]
    return "\n\n".join(script) + "\n"


def _as_statement(parts: list[str]) -> str:
    quoted = [_quote_body(part) for part in parts]
    return _fill("statement", {"'<parts>'": ";\n    EXECUTE ".join(quoted)})


def _parts(sources: Sources) -> Iterator[str]:
    """The install, in which each migration is applied once and the rest each time."""
    yield _fill("applied", {"<release>": sources.release}).rstrip()
    for file in sources.migrations:
        marks = {"<path>": file.path, "<sha256>": file.sha256, "'<text>'": _quote_body(file.text)}
        yield f"-- {file.path}\n{_fill('migration', marks).rstrip()}"
    yield from _bodies(sources.functions)
    yield record(sources)


def _quote_body(text: str) -> str:
    """Write a script as a constant that stays readable."""
    tags = (f"$body{number or ''}$" for number in itertools.count())
    tag = next(each for each in tags if each not in text)
    return f"{tag}\n{text.rstrip()}\n{tag}"


def _fill(name: str, marks: dict[str, str]) -> str:
    text = (resources.files("step_audit.setup") / f"{name}.sql").read_text(encoding="utf-8")
    # In one pass: what is filled in may hold another's mark.
    return re.sub("|".join(map(re.escape, marks)), lambda found: marks[found[0]], text)


def write_extension(sources: Sources, folder: Path) -> list[Path]:
    """Write control file, install script and an update script from each older release."""
    release = sources.release
    written = {
        f"{EXTENSION}.control": (
            "comment = 'The audit trail for workflow engines: one row per worker result'\n"
            f"default_version = '{release}'\n"
            "relocatable = false\n"
            "superuser = false\n"
        ),
        f"{EXTENSION}--{release}.sql": _extension_script(
            sources, sources.files, f"CREATE EXTENSION {EXTENSION}"
        ),
    }
    for older in sources.releases[1:]:
        newer = [m for m in sources.migrations if release_key(m.release) > release_key(older)]
        written[f"{EXTENSION}--{older}--{release}.sql"] = _extension_script(
            sources, (*newer, *sources.functions), f"ALTER EXTENSION {EXTENSION} UPDATE"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in written.items():
        with writing(folder / name):
            (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in written]


def _extension_script(sources: Sources, files: Iterable[SourceFile], command: str) -> str:
    guard = f'\\echo Use "{command}" to load this file. \\quit'
    return "\n\n".join([guard, *_bodies(files), record(sources)]) + "\n"


def _bodies(files: Iterable[SourceFile]) -> Iterator[str]:
    for file in files:
        yield f"-- {file.path}\n{file.text.rstrip()}"
