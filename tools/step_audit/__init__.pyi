from .engine.context import TransitionContext
from .engine.processor import StepResultProcessor
from .engine.state_machine import StepStateMachine, StepTransition
from .engine.states import EventType, StepEvent, StepState
from .errors import (
    ForbiddenTransitionError,
    InvalidResultError,
    LostRaceError,
    NotInstalledError,
    StepAuditError,
    StepNotFoundError,
)
from .read.actions import (
    Attribution,
    OperatorAction,
    get_operator_actions,
    get_operator_actions_async,
)
from .read.audit import (
    AuditCursor,
    AuditPage,
    StepAuditWithResults,
    WorkflowStepResultAudit,
    find_by_uuid,
    get_audit_history,
    get_task_audit_history,
    list_audits,
)
from .read.changes import (
    ChangePage,
    StepAuditChange,
    get_step_changes,
    get_task_changes,
    list_changes,
)
from .read.client import (
    AsyncAuditClient,
    AuditBadRequestError,
    AuditClient,
    AuditClientError,
    AuditNotFoundError,
    AuditUnauthorizedError,
    AuditUnavailableError,
)
from .read.responses import OperatorActionResponse, StepAuditChangeResponse, StepAuditResponse

__all__ = [
    "AsyncAuditClient",
    "Attribution",
    "AuditBadRequestError",
    "AuditClient",
    "AuditClientError",
    "AuditCursor",
    "AuditNotFoundError",
    "AuditPage",
    "AuditUnauthorizedError",
    "AuditUnavailableError",
    "ChangePage",
    "EventType",
    "ForbiddenTransitionError",
    "InvalidResultError",
    "LostRaceError",
    "NotInstalledError",
    "OperatorAction",
    "OperatorActionResponse",
    "StepAuditChange",
    "StepAuditChangeResponse",
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
    "get_operator_actions",
    "get_operator_actions_async",
    "get_step_changes",
    "get_task_audit_history",
    "get_task_changes",
    "list_audits",
    "list_changes",
]
