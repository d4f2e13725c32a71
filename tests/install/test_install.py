"""However the audit is installed, the schema ends up the same."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from step_audit.database import Connection, call
from step_audit.setup.sources import load_sources
from tests.support.audit import audit_rows, expected_rows
from tests.support.command import psql, status_of, step_audit, succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import HOST, classic_in, delete_transitions
from tests.support.install import install_audit
from tests.support.inventory import Inventory, take_inventory, take_row_versions
from tests.support.results import count_audit_rows, record_results

RELEASE = load_sources().release
INSTALLED = f"step-audit {RELEASE} installed in schema {HOST.audit_schema}\n"
UNCHANGED = (
    f"step-audit {RELEASE} was installed already, nothing changed in schema {HOST.audit_schema}\n"
)
SCRIPT = ("sql", "--schema", HOST.audit_schema)
NOTHING_TO_BACKFILL = "backfill: nothing to do, every result has its audit row\n"


@pytest.fixture
def reference(conn: Connection) -> Inventory:
    """What an install leaves in a database with the engine's tables."""
    return take_inventory(conn)


@pytest.fixture
def classic_reference(empty: Connection) -> Inventory:
    """What an install leaves beside an engine of the classic layout."""
    engine = classic_in("public")
    engine.create(empty)
    install_audit(empty, host=engine)
    return take_inventory(empty, engine)


def test_install_leaves_an_object_for_each_file(host: Connection, reference: Inventory) -> None:
    assert succeed("install", to=host) == INSTALLED + NOTHING_TO_BACKFILL

    inventory = take_inventory(host)
    assert inventory == reference
    routines = {
        name.removeprefix("function ").partition("(")[0]
        for name in inventory
        if name.startswith("function ")
    }
    files = {name.removeprefix("file ") for name in inventory if name.startswith("file ")}
    assert files == set(load_sources().digests)
    assert routines == {Path(name).stem for name in files if name.startswith("functions/")}


def test_rows_of_the_view_are_of_the_type_that_functions_return(reference: Inventory) -> None:
    def columns(relation: str) -> list[tuple[int, str, str]]:
        return sorted(
            (facts["place"], name.removeprefix(f"column {relation}."), facts["type"])
            for name, facts in reference.items()
            if name.startswith(f"column {relation}.")
        )

    assert columns("step_audits") == columns("step_audit")
    assert len(columns("step_audit")) > 11


def test_second_install_changes_nothing_and_says_so(host: Connection) -> None:
    succeed("install", to=host)
    before = take_row_versions(host)
    assert len(before) > len(load_sources().files)

    assert succeed("install", to=host) == UNCHANGED + NOTHING_TO_BACKFILL
    assert take_row_versions(host) == before


def test_second_install_changes_nothing_however_intervals_are_printed(host: Connection) -> None:
    succeed("install", to=host)
    name = host.info.dbname
    for style in ("iso_8601", "postgres_verbose", "sql_standard"):
        host.execute(f"ALTER DATABASE {name} SET IntervalStyle = {style}".encode())
        assert succeed("install", to=host) == UNCHANGED + NOTHING_TO_BACKFILL


def test_install_mends_what_was_lost_and_does_not_call_that_nothing(
    host: Connection, reference: Inventory
) -> None:
    succeed("install", to=host)
    host.execute(f"DROP TRIGGER {HOST.trigger} ON {HOST.transitions}".encode())
    host.execute(
        "ALTER TABLE tasker_workflow_step_result_audit DROP CONSTRAINT IF EXISTS fk_audit_task; "
        "DROP TRIGGER trg_append_only ON tasker_workflow_step_result_audit; DROP VIEW step_audits"
    )

    assert succeed("install", to=host) == INSTALLED + NOTHING_TO_BACKFILL
    assert take_inventory(host) == reference


def test_printed_script_in_psql_equals_install(host: Connection, reference: Inventory) -> None:
    done = psql(host, succeed(*SCRIPT))
    assert (done.code, done.err) == (0, "")
    assert take_inventory(host) == reference


@pytest.mark.parametrize("form", [(), ("--no-transaction",)], ids=["script", "statement"])
def test_printed_script_run_again_changes_nothing(
    host: Connection, reference: Inventory, form: tuple[str, ...]
) -> None:
    for _ in range(2):
        done = psql(host, succeed(*SCRIPT, *form))
        assert (done.code, done.err) == (0, "")
        assert take_inventory(host) == reference
        record_results(host, 1)
    assert count_audit_rows(host) == 2
    assert succeed("install", to=host) == UNCHANGED + NOTHING_TO_BACKFILL


