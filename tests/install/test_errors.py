"""Where the command refuses it says so in one line, by an exit code, and changes nothing."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from step_audit.database import Connection, call
from step_audit.setup.sources import load_sources
from tests.support.command import STEP_AUDIT, Done, environment, step_audit
from tests.support.connect import dsn_of
from tests.support.host import HOST, USAGE, classic_in
from tests.support.install import install_audit
from tests.support.inventory import take_inventory, take_row_versions
from tests.support.roles import give_engine_to, login_roles

STEP = str(uuid.UUID(int=62))
GIVE_A_CONNECTION = "Give a connection with --dsn, STEP_AUDIT_DSN or PGHOST, PGUSER, PGDATABASE."


@pytest.fixture
def clerk(host: Connection) -> Iterator[str]:
    """Connection string of a role without any right of its own."""
    with login_roles(host, "clerk"):
        yield dsn_of(host, user="clerk")


def refused(done: Done, message: str, code: int = 3) -> None:
    """The command printed nothing but this line."""
    assert done == Done(code, "", f"step-audit: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["history", "62"], "Invalid value for 'STEP_UUID': .*valid UUID.*"),
        (["history", "--task", "62"], "Invalid value for '--task': .*valid UUID.*"),
        (["history"], "Invalid value: give either STEP_UUID or --task TASK_UUID"),
        (
            ["history", STEP, "--task", STEP],
            "Invalid value: give either STEP_UUID or --task TASK_UUID",
        ),
        (["history", STEP, "--format", "xml"], "Invalid value for '--format': .*'xml'.*"),
        (["install", "--batch-size", "0"], "Invalid value for '--batch-size': .*1.*"),
        (["backfill", "--batch-size", "many"], "Invalid value for '--batch-size': .*integer.*"),
        (["backfill", "--pause", "-1"], "Invalid value for '--pause': .*0.*"),
        (["status", "--frob"], "No such option: --frob.*"),
        (["instal"], "No such command 'instal'.*"),
        (["build-extension"], "Missing argument 'folder'.*"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: list[str], message: str) -> None:
    done = step_audit(*arguments)
    assert (done.code, done.out) == (2, "")
    said = re.sub(r" \(env var: 'STEP_AUDIT_\w+'\)", "", done.err)
    assert re.fullmatch(f"step-audit: {message}\n", said)


@pytest.mark.parametrize("command", ["install", "uninstall --yes"])
@pytest.mark.parametrize("lock_timeout", ["soon", "-5s", ""])
def test_lock_timeout_that_is_none(conn: Connection, command: str, lock_timeout: str) -> None:
    before = take_row_versions(conn)
    done = step_audit(*command.split(), "--lock-timeout", lock_timeout, to=conn)
    refused(
        done,
        f"'{lock_timeout}' is no lock timeout. Give a number with a unit, like 5s or 500ms.",
        code=2,
    )
    assert take_row_versions(conn) == before


def test_server_that_is_not_there() -> None:
    done = step_audit("status", "--dsn", "host=/nonexistent dbname=x")
    assert (done.code, done.out) == (3, "")
    assert re.fullmatch(
        "step-audit: cannot connect to the database: .*/nonexistent/.*No such file or directory"
        rf".*[a-z]\. {GIVE_A_CONNECTION}\n",
        done.err,
    )


def test_dsn_that_is_none() -> None:
    refused(
        step_audit("install", "--dsn", "nonsense"),
        'cannot connect to the database: missing "=" after "nonsense" in connection info string. '
        f"{GIVE_A_CONNECTION}",
    )


def test_database_that_does_not_exist(host: Connection) -> None:
    dsn = dsn_of(host, dbname="nowhere")
    done = step_audit("install", "--dsn", dsn)
    assert (done.code, done.out) == (3, "")
    assert re.fullmatch(
        "step-audit: cannot connect to the database: .*"
        rf'database "nowhere" does not exist\. {GIVE_A_CONNECTION}\n',
        done.err,
    )


def _no_engine(where: str) -> str:
    return (
        f"no workflow engine was found in {where}: looked for tables tasker_tasks, "
        "tasker_workflow_steps, tasker_named_steps, tasker_workflow_step_transitions, and for "
        "tasks, workflow_steps, named_steps, workflow_step_transitions; nothing was changed. "
        "Run the engine's migrations first, or connect to its database."
    )


@pytest.mark.parametrize("command", ["install", "install --dry-run", "attach"])
def test_engine_that_lacks_a_table_is_not_found(host: Connection, command: str) -> None:
    if command == "attach":
        install_audit(host)
        step_audit("detach", to=host)
    host.execute(f"DROP TABLE {HOST.named_steps} CASCADE".encode())
    before = take_inventory(host)
    refused(step_audit(*command.split(), to=host), _no_engine(f"database {host.info.dbname}"))
    refused(
        step_audit(*command.split(), "--engine-schema", HOST.schema, to=host),
        _no_engine(f"schema {HOST.schema}"),
    )
    assert take_inventory(host) == before


def test_engine_schema_without_an_engine(host: Connection) -> None:
    before = take_inventory(host)
    refused(
        step_audit("install", "--engine-schema", "Nowhere", to=host), _no_engine("schema Nowhere")
    )
    assert take_inventory(host) == before


@pytest.mark.parametrize("command", ["install", "install --dry-run", "attach"])
def test_one_of_several_engines_is_to_be_named(host: Connection, command: str) -> None:
    if command == "attach":
        install_audit(host, host=replace(HOST, audit_schema="audit"))
        step_audit("detach", to=host)
    classic_in("another").create(host)
    before = take_inventory(host)
    schemas = ", ".join(sorted(["another", HOST.schema]))
    refused(
        step_audit(*command.split(), to=host),
        f"several schemas have a workflow engine's tables: {schemas}; nothing was changed. "
        "Name the one to audit with --engine-schema.",
    )
    assert take_inventory(host) == before
    assert step_audit(*command.split(), "--engine-schema", HOST.schema, to=host).code == 0


def test_sql_that_attaches_finds_one_engine_or_says_what_it_looked_for(host: Connection) -> None:
    audit_schema = "audit"
    install_audit(host, host=replace(HOST, audit_schema=audit_schema))
    call(host, audit_schema, "detach_step_result_audit")

    another = classic_in("another")
    another.create(host)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as several:
        call(host, audit_schema, "attach_step_result_audit")
    schemas = ", ".join(sorted(["another", HOST.schema]))
    assert several.value.diag.message_primary == (
        f"several schemas have a workflow engine's tables: {schemas}"
    )
    assert several.value.diag.message_hint == (
        "Name the one to audit: --engine-schema, or p_engine_schema."
    )
    call(host, audit_schema, "attach_step_result_audit", p_engine_schema=HOST.schema)

    call(host, audit_schema, "detach_step_result_audit")
    host.execute("DROP SCHEMA another CASCADE")
    host.execute(f"DROP TABLE {HOST.named_steps} CASCADE".encode())
    for engine_schema, where in (
        (None, f"database {host.info.dbname}"),
        (HOST.schema, f"schema {HOST.schema}"),
    ):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as none:
            call(host, audit_schema, "attach_step_result_audit", p_engine_schema=engine_schema)
        diag = none.value.diag
        assert f"{diag.message_primary}; nothing was changed. {diag.message_hint}" == _no_engine(
            where
        )


def test_audit_of_one_engine_is_not_turned_to_another(host: Connection) -> None:
    install_audit(host)
    another = classic_in("another")
    another.create(host)
    before = take_row_versions(host)
    message = (
        f"in schema {HOST.audit_schema} step-audit reads the engine in schema {HOST.schema}, not "
        "the one in another; nothing was changed. Install for the other engine into another "
        "schema: --schema."
    )
    for command in ("install", "attach"):
        done = step_audit(
            command, "--schema", HOST.audit_schema, "--engine-schema", "another", to=host
        )
        refused(done, message)
    assert take_row_versions(host) == before


def test_install_names_the_column_that_is_missing(host: Connection) -> None:
    host.execute(f"ALTER TABLE {HOST.transitions} DROP COLUMN sort_key".encode())
    before = take_inventory(host)
    shown = HOST.transitions.removeprefix(f"{HOST.audit_schema}.")
    refused(
        step_audit("install", to=host),
        f"cannot attach: {shown} has no column sort_key; nothing was changed. "
        "Run the engine's migrations first, or use the step-audit that knows this engine.",
    )
    assert take_inventory(host) == before


@pytest.mark.parametrize(
    "command",
    ["status", "status --json", "backfill", f"history {STEP}", "uninstall --yes", "detach"],
)
def test_command_that_needs_an_install(host: Connection, command: str) -> None:
    before = take_inventory(host)
    refused(
        step_audit(*command.split(), to=host),
        f"step-audit is not installed in database {host.info.dbname}: no schema that this role may "
        "use has it. Install it with 'step-audit install'.",
    )
    for schema in ("public", "Nowhere"):
        refused(
            step_audit(*command.split(), "--schema", schema, to=host),
            f"step-audit is not installed in schema {schema}. "
            "Install it with 'step-audit install', or name another schema with --schema.",
        )
    assert take_inventory(host) == before


@pytest.mark.parametrize("command", ["install", "install --dry-run"])
def test_database_that_is_newer_than_the_command(conn: Connection, command: str) -> None:
    conn.execute("UPDATE step_audit_files SET release = '99.0.0'")
    before = take_row_versions(conn)
    refused(
        step_audit(*command.split(), to=conn),
        f"the database has step-audit 99.0.0, this command is {load_sources().release}; "
        "nothing was changed. Upgrade the command: pip install --upgrade step-audit.",
    )
    assert take_row_versions(conn) == before


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "ROW EXCLUSIVE"])
def test_install_does_not_wait_longer_for_a_lock_than_told(host: Connection, mode: str) -> None:
    before = take_inventory(host)
    with psycopg.connect(host.info.dsn) as other:
        other.execute(f"LOCK TABLE {HOST.transitions} IN {mode} MODE".encode())
        refused(step_audit("install", "--lock-timeout", "200ms", to=host), _no_lock("200ms"))
    assert take_inventory(host) == before


def test_uninstall_does_not_wait_longer_for_a_lock_than_told(conn: Connection) -> None:
    before = take_row_versions(conn)
    with psycopg.connect(conn.info.dsn) as other:
        other.execute(f"SELECT FROM {HOST.transitions}".encode())
        done = step_audit("uninstall", "--yes", "--lock-timeout", "200ms", to=conn)
    refused(done, _no_lock("200ms"))
    assert take_row_versions(conn) == before


def test_install_does_not_wait_longer_for_another_install_than_told(host: Connection) -> None:
    before = take_inventory(host)
    script = step_audit("sql", "--schema", HOST.audit_schema).out.removesuffix("COMMIT;\n")
    with psycopg.connect(host.info.dsn, autocommit=True) as other:
        other.execute(script.encode())
        refused(step_audit("install", "--lock-timeout", "1ms", to=host), _no_lock("1ms"))
        other.execute("ROLLBACK")
    assert take_inventory(host) == before


def _no_lock(lock_timeout: str) -> str:
    return (
        f"a lock was not to be had within {lock_timeout}, because of a long transaction or "
        "another install; nothing was changed. Try again, or wait longer with --lock-timeout."
    )


def test_install_without_the_right_to_create(host: Connection, clerk: str) -> None:
    give_engine_to(host, "clerk")
    before = take_inventory(host)
    host.execute(f"REVOKE CREATE ON DATABASE {host.info.dbname} FROM clerk".encode())
    for command in ("install", "install --dry-run"):
        refused(
            step_audit(*command.split(), "--schema", "audit", "--dsn", clerk),
            f"clerk may not create schema audit in database {host.info.dbname}; nothing was "
            "changed. Have it created, CREATE SCHEMA audit AUTHORIZATION clerk, or GRANT CREATE ON "
            f"DATABASE {host.info.dbname} TO clerk.",
        )
    assert take_inventory(host) == before
    host.execute("CREATE SCHEMA audit AUTHORIZATION clerk")
    assert step_audit("install", "--schema", "audit", "--dsn", clerk).code == 0


def test_install_without_owning_the_engines_tables(host: Connection, clerk: str) -> None:
    host.execute(f"GRANT CREATE ON DATABASE {host.info.dbname} TO clerk".encode())
    host.execute(f"GRANT USAGE, CREATE ON SCHEMA {HOST.schema} TO clerk".encode())
    before = take_inventory(host)
    refused(
        step_audit("install", "--dsn", clerk),
        "the engine's tables belong to postgres, and clerk is no member of it; nothing was "
        "changed. Connect as postgres, as a member of it, or as a superuser.",
    )
    assert take_inventory(host) == before


def test_uninstall_and_history_without_rights(host: Connection, clerk: str) -> None:
    step_audit("install", to=host)
    host.execute(f"GRANT {USAGE} TO clerk".encode())
    before = take_row_versions(host)
    done = step_audit("uninstall", "--yes", "--dsn", clerk)
    refused(
        done,
        "permission denied for table step_audit_files; nothing was changed. "
        "Connect as the owner of the engine's tables.",
    )
    done = step_audit("history", STEP, "--dsn", clerk)
    assert (done.code, done.out) == (3, "")
    assert re.fullmatch(
        r"step-audit: the database says: permission denied for (table|view) \w+\. "
        r"Its owner gives a role what it needs: step-audit grant ROLE --as \.\.\.\n",
        done.err,
    )
    assert take_row_versions(host) == before


def test_what_else_the_database_refuses_is_told_in_its_words(host: Connection) -> None:
    host.execute(
        """
        CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE 'no change of the schema today';
        END $$;
        CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse();
        """
    )
    refused(step_audit("install", to=host), "the database says: no change of the schema today.")


def test_a_database_that_is_read_only_by_default_is_written_all_the_same(host: Connection) -> None:
    for command in ("install", "backfill", "seal"):
        done = step_audit(command, to=host, PGOPTIONS="-c default_transaction_read_only=on")
        assert (done.code, done.err) == (0, "")


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "folder"
    refused(step_audit("build-extension", str(folder)), f"{folder}: Not a directory.")


@pytest.mark.parametrize("command", ["build-extension", "keygen"])
def test_file_that_does_not_fit_the_disk_is_named(tmp_path: Path, command: str) -> None:
    """A limit on the size of a file stands for the disk: neither error names the file."""
    arguments = {
        "build-extension": ("build-extension", str(tmp_path)),
        "keygen": ("keygen", "example.com/audit", "--out", str(tmp_path / "step_audit.control")),
    }[command]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *STEP_AUDIT, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"step-audit: {tmp_path / 'step_audit.control'}: File too large.\n"


def test_verbose_shows_the_traceback_before_the_line(host: Connection) -> None:
    done = step_audit("status", "--verbose", to=host)
    assert (done.code, done.out) == (3, "")
    first, *_, last = done.err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last.startswith("step-audit: step-audit is not installed in database ")
