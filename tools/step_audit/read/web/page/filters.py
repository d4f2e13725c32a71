"""The filters of the list as a form sends them: empty where they do not filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams

YES_OR_NO = (("true", "yes"), ("false", "no"))


@dataclass(frozen=True)
class Field:
    """A field of the form: the filter that it fills, and the words and the input for it."""

    name: str
    label: str
    kind: str = "text"
    options: tuple[tuple[str, str], ...] = ()
    placeholder: str = ""


FIELDS = (
    Field("step_name", "Step name"),
    Field("success", "Succeeded", "select", YES_OR_NO),
    Field("recorded_from", "Recorded from, UTC", "text", placeholder="2026-11-01 12:00"),
    Field("recorded_until", "Recorded before, UTC", "text", placeholder="2026-11-01 12:00"),
    Field("task_uuid", "Task"),
    Field("step_uuid", "Step"),
    Field("worker_uuid", "Worker"),
    Field("correlation_id", "Correlation id"),
    Field("min_execution_time_ms", "Reported ms, at least"),
    Field("max_execution_time_ms", "Reported ms, at most"),
    Field("changed", "Changed since", "select", YES_OR_NO),
    Field("deleted", "Deleted since", "select", YES_OR_NO),
    Field("manual", "Step settled by hand", "select", YES_OR_NO),
    Field("limit", "Results on a page"),
)


@dataclass(frozen=True)
class Asked:
    """What a link or form asks for: the texts as given, the values, and what is wrong with them."""

    texts: dict[str, str]
    values: dict[str, Any]
    errors: dict[str, str]
    fields: tuple[Field, ...]

    @property
    def filtering(self) -> dict[str, str]:
        """What the list is filtered by."""
        return {name: text for name, text in self.texts.items() if name not in {"limit", "cursor"}}

    @property
    def error(self) -> str:
        """What is wrong, in a line."""
        return "; ".join(f"{name}: {message}" for name, message in self.errors.items())

    def link(self, **changed: str | None) -> str:
        """The query of the same question with some of it changed, or with None left out."""
        texts = {name: text for name, text in {**self.texts, **changed}.items() if text}
        return f"?{urlencode(texts)}" if texts else ""


def read_filters(model: type[BaseModel], query: QueryParams) -> Asked:
    """The filters of a query, by the rules of ``model``, which the HTTP interface has too."""
    texts = {name: _given(name, text) for name, text in query.items() if _given(name, text)}
    fields = tuple(field for field in FIELDS if field.name in model.model_fields)
    try:
        return Asked(texts, dict(model.model_validate(texts)), {}, fields)
    except ValidationError as error:
        errors = {
            str(each["loc"][0]): each["msg"].removeprefix("Value error, ")
            for each in error.errors()
        }
        return Asked(texts, {}, errors, fields)


def _given(name: str, text: str) -> str:
    # The engine may name a step as it likes.
    return text if name == "step_name" else text.strip()