def test_printed_script_goes_on_after_an_uninstall_that_kept_the_rows(
    conn: Connection, reference: Inventory
) -> None:
    record_results(conn, 1)
    succeed("uninstall", "--yes", to=conn)
    done = psql(conn, succeed(*SCRIPT, "--no-transaction"))
    assert (done.code, done.err) == (0, "")
    assert take_inventory(conn) == reference
    assert count_audit_rows(conn) == 1


@pytest.mark.parametrize("form", [(), ("--no-transaction",)], ids=["script", "statement"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("SET release = '99.0.0'", f"has step-audit 99.0.0, this script is of {RELEASE}"),
        (
            "SET sha256 = 'x' WHERE path = 'sql/0002_audit_table.sql'",
            "sql/0002_audit_table.sql was applied in another form than this release has",
        ),
    ],
)
def test_printed_script_leaves_alone_what_is_not_its_own(
    conn: Connection, form: tuple[str, ...], change: str, message: str
) -> None:
    conn.execute(f"UPDATE step_audit_files {change}".encode())
    before = take_row_versions(conn)
    done = psql(conn, succeed(*SCRIPT, *form))
    assert done.code == 3
    assert message in done.err
    assert take_row_versions(conn) == before


def test_the_statement_leaves_the_session_as_it_was(host: Connection) -> None:
    settings = "SELECT name, setting FROM pg_settings WHERE name <> 'lock_timeout' ORDER BY name"
    with host.transaction():
        # PL/pgSQL brings settings of its own into each session that uses it.
        host.execute("DO 'BEGIN END'; SET LOCAL lock_timeout = '4s'")
        before = host.execute(settings).fetchall()
        host.execute(succeed(*SCRIPT, "--no-transaction").encode())
        assert host.execute(settings).fetchall() == before
        found = host.execute(
            "SELECT current_setting('lock_timeout') AS is, current_user"
        ).fetchone()
    assert found == {"is": "4s", "current_user": "postgres"}


def test_the_statement_enforces_keys_where_asked(host: Connection) -> None:
    done = psql(host, succeed(*SCRIPT, "--no-transaction", "--enforce-keys"))
    assert (done.code, done.err) == (0, "")
    keys = host.execute(
        "SELECT FROM pg_constraint WHERE contype = 'f' AND convalidated "
        "AND conrelid = 'tasker_workflow_step_result_audit'::regclass"
    )
    assert keys.rowcount > 0


def test_dry_run_prints_a_script_that_equals_install_and_runs_nothing(
    host: Connection, reference: Inventory
) -> None:
    before = take_inventory(host)
    script = succeed("install", "--dry-run", to=host)
    assert take_inventory(host) == before

    done = psql(host, script)
    assert (done.code, done.err) == (0, "")
    assert take_inventory(host) == reference


def test_dry_run_on_an_installed_database_prints_only_what_is_left(conn: Connection) -> None:
    conn.execute("UPDATE step_audit_files SET sha256 = '' WHERE path LIKE '%is_worker_result%'")
    script = succeed("install", "--dry-run", to=conn)
    assert re.findall(r"^-- ((?:functions|sql)/.*)", script, re.MULTILINE) == [
        "functions/record/is_worker_result.sql"
    ]


def test_dry_run_after_an_uninstall_prints_a_script_that_attaches_again(
    conn: Connection, reference: Inventory
) -> None:
    succeed("uninstall", "--yes", to=conn)
    done = psql(conn, succeed("install", "--dry-run", to=conn))
    assert (done.code, done.err) == (0, "")
    assert take_inventory(conn) == reference


def test_install_by_options_leaves_the_same_objects(host: Connection, reference: Inventory) -> None:
    options = ("--schema", HOST.audit_schema, "--engine-schema", HOST.schema)
    assert succeed("install", *options, to=host) == INSTALLED + NOTHING_TO_BACKFILL
    assert take_inventory(host) == reference
    assert succeed("install", *options, to=host) == UNCHANGED + NOTHING_TO_BACKFILL
    assert succeed("install", to=host) == UNCHANGED + NOTHING_TO_BACKFILL
    assert take_inventory(host) == reference


