"""The SQL scripts: what ``install`` runs, what ``sql`` prints, and the files of the extension."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from step_audit.setup.sources import SourceFile, Sources, release_key

EXTENSION = "step_audit"


def quote_literal(text: str) -> str:
    """Write ``text`` as an SQL string constant, safe under any ``standard_conforming_strings``."""
    quoted = text.replace("'", "''")
    if "\\" in quoted:
        return "E'" + quoted.replace("\\", "\\\\") + "'"
    return f"'{quoted}'"


def settings(schema: str, lock_timeout: str) -> Iterator[str]:
    """The transaction's settings, then the lock that lets one install run at a time."""
    name = quote_literal(schema)
    yield f"SELECT pg_catalog.set_config('lock_timeout', {quote_literal(lock_timeout)}, true);"
    yield "SELECT pg_catalog.set_config('check_function_bodies', 'off', true);"
    yield (
        "SELECT pg_catalog.set_config("
        f"'search_path', pg_catalog.quote_ident({name}) || ', pg_temp', true);"
    )
    yield (
        "SELECT pg_catalog.pg_advisory_xact_lock("
        f"pg_catalog.hashtextextended('step_audit ' || {name}, 0));"
    )


def record(sources: Sources) -> str:
    """The call that notes what has been applied."""
    digests = quote_literal(json.dumps(sources.digests, indent=1))
    return f"SELECT record_step_audit_install({quote_literal(sources.release)}, {digests});"


def install_script(
    sources: Sources, files: Iterable[SourceFile], schema: str, lock_timeout: str
) -> str:
    """Render one transaction that applies ``files`` to ``schema``, for ``psql -f`` or by hand."""
    parts = [
        f"-- step-audit {sources.release} for schema {json.dumps(schema)}",
        "BEGIN ISOLATION LEVEL READ COMMITTED;",
        *settings(schema, lock_timeout),
        *_bodies(files),
        record(sources),
        "SELECT attach_step_result_audit();",
        "COMMIT;",
    ]
    return "\n\n".join(parts) + "\n"


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
            sources, (*sources.functions, *newer), f"ALTER EXTENSION {EXTENSION} UPDATE"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in written]


def _extension_script(sources: Sources, files: Iterable[SourceFile], command: str) -> str:
    guard = f'\\echo Use "{command}" to load this file. \\quit'
    return "\n\n".join([guard, *_bodies(files), record(sources)]) + "\n"


def _bodies(files: Iterable[SourceFile]) -> Iterator[str]:
    for file in files:
        yield f"-- {file.path}\n{file.text.rstrip()}"
