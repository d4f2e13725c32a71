"""Install and uninstall: one short transaction under an advisory lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import psycopg
from psycopg import sql

from step_audit.database import Connection, call, transaction
from step_audit.errors import NotInstalledError, RefusedError, UsageError
from step_audit.setup import script
from step_audit.setup.machinery import find_altered_functions
from step_audit.setup.sources import SourceFile, Sources, load_sources, release_key


@dataclass(frozen=True)
class Installed:
    """What a schema has: its release, and the SHA-256 of each applied file by path."""

    release: str | None = None
    digests: dict[str, str] = field(default_factory=dict)


def install(conn: Connection, sources: Sources, schema: str, lock_timeout: str) -> bool:
    """Apply to ``schema`` the files that it lacks, and attach; false where all was there already.

    Raises:
        RefusedError: the engine's tables or the schema are missing, an extension or another
            program owns the objects, the database is newer than this code, a right is missing, or
            a lock was not to be had within ``lock_timeout``. Nothing was changed.
    """
    with _transaction(conn, schema, lock_timeout):
        installed = read_installed(conn, schema)
        files = pending_files(sources, installed)
        for file in files:
            conn.execute(file.text.encode())
        if files or installed.release != sources.release:
            conn.execute(script.record(sources).encode())
        missing = call(conn, schema, "list_missing_host_objects")
        if missing:
            names = ", ".join(row["list_missing_host_objects"] for row in missing)
            raise RefusedError(
                f"schema {schema} lacks {names}, which the workflow engine creates; nothing was "
                "changed. Run the engine's migrations first, or name its schema with --schema."
            )
        call(conn, schema, "attach_step_result_audit")
        # A transaction that has written something has an id.
        (wrote,) = conn.execute(
            "SELECT pg_current_xact_id_if_assigned() IS NOT NULL AS anything"
        ).fetchall()
    return bool(wrote["anything"])


def uninstall(conn: Connection, schema: str, drop_data: bool, lock_timeout: str) -> None:
    """Remove trigger and functions, and with ``drop_data`` the audit rows.

    Raises:
        RefusedError: nothing is installed, an extension owns it, a right is missing, or a lock was
            not to be had within ``lock_timeout``. Nothing was changed.
    """
    with _transaction(conn, schema, lock_timeout):
        installed = read_installed(conn, schema)
        if not any(path.startswith("functions/") for path in installed.digests):
            raise NotInstalledError(schema)
        call(conn, schema, "uninstall_step_result_audit", p_drop_data=drop_data)


def read_installed(conn: Connection, schema: str) -> Installed:
    """Look up what ``schema`` has.

    Raises:
        RefusedError: it does not exist, or the objects there are an extension's or another
            program's.
    """
    names = [PurePosixPath(file.path).stem for file in load_sources().functions]
    found = conn.execute(_FIND_OBJECTS, {"schema": schema, "names": names}).fetchone() or {}
    if not found["schema_exists"]:
        raise RefusedError(
            f"schema {schema} does not exist. Name the schema of the engine's tables with --schema."
        )
    if found["extension"]:
        raise RefusedError(
            f"in schema {schema} step-audit is the extension {found['extension']}; nothing was "
            f"changed. Use ALTER EXTENSION {found['extension']} UPDATE or DROP EXTENSION."
        )
    if found["strangers"]:
        raise RefusedError(
            f"schema {schema} has functions of step-audit's names that it did not create, or that "
            f"belong to another role: {', '.join(found['strangers'])}; nothing was changed. Drop "
            "or rename them, and let nobody but you create objects in that schema meanwhile."
        )
    if not found["has_files"]:
        if found["has_audit"]:
            raise RefusedError(
                f"table tasker_workflow_step_result_audit in schema {schema} was not created by "
                "step-audit; nothing was changed. Rename that table and drop its trigger "
                "trg_step_result_audit, then install."
            )
        return Installed()
    files = conn.execute(
        sql.SQL("SELECT path, sha256, release FROM {}").format(
            sql.Identifier(schema, "step_audit_files")
        )
    ).fetchall()
    digests = {file["path"]: file["sha256"] for file in files}
    # Functions pinned to another schema were moved here by a rename: they count as changed, as do
    # those that somebody changed.
    sources = load_sources()
    changed = (
        {file.path for file in sources.functions}
        if found["moved"]
        else find_altered_functions(conn, schema, sources)
    )
    return Installed(
        files[0]["release"],
        {path: sha256 for path, sha256 in digests.items() if path not in changed},
    )


def pending_files(sources: Sources, installed: Installed) -> tuple[SourceFile, ...]:
    """Which files are still to be applied: changed functions and new migrations, in order.

    Raises:
        RefusedError: the database is newer than ``sources``, or a migration was changed after it
            had been applied.
    """
    if installed.release and release_key(installed.release) > release_key(sources.release):
        raise RefusedError(
            f"the database has step-audit {installed.release}, this command is {sources.release}; "
            "nothing was changed. Upgrade the command: pip install --upgrade step-audit."
        )
    for migration in sources.migrations:
        if installed.digests.get(migration.path, migration.sha256) != migration.sha256:
            raise RefusedError(
                f"{migration.path} was applied in another form than this release has; nothing was "
                "changed. Install a released step-audit, whose migrations never change."
            )
    return tuple(file for file in sources.files if installed.digests.get(file.path) != file.sha256)


_FIND_OBJECTS = """
SELECT
    to_regnamespace(quote_ident(%(schema)s)) IS NOT NULL AS schema_exists,
    to_regclass(format('%%I.step_audit_files', %(schema)s)) IS NOT NULL AS has_files,
    to_regclass(format('%%I.tasker_workflow_step_result_audit', %(schema)s)) IS NOT NULL
        AS has_audit,
    (
        SELECT e.extname
        FROM pg_depend AS d
        JOIN pg_extension AS e ON d.refobjid = e.oid
        WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
            AND d.objid = to_regclass(format('%%I.step_audit_files', %(schema)s))
    ) AS extension,
    -- Ours belong to whoever owns our tables, to us, or to a superuser.
    (
        SELECT array_agg(DISTINCT p.proname::text)
        FROM pg_proc AS p
        JOIN pg_roles AS r ON p.proowner = r.oid
        LEFT JOIN pg_class AS c ON c.oid = to_regclass(format('%%I.step_audit_files', %(schema)s))
        WHERE p.pronamespace = to_regnamespace(quote_ident(%(schema)s))
            AND p.proname = ANY(%(names)s)
            AND (
                c.oid IS NULL
                OR NOT (r.rolsuper OR r.oid = c.relowner OR r.rolname = current_user)
            )
    ) AS strangers,
    EXISTS (
        SELECT FROM pg_proc AS p
        WHERE p.pronamespace = to_regnamespace(quote_ident(%(schema)s))
            AND p.proname = 'create_step_result_audit'
            AND p.proconfig <> ARRAY[format('search_path=%%I, pg_temp', %(schema)s)]
    ) AS moved
"""


@contextmanager
def _transaction(conn: Connection, schema: str, lock_timeout: str) -> Iterator[None]:
    try:
        with transaction(conn):
            _apply_settings(conn, schema, lock_timeout)
            yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise RefusedError(
            f"a lock was not to be had within {lock_timeout}, because of a long transaction "
            "or another install; nothing was changed. Try again, or wait longer with "
            "--lock-timeout."
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise RefusedError(
            f"{error.diag.message_primary}; nothing was changed. Connect as the owner of the "
            "engine's tables."
        ) from error


def _apply_settings(conn: Connection, schema: str, lock_timeout: str) -> None:
    try:
        for statement in script.settings(schema, lock_timeout):
            conn.execute(statement.encode())
    except psycopg.errors.InvalidParameterValue as error:
        raise UsageError(
            f"'{lock_timeout}' is no lock timeout. Give a number with a unit, like 5s or 500ms."
        ) from error