@pytest.mark.parametrize("schema", ["step_audit", "My Schema", "a\"b'c\\d%"])
@pytest.mark.parametrize("how", ["install", "script", "dry run"])
def test_install_beside_the_engine_makes_a_schema_and_needs_no_option_again(
    host: Connection, schema: str, how: str
) -> None:
    beside = replace(HOST, audit_schema=schema, trigger="trg_step_audit")
    before = {name.removeprefix("engine's ") for name in take_inventory(host)}
    recorded = record_results(host, 2)
    if how == "install":
        printed = succeed("install", "--schema", schema, to=host)
        assert printed.startswith(f"step-audit {RELEASE} installed in schema {schema}\n")
    else:
        options = ("sql",) if how == "script" else ("install", "--dry-run")
        to = None if how == "script" else host
        done = psql(host, succeed(*options, "--schema", schema, to=to))
        assert (done.code, done.err) == (0, "")
        succeed("backfill", to=host)

    inventory = take_inventory(host, beside)
    engines = {name.removeprefix("engine's ") for name in inventory if name.startswith("engine's ")}
    assert engines - before == {f"trigger {name} of {on}" for name, on in beside.our_triggers}
    assert {"table tasker_tasks", "table step_audits", "table step_audit_files"} <= set(inventory)
    assert succeed("install", to=host) == (
        f"step-audit {RELEASE} was installed already, nothing changed in schema {schema}\n"
        + NOTHING_TO_BACKFILL
    )
    recorded += record_results(host, 2)
    rows = call(host, schema, "list_step_audits")
    assert {row["workflow_step_transition_uuid"] for row in rows} == {
        transition.transition_uuid for transition in recorded
    }


def test_two_installs_stand_beside_each_other_each_with_its_engine(empty: Connection) -> None:
    first, second = classic_in("first"), classic_in("second")
    recorded = {}
    for engine in (first, second):
        engine.create(empty)
        recorded[engine.schema] = record_results(empty, 3, engine)
        options = ("--engine-schema", engine.schema)
        assert succeed("install", "--no-backfill", *options, to=empty) == (
            f"step-audit {RELEASE} installed in schema {engine.schema}\n"
        )
    assert take_inventory(empty, first) == take_inventory(empty, second)

    # Each procedure audits the past of its own engine only.
    for number, engine in enumerate((first, second)):
        empty.execute(f"CALL {engine.schema}.backfill_step_result_audit()".encode())
        counts = [count_audit_rows(empty, each.schema) for each in (first, second)]
        assert counts == [3, 3 * number]

    for engine in (first, second):
        recorded[engine.schema] += record_results(empty, 2, engine)
        options = ("--schema", engine.schema)
        assert succeed("install", *options, to=empty) == (
            f"step-audit {RELEASE} was installed already, nothing changed in schema "
            f"{engine.schema}\n{NOTHING_TO_BACKFILL}"
        )
        found = status_of(empty, *options)
        assert (found["attached"], found["problems"], found["audit_rows"]) == (True, None, 5)
        rows = call(empty, engine.schema, "list_step_audits")
        assert {row["workflow_step_transition_uuid"] for row in rows} == {
            transition.transition_uuid for transition in recorded[engine.schema]
        }

    before = take_inventory(empty, second)
    succeed("uninstall", "--yes", "--drop-data", "--schema", "first", to=empty)
    assert take_inventory(empty, second) == before
    record_results(empty, 1, first)
    record_results(empty, 1, second)
    assert count_audit_rows(empty, "second") == 6


KEYS = {
    "fk_audit_task": "tasker_tasks",
    "fk_audit_step": "tasker_workflow_steps",
    "fk_audit_transition": "tasker_workflow_step_transitions",
}


@pytest.mark.parametrize("how", ["install", "attach", "script"])
def test_keys_are_enforced_where_that_is_asked_for_and_stay_so(
    host: Connection, reference: Inventory, how: str
) -> None:
    recorded = record_results(host, 2)
    if how == "install":
        succeed("install", "--enforce-keys", to=host)
    elif how == "attach":
        succeed("install", to=host)
        succeed("attach", "--enforce-keys", to=host)
    else:
        done = psql(host, succeed("sql", "--enforce-keys"))
        assert (done.code, done.err) == (0, "")
        succeed("backfill", to=host)

    enforced = take_inventory(host)
    for key, table in KEYS.items():
        facts = enforced[f"constraint {key} of tasker_workflow_step_result_audit"]
        shown = HOST.table(table).removeprefix(f"{HOST.audit_schema}.")
        assert f" REFERENCES {shown}(" in facts["definition"]
        assert "NOT" not in facts["definition"]
        assert facts["validated"]
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="fk_audit_transition"):
        delete_transitions(host)

    assert succeed("install", to=host) == UNCHANGED + NOTHING_TO_BACKFILL
    assert take_inventory(host) == enforced
    succeed("install", "--no-enforce-keys", to=host)
    assert take_inventory(host) == reference
    assert delete_transitions(host) == 2 * len(recorded)


