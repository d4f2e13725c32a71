"""No content of a transition makes its INSERT fail, and what is readable is read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from step_audit.database import Connection
from step_audit.setup import installer
from step_audit.setup.script import Target
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
    real_transitions,
)

WORKER = "0199f3a2-0000-7000-8000-000000000001"
DEEP = 20_000


@dataclass(frozen=True)
class Hostile:
    """Metadata as JSON text, and what its audit row must say."""

    metadata: str | None
    success: bool = True
    time: int | None = None
    worker: str | None = None
    anomalies: dict[str, str] = field(default_factory=dict)
    to_state: str = OK


def text_event(event: str, **members: object) -> str:
    return json.dumps({"event": event} | members)


def result(success: str, time: str = "7") -> str:
    return f'{{"success": {success}, "metadata": {{"execution_time_ms": {time}}}}}'


HOSTILE = {
    "NULL metadata": Hostile(None),
    "JSON null": Hostile("null"),
    "an array": Hostile('[{"event": "x", "worker_uuid": "y"}]'),
    "a string": Hostile('"event"'),
    "a number": Hostile("62"),
    "no event": Hostile("{}", success=False, to_state=FAILED),
    "empty text": Hostile(text_event(""), anomalies={"event": "not JSON"}),
    "not JSON": Hostile(text_event("{success: true"), anomalies={"event": "not JSON"}),
    "JSON cut short": Hostile(
        text_event(result("false")[:-1]), anomalies={"event": "not JSON"}, worker=None
    ),
    "JSON with more behind it": Hostile(
        text_event(result("false") + "}"), anomalies={"event": "not JSON"}
    ),
    "JSON in JSON in JSON": Hostile(
        text_event(json.dumps(result("false"))), anomalies={"event": "not an object"}
    ),
    "event is an array": Hostile('{"event": [1, 2]}', anomalies={"event": "not an object"}),
    "event is a number": Hostile('{"event": 5}', anomalies={"event": "not an object"}),
    "NUL in another member": Hostile(
        text_event('{"data": {"success": false, "result": "a\\u0000b"}}'), success=False
    ),
    "NUL in success": Hostile(
        text_event(result('"\\u0000"')), time=7, anomalies={"success": "not a boolean"}
    ),
    "NUL as a key": Hostile(text_event('{"\\u0000": 1, "success": false}'), success=False),
    "lone surrogate": Hostile(text_event('{"success": false, "result": "\\ud800"}'), success=False),
    "surrogates in the wrong order": Hostile(
        text_event('{"success": false, "result": "\\udc00\\ud800"}'), success=False
    ),
    "an escape that is none": Hostile(
        text_event('{"success": false, "result": "\\uZZZZ"}'), anomalies={"event": "not JSON"}
    ),
    "a control character in JSON": Hostile(
        text_event('{"success": false, "result": "\x01\\\\"}'), anomalies={"event": "not JSON"}
    ),
    "20,000 brackets": Hostile(
        text_event("[" * DEEP + "]" * DEEP, worker_uuid=WORKER),
        worker=WORKER,
        anomalies={"event": "nested too deeply"},
    ),
    "20,000 objects": Hostile(
        text_event('{"data":' * DEEP + "1" + "}" * DEEP, worker_uuid=WORKER),
        worker=WORKER,
        anomalies={"event": "nested too deeply"},
    ),
    "success is nonsense, time is good": Hostile(
        text_event(result('"maybe"', "12")), time=12, anomalies={"success": "not a boolean"}
    ),
    "time is nonsense, success is good": Hostile(
        text_event(result("false", '"12ms"')),
        success=False,
        anomalies={"execution_time_ms": "not a number"},
    ),
    "success is an object": Hostile(
        text_event(result('{"true": true}')), time=7, anomalies={"success": "not a boolean"}
    ),
    "negative time": Hostile(
        text_event(result("true", "-1")), anomalies={"execution_time_ms": "negative"}
    ),
    "time beyond bigint": Hostile(
        text_event(result("true", "9223372036854775808")),
        anomalies={"execution_time_ms": "out of range"},
    ),
    "time beyond numeric": Hostile(
        text_event(result("true", "1e1000000")), anomalies={"execution_time_ms": "out of range"}
    ),
    "a number beyond numeric in another member": Hostile(
        text_event(
            '{"data": {"result": 1e1000000, "success": "no", "metadata": '
            '{"execution_time_ms": "7.5"}}}'
        ),
        success=False,
        time=8,
    ),
    "a number beyond numeric, then no JSON": Hostile(
        text_event('{"success": false, "x": 1e1000000, bad'), anomalies={"event": "not JSON"}
    ),
    "a number beyond numeric, then brackets": Hostile(
        text_event(
            '{"success": false, "x": [1e1000000, ' + "[" * 10 * DEEP + "]" * 10 * DEEP + "]}"
        ),
        anomalies={"event": "nested too deeply"},
    ),
    "a number beyond numeric in an array": Hostile(
        text_event("[1e1000000]"), anomalies={"event": "not an object"}
    ),
    "time is NaN": Hostile(
        text_event(result("true", '"NaN"')), anomalies={"execution_time_ms": "not a number"}
    ),
    "time is hexadecimal": Hostile(
        text_event(result("true", '"0x1F"')), anomalies={"execution_time_ms": "not a number"}
    ),
    "metadata of the result is no object": Hostile(
        text_event('{"success": false, "metadata": [{"execution_time_ms": 1}]}'), success=False
    ),
    "uuids that are none": Hostile(
        json.dumps({"event": result("false"), "worker_uuid": "w-1", "correlation_id": 7}),
        success=False,
        time=7,
        anomalies={"worker_uuid": "not a UUID", "correlation_id": "not a UUID"},
    ),
    "a number that would read as a UUID": Hostile(
        '{"worker_uuid": 12345678901234567890123456789012}',
        anomalies={"worker_uuid": "not a UUID"},
    ),
    "everything is bad at once": Hostile(
        json.dumps({"event": result("[]", "{}"), "worker_uuid": {}, "correlation_id": []}),
        success=False,
        to_state=FAILED,
        anomalies={
            "success": "not a boolean",
            "execution_time_ms": "not a number",
            "worker_uuid": "not a UUID",
            "correlation_id": "not a UUID",
        },
    ),
}


# What only a column of type json can hold.
JSON_ONLY = {
    "NUL in an object": Hostile(
        '{"event": {"success": false, "metadata": {"execution_time_ms": 2}, "x": "\\u0000"}}',
        success=False,
        time=2,
    ),
    "NUL in success of an object": Hostile(
        '{"event": {"success": "\\u0000"}}', anomalies={"success": "not a boolean"}
    ),
    "NUL in a text of JSON": Hostile(
        '{"event": "{\\"success\\": false, \\"x\\": \\"\\u0000\\"}"}',
        anomalies={"event": "not JSON"},
    ),
    "lone surrogate in a text of JSON": Hostile(
        '{"event": "{\\"success\\": false, \\"x\\": \\"\\ud800\\"}"}', success=False
    ),
    "lone surrogate behind a backslash": Hostile(
        '{"event": "{\\"success\\": false, \\"x\\": \\"\\\\\\ud800\\"}"}',
        anomalies={"event": "not JSON"},
    ),
    "lone surrogate in another member": Hostile(
        f'{{"worker_uuid": "{WORKER}", "x": "\\ud800", "event": {result("false")}}}',
        success=False,
        time=7,
        worker=WORKER,
    ),
    "escapes in uuids": Hostile(
        f'{{"worker_uuid": "{WORKER}\\u0000", "correlation_id": "\\ud800"}}',
        anomalies={"worker_uuid": "not a UUID", "correlation_id": "not a UUID"},
    ),
    "a uuid beside what jsonb cannot hold": Hostile(
        f'{{"worker_uuid": "\\u0030{WORKER[1:]}", "x": 1e1000000}}', worker=WORKER
    ),
    "numbers beyond numeric": Hostile(
        '{"worker_uuid": 1e1000000, "event": {"success": 1e1000000, '
        '"metadata": {"execution_time_ms": 1e1000000}}}',
        anomalies={
            "worker_uuid": "not a UUID",
            "success": "not a boolean",
            "execution_time_ms": "out of range",
        },
    ),
    "members twice": Hostile(
        f'{{"event": 1, "worker_uuid": 5, "x": "\\u0000", "worker_uuid": "{WORKER}", '
        '"event": {"success": true, "success": false}}',
        success=False,
        worker=WORKER,
    ),
    "null beside what jsonb cannot hold": Hostile(
        '{"event": null, "worker_uuid": null, "x": "\\u0000"}', success=False, to_state=FAILED
    ),
    "no object, and jsonb cannot hold it": Hostile('["event", "\\u0000"]'),
}
EITHER = [pytest.param("jsonb", h, id=f"jsonb {name}") for name, h in HOSTILE.items()] + [
    pytest.param("json", h, id=f"json {name}") for name, h in (HOSTILE | JSON_ONLY).items()
]


def let_metadata_be(conn: Connection, column: str) -> None:
    """Change the type of the engine's column, as a migration does."""
    if column != "jsonb":
        installer.detach(conn, HOST.audit_schema, "5s")
        conn.execute(f"ALTER TABLE {HOST.transitions} ALTER metadata TYPE {column}".encode())
        installer.attach(conn, HOST.audit_schema, Target())
        disable_own_audit(conn)


