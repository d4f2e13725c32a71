"""Generated histories: good, odd and hostile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.support.host import FAILED, OK, STATES, Step, Transition

# What jsonb can hold: no NUL, no surrogate.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
# What JSON text can hold as an escape: anything.
# (A union of two alphabets would draw almost no hostile character.)
_ANY_TEXT = st.lists(st.characters() | st.sampled_from('\0\\"\ud800\udc00u1'), max_size=20).map(
    "".join
)

_UUIDS = st.uuids().map(str)
_ODD_UUIDS = _UUIDS.flatmap(
    lambda u: st.sampled_from(
        [u.upper(), f"{{{u}}}", u.replace("-", ""), u[:-1], f" {u}", f"{u}x", f"{{{u}", u[:8]]
    )
)
_NUMBERS = (
    st.integers(-5, 5000)
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.5, 1.5, 2.5, -0.4, -0.0, 2**63 - 1, 2**63, 1e300])
)


def _values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | _NUMBERS | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    )


def _successes(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    words = "true false t f tru fals yes no y n on off of o 1 0 2 TRUE Yes oN nope".split()
    odd = st.sampled_from([*words, " true ", "\tno\n", "", " ", 1, 0, 2, 1.0, "1.0", -1])
    return st.booleans() | st.booleans() | odd | _values(text)


def _times(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    odd = "12ms,-1,1e3,1E+2,.5,5.,+7, 12 ,0x1F,1_000,NaN,Infinity,-inf,,1e,--1,1e400,1e-30".split(
        ","
    )
    return _NUMBERS | _NUMBERS.map(str) | st.sampled_from(odd) | _values(text)


def _results(text: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    times = st.fixed_dictionaries({"execution_time_ms": _times(text)}, optional={"x": text})
    whole = st.fixed_dictionaries(
        {
            "metadata": times,
            "result": _values(text),
            "status": text,
            "success": _successes(text),
        }
    )
    partial = st.fixed_dictionaries(
        {},
        optional={
            "success": _successes(text),
            "result": _values(text),
            "metadata": times | _values(text),
        },
    )
    return whole | whole | partial


def _events(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    results = _results(text)
    tagged = st.builds(lambda kind, data: {"type": kind, "data": data}, text, results)
    mixed = st.builds(lambda result, data: result | {"data": data}, results, _values(text))
    return tagged | tagged | results | mixed


_GOOD_TEXTS = (
    st.builds(json.dumps, _events(_ANY_TEXT))
    | st.builds(lambda event: json.dumps(event, separators=(",", ":")), _events(_ANY_TEXT))
    | st.builds(lambda event: json.dumps(event, ensure_ascii=False), _events(_TEXT))
)
_ODD_TEXTS = (
    st.builds(json.dumps, _values(_ANY_TEXT))
    | _GOOD_TEXTS.flatmap(lambda text: st.integers(0, len(text)).map(lambda n: text[:n]))
    | _TEXT
    | st.sampled_from(['{"success": false, "x": "\\uZZZZ"}', "null", "{}", ""])
)
_EVENTS = _GOOD_TEXTS | _GOOD_TEXTS | _events(_TEXT) | _ODD_TEXTS | _values(_TEXT)
_IDS = _UUIDS | _ODD_UUIDS | st.integers(10**31, 10**32 - 1) | _values(_TEXT)

# The first is nearest to what the engine writes, which the trigger reads by itself.
METADATA: st.SearchStrategy[str | None] = (
    st.fixed_dictionaries(
        {"event": _EVENTS, "worker_uuid": _UUIDS | _IDS, "correlation_id": _UUIDS | _IDS}
    ).map(json.dumps)
    | st.fixed_dictionaries({"event": _EVENTS}, optional={"worker_uuid": _IDS}).map(json.dumps)
    | st.fixed_dictionaries(
        {}, optional={"event": _EVENTS, "worker_uuid": _IDS, "correlation_id": _IDS}
    ).map(json.dumps)
    | _values(_TEXT).map(json.dumps)
    | st.none()
)

# What a column of type json holds beyond that: any escape, any number, a member twice.
_BIG = {"@beyond numeric": "1e1000000", "@wide": "1e131071", "@digits": "-1.50e1"}
_ANY_VALUES = st.sampled_from(list(_BIG)) | _values(_ANY_TEXT)
_ANY_RESULTS = _results(_ANY_TEXT).flatmap(
    lambda result: _ANY_VALUES.map(lambda value: result | {"result": value})
)
_ANY_EVENTS = (
    _EVENTS
    | _events(_ANY_TEXT)
    | _ANY_RESULTS
    | _ANY_RESULTS.map(json.dumps)
    # Its characters are escaped once, as those of the metadata around it, not twice.
    | _events(_ANY_TEXT).map(lambda event: json.dumps(event, ensure_ascii=False))
    | _ANY_TEXT
    | _ANY_VALUES
)
_MEMBERS = (
    st.tuples(st.sampled_from(['"event"', '"event"', '"ev\\u0065nt"']), _ANY_EVENTS)
    | st.tuples(st.sampled_from(['"worker_uuid"', '"correlation_id"']), _IDS | _ANY_VALUES)
    | st.tuples(_ANY_TEXT.map(json.dumps), _ANY_VALUES)
)


def _write_big(text: str) -> str:
    """The JSON text with numbers in the place of what stands for them, in a string's JSON too."""
    for name, number in _BIG.items():
        text = text.replace(f'\\"{name}\\"', number).replace(f'"{name}"', number)
    return text


JSON_METADATA: st.SearchStrategy[str | None] = (
    METADATA
    | st.lists(_MEMBERS, max_size=5).map(
        lambda members: _write_big(
            "{" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in members) + "}"
        )
    )
    | _ANY_VALUES.map(lambda value: _write_big(json.dumps(value)))
)

VALUES: st.SearchStrategy[str] = _values(_TEXT).map(json.dumps)


@dataclass(frozen=True)
class Write:
    """Some transitions and how they are written."""

    how: str
    transitions: list[Transition]


@st.composite
def histories(draw: st.DrawFn, steps: list[Step]) -> list[Write]:
    """Writes of transitions of ``steps``, in order: single, together, by COPY or rolled back."""
    # Every second transition is a result, whatever came before it: laws must not need a sane host.
    state = st.sampled_from(STATES) | st.sampled_from([OK, FAILED])
    history = []
    number = 0
    for _ in range(draw(st.integers(1, 4))):
        transitions = []
        for _ in range(draw(st.integers(1, 4))):
            number += 1
            step = draw(st.sampled_from(steps))
            transitions.append(Transition(step, draw(state), draw(METADATA), number))
        how = draw(st.sampled_from(["each", "together", "copy", "rolled back"]))
        history.append(Write(how, transitions))
    return history