@pytest.mark.parametrize("schema", ["other", "My Schema", "a\"b'c\\d"])
def test_install_into_another_schema_leaves_the_same_objects(
    host: Connection, classic_reference: Inventory, schema: str
) -> None:
    engine = classic_in(schema)
    engine.create(host)
    before = take_inventory(host)

    output = succeed("install", "--schema", schema, to=host)
    assert output.startswith(f"step-audit {RELEASE} installed in schema {schema}\n")
    assert take_inventory(host, engine) == classic_reference
    assert take_inventory(host) == before

    recorded = record_results(host, 3, engine)
    assert audit_rows(host, engine).keys() == {t.transition_uuid for t in recorded}


@pytest.mark.parametrize("schema", ["other", "My Schema"])
def test_printed_script_for_another_schema_leaves_the_same_objects(
    host: Connection, classic_reference: Inventory, schema: str
) -> None:
    engine = classic_in(schema)
    engine.create(host)
    done = psql(host, succeed("sql", "--schema", schema))
    assert (done.code, done.err) == (0, "")
    assert take_inventory(host, engine) == classic_reference


def test_install_audits_the_past(host: Connection) -> None:
    recorded = record_results(host, 20)
    output = succeed("install", "--batch-size", "7", to=host)
    assert re.fullmatch(
        re.escape(INSTALLED) + r"backfill: 20 audit rows in \d+\.\d s \(\d+ rows/s\)\n", output
    )
    rows = audit_rows(host)
    assert rows == expected_rows(recorded, backfilled=True)


def test_install_without_backfill_leaves_the_past_unaudited(host: Connection) -> None:
    record_results(host, 2)
    assert succeed("install", "--no-backfill", to=host) == INSTALLED
    assert audit_rows(host) == {}


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP", "SQL_ASCII"])
def test_install_into_a_database_of_another_encoding(
    host: Connection, reference: Inventory, encoding: str
) -> None:
    name = f"{host.info.dbname}_{encoding.lower()}"
    host.execute(
        f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode()
    )
    try:
        with connect_again(host, dbname=name, client_encoding="utf8") as conn:
            HOST.create(conn)
            problem = (
                f"nothing can be sealed here, as database {name} is encoded in {encoding}: dump it "
                "and restore it into one of UTF8; the audit works without seals meanwhile"
            )
            told = f"note: {problem}\n{NOTHING_TO_BACKFILL}"
            assert succeed("install", to=conn) == INSTALLED + told
            assert succeed("install", to=conn) == UNCHANGED + told
            assert status_of(conn)["problems"] == [problem]
            assert take_inventory(conn) == reference
    finally:
        host.execute(f"DROP DATABASE {name}".encode())


def test_six_installs_at_once_install_once_and_audit_each_past_result_once(
    host: Connection, reference: Inventory
) -> None:
    recorded = record_results(host, 200)
    with ThreadPoolExecutor(6) as pool:
        done = list(
            pool.map(lambda _: step_audit("install", "--batch-size", "20", to=host), range(6))
        )

    assert [(d.code, d.err) for d in done] == [(0, "")] * 6
    first_lines = sorted(d.out.splitlines(keepends=True)[0] for d in done)
    assert first_lines == sorted([INSTALLED] + [UNCHANGED] * 5)
    totals = re.findall(r"^backfill: (\d+) audit rows in", "".join(d.out for d in done), re.M)
    assert sum(map(int, totals)) == 200
    assert audit_rows(host) == expected_rows(recorded, backfilled=True)
    assert take_inventory(host) == reference


def test_owner_of_the_engines_tables_installs_without_being_superuser(host: Connection) -> None:
    host.execute("CREATE ROLE engine LOGIN; CREATE ROLE worker LOGIN")
    try:
        host.execute(f"ALTER DATABASE {host.info.dbname} OWNER TO engine".encode())
        host.execute(f"ALTER SCHEMA {HOST.schema} OWNER TO engine".encode())
        host.execute(f"GRANT USAGE ON SCHEMA {HOST.schema} TO worker".encode())
        for table in HOST.tables:
            host.execute(f"ALTER TABLE {table} OWNER TO engine".encode())
            host.execute(f"GRANT SELECT, INSERT ON {table} TO worker".encode())
        dsn = dsn_of(host, user="engine")
        assert succeed("install", "--dsn", dsn) == INSTALLED + NOTHING_TO_BACKFILL

        host.execute("SET SESSION AUTHORIZATION worker")
        recorded = record_results(host, 2)
        host.execute("RESET SESSION AUTHORIZATION")
        assert audit_rows(host) == expected_rows(recorded)
    finally:
        host.execute("RESET SESSION AUTHORIZATION; REASSIGN OWNED BY engine TO postgres")
        host.execute("DROP OWNED BY engine, worker; DROP ROLE engine, worker")