@pytest.mark.parametrize(("column", "hostile"), EITHER)
def test_a_hostile_transition_is_kept_and_audited_and_can_be_read(
    conn: Connection, column: str, hostile: Hostile
) -> None:
    let_metadata_be(conn, column)
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, hostile.to_state, hostile.metadata, sort_key=1)])

    row = conn.execute(
        """
        SELECT a.success, a.execution_time_ms AS time, a.worker_uuid::text AS worker, (
            SELECT coalesce(jsonb_object_agg(n.field, n.reason), '{}')
            FROM tasker_workflow_step_result_audit_anomalies AS n
        ) AS anomalies
        FROM tasker_workflow_step_result_audit AS a
        JOIN tasker_workflow_step_transitions AS t USING (workflow_step_transition_uuid)
        """
    ).fetchall()
    assert row == [
        {
            "success": hostile.success,
            "time": hostile.time,
            "worker": hostile.worker,
            "anomalies": hostile.anomalies,
        }
    ]
    rows = conn.execute("SELECT success FROM get_step_audit_history(%s)", (step.step_uuid,))
    assert rows.fetchall() == [{"success": hostile.success}]


def test_there_are_thirty_hostile_transitions() -> None:
    assert len(HOSTILE) >= 30


def test_an_anomaly_keeps_what_stood_there_cut_at_200_characters(conn: Connection) -> None:
    steps = create_steps(conn, 2)
    long = "é" * 300
    escaped = (
        '{"success": "a\\u0000\\\\b", "metadata": {"execution_time_ms": "\\ud800\\u005c0\\n"}}'
    )
    insert_each(
        conn,
        [
            Transition(steps[0], OK, json.dumps({"worker_uuid": long}), sort_key=1),
            Transition(steps[1], OK, text_event(escaped), sort_key=1),
        ],
    )
    anomalies = conn.execute(
        "SELECT field, raw_value FROM tasker_workflow_step_result_audit_anomalies ORDER BY field"
    ).fetchall()
    assert anomalies == [
        {"field": "execution_time_ms", "raw_value": "\\ud800\\0\n"},
        {"field": "success", "raw_value": "a\\u0000\\b"},
        {"field": "worker_uuid", "raw_value": long[:200]},
    ]


