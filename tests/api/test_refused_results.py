"""Results that are none: refused in clear words, with nothing written and the step as it was."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest

from step_audit.database import Connection
from step_audit.engine.processor import StepResultProcessor
from step_audit.errors import (
    ForbiddenTransitionError,
    InvalidResultError,
    StepAuditError,
    StepNotFoundError,
)
from tests.support.audit import audit_rows
from tests.support.host import FAILED, OK, STATES, create_steps
from tests.support.lifecycle import chain, everything_written, put, started_step

WORKER = uuid.uuid4()


def assert_refused(
    conn: Connection, result: Any, error: type[StepAuditError], message: str
) -> None:
    """The result is refused in exactly these words, and nothing is written."""
    before = everything_written(conn)
    with pytest.raises(error) as refused:
        StepResultProcessor(conn, WORKER).handle_send_step_result(result)
    assert str(refused.value) == message
    assert everything_written(conn) == before


def circular() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


def nested(depth: int = 100_000) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "Out of range float values are not JSON compliant"),
        (float("-inf"), "Out of range float values are not JSON compliant"),
        ({float("nan"): 1}, "Out of range float values are not JSON compliant"),
        ({1}, "Object of type set is not JSON serializable"),
        (object(), "Object of type object is not JSON serializable"),
        (b"bytes", "Object of type bytes is not JSON serializable"),
        (datetime.now(UTC), "Object of type datetime is not JSON serializable"),
        (MappingProxyType({}), "Object of type mappingproxy is not JSON serializable"),
        (WORKER, "Object of type UUID is not JSON serializable"),
        ({(1, 2): 3}, "keys must be str, int, float, bool or None, not tuple"),
        (circular(), "Circular reference detected"),
        (nested(), "maximum recursion depth exceeded"),
        (10**5000, "Exceeds the limit (4300 digits) for integer string conversion"),
    ],
    ids=[
        *("NaN", "infinity", "NaN as a key", "set", "object", "bytes", "datetime", "mapping"),
        *("UUID", "tuple as a key", "circular", "deeply nested", "too long an integer"),
    ],
)
def test_a_value_that_is_no_json_is_refused_and_nothing_is_written(
    conn: Connection, value: Any, reason: str
) -> None:
    step = started_step(conn)
    before = everything_written(conn)
    result = {"step_uuid": step.step_uuid, "success": False, "result": [{"deep": value}]}
    with pytest.raises(InvalidResultError) as error:
        StepResultProcessor(conn, WORKER).handle_send_step_result(result)
    message = str(error.value)
    assert message.startswith(
        f"the data of EnqueueAsErrorForOrchestration cannot be written as JSON: {reason}"
    )
    assert message.endswith("; nothing was written.")
    assert everything_written(conn) == before
    StepResultProcessor(conn, WORKER).handle_send_step_result(result | {"result": None})
    assert chain(conn, step)[-1].to_state == FAILED


@pytest.mark.parametrize(
    ("success", "shown"),
    [
        (None, "None"),
        (1, "1"),
        ("true", "'true'"),
        ([], "[]"),
        ("x" * 300_000, "'xxxxxxxxxxxx...xxxxxxxxxxxxx'"),
        (nested(), "[[[[[[[...]]]]]]]"),
        ("\ud800\n", "'\\ud800\\n'"),
    ],
    ids=["None", "1", "text", "list", "long text", "nested", "surrogate"],
)
def test_success_that_is_no_bool_is_refused(conn: Connection, success: Any, shown: str) -> None:
    step = started_step(conn)
    assert_refused(
        conn,
        {"step_uuid": step.step_uuid, "success": success},
        InvalidResultError,
        f"success of the result of step {step.step_uuid} is {shown}, neither True nor False; "
        "nothing was written.",
    )


def test_a_result_without_success_is_refused(conn: Connection) -> None:
    step = started_step(conn)
    message = (
        f"success of the result of step {step.step_uuid} is None, neither True nor False; "
        "nothing was written."
    )
    assert_refused(conn, {"step_uuid": step.step_uuid}, InvalidResultError, message)


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({}, "None"),
        ({"step_uuid": None}, "None"),
        ({"step_uuid": ""}, "''"),
        ({"step_uuid": "step-1"}, "'step-1'"),
        ({"step_uuid": 62}, "62"),
        ({"step_uuid": b"0" * 16}, "b'0000000000000000'"),
        ({"step_uuid": [str(WORKER)]}, f"['{str(WORKER)[:12]}...{str(WORKER)[-13:]}']"),
        ({"step_uuid": nested()}, "[[[[[[[...]]]]]]]"),
        ({"step_uuid": "\0"}, "'\\x00'"),
    ],
    ids=["missing", "None", "empty", "text", "number", "bytes", "list", "nested", "NUL"],
)
def test_a_step_uuid_that_is_none_is_refused(
    conn: Connection, result: dict[str, Any], shown: str
) -> None:
    started_step(conn)
    message = f"step_uuid of the result is {shown}, which is no UUID; nothing was written."
    assert_refused(conn, result | {"success": True}, InvalidResultError, message)


def test_a_result_for_an_unknown_step_is_refused(conn: Connection) -> None:
    started_step(conn)
    unknown = uuid.uuid4()
    message = f"step {unknown} does not exist; nothing was written."
    assert_refused(conn, {"step_uuid": unknown, "success": True}, StepNotFoundError, message)


def test_a_result_for_a_step_that_is_not_in_progress_is_refused(conn: Connection) -> None:
    states = sorted(set(STATES) - {"in_progress"})
    assert len(states) == 9
    for step, state in zip(create_steps(conn, 9), states, strict=True):
        put(conn, step, state)
        for success, event in (
            (True, "EnqueueForOrchestration"),
            (False, "EnqueueAsErrorForOrchestration"),
        ):
            assert_refused(
                conn,
                {"step_uuid": step.step_uuid, "success": success},
                ForbiddenTransitionError,
                f"step {step.step_uuid} is {state}, from where {event} is forbidden; "
                "nothing was written.",
            )


def test_a_result_that_is_reported_twice_is_recorded_once(conn: Connection) -> None:
    step = started_step(conn)
    result = {"step_uuid": step.step_uuid, "success": True}
    StepResultProcessor(conn, WORKER).handle_send_step_result(result)
    assert_refused(
        conn,
        result,
        ForbiddenTransitionError,
        f"step {step.step_uuid} is {OK}, from where EnqueueForOrchestration is forbidden; "
        "nothing was written.",
    )
    assert len(audit_rows(conn)) == 1
