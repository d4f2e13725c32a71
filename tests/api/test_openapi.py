"""The OpenAPI document says what the service does, whatever it is asked."""

from __future__ import annotations

from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth

from step_audit.database import Connection
from step_audit.read.web import create_app
from step_audit.read.web.keys import Keys
from tests.support.connect import dsn_of
from tests.support.results import record_results
from tests.support.service import serving

PROBES = {"/livez", "/readyz", "/health"}
KEY = {"X-API-Key": "right"}
HISTORY = "/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}/audit"
ERRORS = {
    "/metrics": {"401", "default"},
    "/livez": {"default"},
    "/readyz": {"503", "default"},
    "/health": {"503", "default"},
    HISTORY: {"400", "401", "404", "503", "default"},
    "/v1/tasks/{task_uuid}/audit": {"400", "401", "404", "503", "default"},
    HISTORY.replace("audit", "actions"): {"400", "401", "404", "503", "default"},
    "/v1/tasks/{task_uuid}/actions": {"400", "401", "404", "503", "default"},
    HISTORY.replace("audit", "changes"): {"400", "401", "404", "503", "default"},
    "/v1/tasks/{task_uuid}/changes": {"400", "401", "404", "503", "default"},
    "/v1/audit": {"400", "401", "503", "default"},
    "/v1/changes": {"400", "401", "503", "default"},
    "/v1/audit/{audit_uuid}": {"400", "401", "404", "503", "default"},
}


def test_each_operation_documents_its_replies_and_errors(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert set(document["paths"]) == set(ERRORS)
    for path, errors in ERRORS.items():
        (operation,) = document["paths"][path].values()
        assert set(operation["responses"]) == errors | {"200"}
        for status in errors:
            schema = operation["responses"][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorResponse"}
        secured = {name for choice in operation.get("security", []) for name in choice}
        assert secured == (set() if path in PROBES else {"HTTPBearer", "APIKeyHeader"})
    parts = document["components"]["schemas"]
    assert set(parts["ErrorDetail"]["required"]) == {"code", "message"}
    audit = parts["StepAuditResponse"]
    assert set(audit["required"]) == set(audit["properties"])
    assert len(audit["properties"]) == 18
    assert audit["properties"]["recorded_at"]["format"] == "date-time"
    assert audit["properties"]["audit_uuid"]["format"] == "uuid"


def ask_anything(operation: Any, mode: GenerationMode) -> set[int]:
    """Send requests that are all right, or all wrong; each reply is as documented."""
    statuses = set()

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def law(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            case.query.pop("cursor", None)  # nobody can make up a right one
        # One of two keys is enough; that check takes the other for the only one.
        reply = case.call_and_validate(headers=KEY, excluded_checks=[ignored_auth])
        statuses.add(reply.status_code)

    law()
    return statuses


def test_whatever_is_asked_the_reply_is_as_documented(conn: Connection) -> None:
    result = record_results(conn, 3)[0]
    found = conn.execute("SELECT * FROM list_step_audits(p_limit => 1)").fetchone()
    assert found is not None
    known = {
        "task_uuid": result.step.task_uuid,
        "step_uuid": result.step.step_uuid,
        "audit_uuid": found["workflow_step_result_audit_uuid"],
    }
    statuses: set[int] = set()
    with serving(create_app(dsn_of(conn), keys=Keys(["right"]))) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        for path in ERRORS:
            operation = schema[path]["GET"]
            operation.validate_response(httpx.get(address + path.format_map(known), headers=KEY))
            if path.startswith("/v1/"):  # the others take nothing
                statuses |= ask_anything(operation, GenerationMode.POSITIVE)
                statuses |= ask_anything(operation, GenerationMode.NEGATIVE)
    assert {200, 400, 404} <= statuses <= {200, 400, 401, 404, 405}