def test_an_anomaly_of_json_keeps_what_stood_in_the_text(conn: Connection) -> None:
    let_metadata_be(conn, "json")
    steps = create_steps(conn, 3)
    insert_each(
        conn,
        [
            Transition(
                steps[0],
                OK,
                '{"event": {"success": "a\\u0000\\\\b", "metadata": {"execution_time_ms": '
                '"\\ud800\\n"}}, "worker_uuid": "\\u0000\\u00e9\\t", '
                '"correlation_id": [-1.50e1,"\\ud800"]}',
                sort_key=1,
            ),
            Transition(
                steps[1], OK, '{"event": "\\"\\\\\\ud800\\"", "worker_uuid": 1e1000000}', sort_key=1
            ),
            Transition(steps[2], OK, '{"event": ["\\u0000", 1.0]}', sort_key=1),
        ],
    )
    rows = conn.execute(
        "SELECT field, raw_value FROM tasker_workflow_step_result_audit_anomalies "
        "JOIN tasker_workflow_step_result_audit USING (workflow_step_result_audit_uuid) "
        "ORDER BY array_position(%s::uuid[], workflow_step_uuid), field",
        ([step.step_uuid for step in steps],),
    ).fetchall()
    assert [(row["field"], row["raw_value"]) for row in rows] == [
        ("correlation_id", '[-1.50e1,"\\ud800"]'),
        ("execution_time_ms", "\\ud800\n"),
        ("success", "a\\u0000\\b"),
        ("worker_uuid", "\\u0000\\u00e9\t"),
        ("event", '"\\\\ud800"'),
        ("worker_uuid", "1e1000000"),
        ("event", '["\\u0000", 1.0]'),
    ]


