from step_audit.trust.verify import verify
from tests.support.results import record_results
from tests.support.host import HOST
def test_it(conn):
    record_results(conn, 9)
    conn.execute("SELECT seal_step_result_audit()")
    record_results(conn, 4)
    r = verify(conn, HOST.audit_schema)
    for l in r.lines(): print(l)
    from tests.support.command import step_audit
    d=step_audit("verify", "--verbose", to=conn); print(d.out, d.err, d.code)
    assert 0
