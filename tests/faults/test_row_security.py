"""Row-level security that hides the engine's rows from their own owner."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from step_audit.database import Connection, call
from step_audit.errors import RefusedError
from step_audit.read.web import create_app
from tests.support.command import step_audit
from tests.support.connect import connect_again, dsn_of
from tests.support.host import HOST, OK, Transition, create_steps, disable_own_audit, insert_each
from tests.support.install import install_audit
from tests.support.inventory import take_inventory
from tests.support.roles import give_engine_to, login_roles
from tests.support.service import serving

READ = (HOST.tasks, HOST.named_steps, HOST.steps, HOST.transitions)


@pytest.fixture
def keeper(host: Connection) -> Iterator[Connection]:
    """The owner of the engine's tables, who is no superuser."""
    disable_own_audit(host)
    with login_roles(host, "keeper"):
        give_engine_to(host, "keeper")
        with connect_again(host, user="keeper") as conn:
            yield conn


def hide(conn: Connection, table: str, force: bool = True) -> None:
    """Show a table's rows only where a setting of the session says so."""
    conn.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY".encode())
    conn.execute(
        f"CREATE POLICY tenant ON {table} "
        "USING (current_setting('app.tenant', TRUE) = 'here')".encode()
    )
    if force:
        conn.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY".encode())


def reason_and_remedy(table: str) -> tuple[str, str]:
    shown = table.removeprefix("public.")
    return (
        f"row-level security of {shown} is forced, so rows may be hidden from its owner, keeper",
        f"ALTER TABLE {shown} NO FORCE ROW LEVEL SECURITY, or ALTER ROLE keeper BYPASSRLS.",
    )


@pytest.mark.parametrize("table", READ)
def test_forced_row_level_security_is_refused_with_reason_and_remedy(
    keeper: Connection, table: str
) -> None:
    hide(keeper, table)
    before = take_inventory(keeper)
    with pytest.raises(RefusedError) as refused:
        install_audit(keeper)
    reason, remedy = reason_and_remedy(table)
    assert str(refused.value) == (f"cannot attach: {reason}; nothing was changed. {remedy}")
    assert take_inventory(keeper) == before


@pytest.mark.parametrize("table", READ)
def test_row_level_security_that_is_not_forced_hides_nothing_from_the_owner(
    host: Connection, keeper: Connection, table: str
) -> None:
    hide(keeper, table, force=False)
    install_audit(keeper)
    (step,) = create_steps(host)
    insert_each(keeper, [Transition(step, OK, "{}", 1)])
    (status,) = call(keeper, HOST.audit_schema, "get_step_audit_status")
    assert (status["attached"], status["audit_rows"], status["problems"]) == (True, 1, None)


@pytest.mark.parametrize("table", READ)
def test_forced_after_the_install_it_is_said_by_status_and_service(
    host: Connection, keeper: Connection, table: str
) -> None:
    install_audit(keeper)
    steps = create_steps(host)
    with serving(create_app(dsn_of(keeper, user="keeper"))) as address:
        assert httpx.get(f"{address}/health").status_code == 200
        hide(keeper, table)
        problem = ". ".join(reason_and_remedy(table))
        (status,) = call(keeper, HOST.audit_schema, "get_step_audit_status")
        assert (status["attached"], status["problems"]) == (False, [problem])
        done = step_audit("status", "--dsn", dsn_of(keeper, user="keeper"))
        assert "attached              no\n" in done.out
        assert problem in done.out
        reply = httpx.get(f"{address}/health")
        assert reply.status_code == 503
        assert problem in reply.json()["error"]["message"]
    # Whoever sees the rows writes on: audited, or where the step is hidden, as an event.
    insert_each(host, [Transition(steps[0], OK, "{}", 1)])
    recorded = host.execute(
        "SELECT FROM tasker_workflow_step_result_audit UNION ALL SELECT FROM step_audit_events"
    )
    assert recorded.rowcount == 1
    keeper.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY".encode())
    (status,) = call(keeper, HOST.audit_schema, "get_step_audit_status")
    assert (status["attached"], status["problems"]) == (True, None)