# 75 KB on disk, and over a gigabyte as text.
HUGE = """
    SELECT '{"success": true, "metadata": {"execution_time_ms": 7}}' || jsonb_build_object('x', a)
        AS event, a AS numbers
    FROM (SELECT jsonb_agg('1e131071'::jsonb) AS a FROM generate_series(1, 8300)) AS s
"""


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (
            "jsonb_build_object('worker_uuid', 'me', 'event', event)",
            {"success": True, "time": 7, "anomalies": {"worker_uuid": "me"}},
        ),
        (
            "jsonb_build_object('worker_uuid', event, 'correlation_id', numbers)",
            {
                "success": True,
                "time": None,
                "anomalies": {
                    "worker_uuid": '{"x": [1' + "0" * 192,
                    "correlation_id": "[1" + "0" * 198,
                },
            },
        ),
        (
            "jsonb_build_object('event', numbers)",
            {"success": True, "time": None, "anomalies": {"event": "[1" + "0" * 198}},
        ),
        (
            "jsonb_build_object('event', jsonb_build_object('success', numbers, 'metadata', "
            "jsonb_build_object('execution_time_ms', event)))",
            {
                "success": True,
                "time": None,
                "anomalies": {
                    "success": "[1" + "0" * 198,
                    "execution_time_ms": '{"x": [1' + "0" * 192,
                },
            },
        ),
        (
            "jsonb_build_object('event', jsonb_build_object('data', jsonb_build_object("
            "'success', 'no', 'x', numbers)))",
            {"success": False, "time": None, "anomalies": {}},
        ),
        ("numbers", {"success": True, "time": None, "anomalies": {}}),
    ],
    ids=["worker", "ids", "array", "fields", "text", "array metadata"],
)
def test_what_is_huge_as_text_is_audited_and_not_printed(
    conn: Connection, metadata: str, expected: dict[str, object]
) -> None:
    (step,) = create_steps(conn)
    # Were it printed, that alone would take seconds and a gigabyte.
    conn.execute("SET statement_timeout = '1s'")
    (row,) = conn.execute(
        f"INSERT INTO tasker_workflow_step_transitions "
        f"(workflow_step_uuid, to_state, metadata, sort_key) SELECT %s, %s, {metadata}, 1 "
        f"FROM ({HUGE}) AS huge RETURNING workflow_step_transition_uuid AS key".encode(),
        (step.step_uuid, OK),
    ).fetchall()
    conn.execute("RESET statement_timeout")
    audited = conn.execute(
        """
        SELECT a.success, a.execution_time_ms AS time, (
            SELECT coalesce(jsonb_object_agg(n.field, n.raw_value), '{}')
            FROM tasker_workflow_step_result_audit_anomalies AS n
        ) AS anomalies
        FROM tasker_workflow_step_result_audit AS a
        """
    ).fetchall()
    assert audited == [expected]

    warnings: list[str | None] = []
    conn.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
    (row,) = conn.execute(
        "SELECT get_step_result(metadata, workflow_step_transition_uuid) IS NULL AS absent, "
        "workflow_step_transition_uuid AS key, metadata ? 'event' AS has_event "
        "FROM tasker_workflow_step_transitions"
    ).fetchall()
    assert row["absent"]
    assert warnings == (
        [f"the result of transition {row['key']} cannot be printed"] if row["has_event"] else []
    )


