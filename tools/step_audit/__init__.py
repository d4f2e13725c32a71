"""The audit trail for Postgres-backed workflow engines: one row per worker result."""

from step_audit.errors import NotInstalledError, RefusedError, StepAuditError

__all__ = ["NotInstalledError", "RefusedError", "StepAuditError"]
