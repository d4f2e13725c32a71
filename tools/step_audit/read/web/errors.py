"""Every error in one form, ``{"error": {"code", "message"}}``, without the database's words."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from step_audit.errors import StepAuditError, describe
from step_audit.read.responses import ErrorDetail, ErrorResponse

TOLD = "step_audit.told"
"""Of a request's scope: where it is noted, under ``error``, why the database did not answer."""


def add_error_handlers(app: FastAPI) -> None:
    """Let ``app`` answer each error in the one form."""

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if "GET" in headers.get("Allow", "").split(", "):
            headers["Allow"] += ", HEAD"
        return _answer(HTTPStatus(error.status_code), error.detail, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        return _answer(HTTPStatus.BAD_REQUEST, f"{first['loc'][-1]}: {message}")

    @app.exception_handler(psycopg.Error)
    @app.exception_handler(StepAuditError)
    async def database(request: Request, error: Exception) -> JSONResponse:
        request.scope.get(TOLD, {})["error"] = reason_of(error) or ""
        return _answer(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "the audit cannot be read now; try again later",
            code="DATABASE_ERROR",
        )

    @app.exception_handler(Exception)
    async def unexpected(_: Request, __: Exception) -> JSONResponse:
        # It is raised again behind this answer, so the log has it.
        return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; its log says where")


def reason_of(error: Exception) -> str | None:
    """Why the database did not answer, without a word of SQL; None where it is not to blame."""
    if isinstance(error, psycopg.Error | StepAuditError):
        return " ".join(describe(error).split())
    return None


def _answer(
    status: HTTPStatus,
    message: str,
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
) -> JSONResponse:
    body = ErrorResponse(error=ErrorDetail(code=code or status.name, message=message))
    return JSONResponse(body.model_dump(), status, headers)