def test_a_small_result_beside_what_is_huge_as_text_is_given(conn: Connection) -> None:
    (row,) = conn.execute(
        "SELECT get_step_result(jsonb_build_object('event', "
        "jsonb_build_object('data', '{\"a\": 1}'::jsonb, 'x', numbers)))::text AS result "
        f"FROM ({HUGE}) AS huge".encode()
    ).fetchall()
    assert row == {"result": '{"a": 1}'}


def test_the_result_that_cannot_be_searched_gives_null_and_a_warning(conn: Connection) -> None:
    warnings: list[str | None] = []
    conn.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
    key = "0199f3a2-0000-7000-8000-000000000002"
    deep = '{"data": {"x": "\\u0000", "y": ' + "[" * DEEP + "]" * DEEP + "}}"
    for call in (
        "get_odd_step_result(%s, %s)",
        "get_step_result(jsonb_build_object('event', %s::text), %s)",
        "get_step_result(json_build_object('event', %s::text), %s)",
    ):
        row = conn.execute(f"SELECT {call}::text AS result".encode(), (deep, key)).fetchone()
        assert row == {"result": None}
    assert warnings == [f"the result of transition {key} cannot be printed"] * 3


def test_deep_values_are_cut_or_left_out_but_audited(conn: Connection) -> None:
    steps = create_steps(conn, 2)
    deep = "[" * 1000 + "]" * 1000
    objects = '{"a":' * 1000 + "1" + "}" * 1000
    insert_each(
        conn,
        [
            Transition(steps[0], OK, f'{{"event": {deep}, "worker_uuid": {objects}}}', 1),
            Transition(steps[1], OK, f'{{"event": {{"success": {deep}}}}}', 1),
        ],
    )
    rows = conn.execute(
        "SELECT field, raw_value FROM tasker_workflow_step_result_audit_anomalies ORDER BY field"
    ).fetchall()
    assert rows == [
        {"field": "event", "raw_value": "[" * 200},
        {"field": "success", "raw_value": "[" * 200},
        {"field": "worker_uuid", "raw_value": ('{"a": ' * 200)[:200]},
    ]


def test_the_transitions_of_a_real_worker_are_read_without_anomaly(conn: Connection) -> None:
    steps = create_steps(conn, 5)
    real = real_transitions()
    insert_each(
        conn,
        [
            Transition(step, line["to_state"], json.dumps(line["metadata"]), sort_key=1)
            for step, line in zip(steps, real, strict=True)
        ],
    )
    rows = conn.execute(
        """
        SELECT a.success, a.execution_time_ms, a.worker_uuid::text, a.correlation_id::text
        FROM tasker_workflow_step_result_audit AS a
        ORDER BY a.recorded_at, a.workflow_step_result_audit_uuid
        """
    ).fetchall()
    results = [line for line in real if line["to_state"] in (OK, FAILED)]
    assert [row["success"] for row in rows] == [True, False, True]
    for row, line in zip(rows, results, strict=True):
        assert row["execution_time_ms"] == 0
        assert row["worker_uuid"] == line["metadata"]["worker_uuid"]
        assert row["correlation_id"] == line["metadata"]["correlation_id"]
    assert conn.execute("SELECT FROM tasker_workflow_step_result_audit_anomalies").rowcount == 0


def test_the_result_of_a_real_worker_keeps_its_nul_and_its_letters(conn: Connection) -> None:
    steps = create_steps(conn, 5)
    real = real_transitions()
    for step, line in zip(steps, real, strict=True):
        insert_each(conn, [Transition(step, line["to_state"], json.dumps(line["metadata"]), 1)])
    nul, _, cafe = conn.execute(
        "SELECT result::text FROM list_step_audits() ORDER BY recorded_at DESC"
    ).fetchall()
    assert '"nul":"a\\u0000b"' in nul["result"]
    assert json.loads(nul["result"]) == json.loads(real[4]["metadata"]["event"])["data"]
    assert '"café":"naïve ☕"' in cafe["result"]
