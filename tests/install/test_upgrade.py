"""An older release becomes a newer one, and ends up as if it had been installed afresh."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import psycopg
import pytest

from step_audit.database import Connection
from step_audit.errors import RefusedError
from step_audit.setup.script import write_extension
from step_audit.setup.sources import Sources, load_sources
from tests.fix_extension import NewDatabase
from tests.support.audit import audit_rows, expected_rows
from tests.support.command import psql
from tests.support.host import HOST
from tests.support.install import create_extension, install_audit
from tests.support.inventory import list_audit_objects, take_inventory, take_row_versions
from tests.support.results import record_results

ROOT = Path(__file__).parents[2]
NOW = load_sources()
NEXT_RELEASE = "9.9.9"
MIGRATION = "sql/9999_audit_note.sql"
CHANGED = "functions/read/get_step_audit_history.sql"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources, to be changed."""
    for folder in ("functions", "sql"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "CHANGELOG.md", tmp_path)
    return tmp_path


@pytest.fixture
def newer(checkout: Path) -> Sources:
    """The next release: a function changed, a migration more."""
    function = checkout / CHANGED
    text = function.read_text(encoding="utf-8")
    function.write_text(text.replace("newest first, each", "the newest first, each"))
    assert function.read_text(encoding="utf-8") != text
    (checkout / MIGRATION).write_text(
        f"""-- {NEXT_RELEASE}: a note on each anomaly.

ALTER TABLE tasker_workflow_step_result_audit_anomalies ADD COLUMN note text;
COMMENT ON COLUMN tasker_workflow_step_result_audit_anomalies.note IS
'What was found out about it.';
"""
    )
    return _release(checkout, NEXT_RELEASE)


def test_upgrade_applies_only_what_is_new_and_equals_a_fresh_install(
    host: Connection, conn: Connection, newer: Sources
) -> None:
    recorded = record_results(conn, 3)
    before = _applied(conn)
    assert install_audit(conn, newer)

    after = _applied(conn)
    assert {path for path in after if after[path] != before.get(path)} == {CHANGED, MIGRATION}
    install_audit(host, newer)
    assert take_inventory(conn) == take_inventory(host)
    assert take_inventory(conn)[f"file {CHANGED}"]["release"] == NEXT_RELEASE

    recorded += record_results(conn, 3)
    assert audit_rows(conn) == expected_rows(recorded)
    versions = take_row_versions(conn)
    assert not install_audit(conn, newer)
    assert take_row_versions(conn) == versions


def test_release_without_a_change_of_the_sql_is_recorded(conn: Connection, checkout: Path) -> None:
    assert install_audit(conn, _release(checkout, NEXT_RELEASE))
    (found,) = conn.execute("SELECT release FROM get_step_audit_status()").fetchall()
    assert found == {"release": NEXT_RELEASE}


def test_function_that_a_release_no_longer_has_is_forgotten(
    conn: Connection, checkout: Path
) -> None:
    (checkout / CHANGED).unlink()
    name = Path(CHANGED).stem
    (checkout / MIGRATION).write_text(f"-- {NEXT_RELEASE}: gone.\n\nDROP FUNCTION {name}(uuid);\n")
    install_audit(conn, _release(checkout, NEXT_RELEASE))
    assert not any(name in thing for thing in take_inventory(conn))


def test_extension_update_equals_a_fresh_extension(
    new_database: NewDatabase, extension_folder: Path, newer: Sources
) -> None:
    updated, fresh, installed = new_database(), new_database(), new_database()
    for conn in (updated, fresh, installed):
        HOST.create(conn)
    create_extension(updated, NOW.release)
    updated.execute("SELECT attach_step_result_audit()")
    recorded = record_results(updated, 3)

    written = {path.name for path in write_extension(newer, extension_folder)}
    assert f"step_audit--{NOW.release}--{NEXT_RELEASE}.sql" in written
    updated.execute("ALTER EXTENSION step_audit UPDATE")
    create_extension(fresh)
    fresh.execute("SELECT attach_step_result_audit()")
    install_audit(installed, newer)
    assert take_inventory(updated) == take_inventory(fresh) == take_inventory(installed)

    recorded += record_results(updated, 3)
    assert audit_rows(updated) == expected_rows(recorded)
    (found,) = updated.execute("SELECT extversion FROM pg_extension WHERE extname = 'step_audit'")
    assert found == {"extversion": NEXT_RELEASE}
    updated.execute("SELECT detach_step_result_audit()")
    updated.execute("DROP EXTENSION step_audit")
    assert list_audit_objects(updated) == set()


def test_update_script_of_the_extension_says_how_to_run_it(
    new_database: NewDatabase, extension_folder: Path, newer: Sources
) -> None:
    write_extension(newer, extension_folder)
    script = extension_folder / f"step_audit--{NOW.release}--{NEXT_RELEASE}.sql"
    done = psql(new_database(), script.read_text(encoding="utf-8"))
    assert done.out == 'Use "ALTER EXTENSION step_audit UPDATE" to load this file.\n'


def test_changed_migration_is_refused(conn: Connection, checkout: Path) -> None:
    migration = checkout / "sql" / "0002_audit_table.sql"
    migration.write_text(migration.read_text(encoding="utf-8") + "-- An afterthought.\n")
    before = take_row_versions(conn)
    message = re.escape(
        "sql/0002_audit_table.sql was applied in another form than this release has; nothing was "
        "changed. Install a released step-audit, whose migrations never change."
    )
    with pytest.raises(RefusedError, match=f"^{message}$"):
        install_audit(conn, load_sources(checkout))
    assert take_row_versions(conn) == before


def test_failing_migration_leaves_the_older_release_as_it_was(
    conn: Connection, checkout: Path
) -> None:
    (checkout / MIGRATION).write_text(f"-- {NEXT_RELEASE}: wrong.\n\nSELECT 1 / 0;\n")
    before = take_row_versions(conn)
    with pytest.raises(psycopg.errors.DivisionByZero):
        install_audit(conn, _release(checkout, NEXT_RELEASE))
    assert take_row_versions(conn) == before


def _release(checkout: Path, release: str) -> Sources:
    changelog = checkout / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    changelog.write_text(text.replace("\n## ", f"\n## {release}\n\n- More.\n\n## ", 1))
    return load_sources(checkout)


def _applied(conn: Connection) -> dict[str, str]:
    rows = conn.execute("SELECT path, applied_at::text FROM step_audit_files").fetchall()
    return {row["path"]: row["applied_at"] for row in rows}
