from .audit import (
    AuditCursor,
    AuditPage,
    StepAuditWithResults,
    WorkflowStepResultAudit,
    find_by_uuid,
    get_audit_history,
    get_task_audit_history,
    list_audits,
)
from .client import (
    AsyncAuditClient,
    AuditBadRequestError,
    AuditClient,
    AuditClientError,
    AuditNotFoundError,
    AuditUnauthorizedError,
    AuditUnavailableError,
)
from .context import TransitionContext
from .errors import (
    ForbiddenTransitionError,
    InvalidResultError,
    LostRaceError,
    NotInstalledError,
    StepAuditError,
    StepNotFoundError,
)
from .processor import StepResultProcessor
from .responses import StepAuditResponse
from .state_machine import StepStateMachine, StepTransition
from .states import EventType, StepEvent, StepState

__all__ = [
    "AsyncAuditClient",
    "AuditBadRequestError",
    "AuditClient",
    "AuditClientError",
    "AuditCursor",
    "AuditNotFoundError",
    "AuditPage",
    "AuditUnauthorizedError",
    "AuditUnavailableError",
    "EventType",
    "ForbiddenTransitionError",
    "InvalidResultError",
    "LostRaceError",
    "NotInstalledError",
    "StepAuditError",
    "StepAuditResponse",
    "StepAuditWithResults",
    "StepEvent",
    "StepNotFoundError",
    "StepResultProcessor",
    "StepState",
    "StepStateMachine",
    "StepTransition",
    "TransitionContext",
    "WorkflowStepResultAudit",
    "find_by_uuid",
    "get_audit_history",
    "get_task_audit_history",
    "list_audits",
]
