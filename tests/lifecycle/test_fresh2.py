from __future__ import annotations
from tests.lifecycle.test_erase import *  # noqa
from tests.lifecycle.test_erase import SCHEMA, record, seal, erase, erasures, PLAIN, full_task, run
from tests.lifecycle.test_operator_actions import *  # noqa
from step_audit.trust.verify import verify
from tests.support.command import run as sa

def test_rr_hold(conn):
    step, _ = full_task(conn)
    r = record(conn, PLAIN, step, 77)
    seal(conn)
    with connect_again(conn) as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM pg_class")
        call(conn, SCHEMA, "hold_step_result_audit", p_reason="litigation", p_task_uuid=r.task_uuid if hasattr(r,'task_uuid') else step.task_uuid)
        try:
            print("ERASED", other.execute(f"SELECT {SCHEMA}.erase_step_audit_transition(%s, 'x')".encode(), (r.transition_uuid,)).fetchall())
            other.execute("COMMIT")
        except Exception as e:
            print("REFUSED", e)
    print(erasures(conn))

def test_full_verify(conn):
    step, _ = full_task(conn)
    seal(conn)
    print(sa("erase", "--task", str(step.task_uuid), "--reason", "x", "--yes", to=conn))
    print(verify(conn, SCHEMA).findings)
    seal(conn)
    print(verify(conn, SCHEMA).findings)
