"""The page: what it shows, that it escapes all of it, and that its links lead where they say."""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from step_audit.database import Connection
from step_audit.read.web import create_app
from step_audit.read.web.page.payloads import indent
from step_audit.read.web.page.timeline import PAGE, SHOWN_CHARACTERS
from tests.support.connect import dsn_of
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    delete_transitions,
    insert_each,
    insert_step,
    insert_together,
)
from tests.support.pages import ACCEPT, Page, get_page
from tests.support.results import record_results
from tests.support.roles import login_roles
from tests.support.service import serving

# All that HTML, JSON and URLs give a meaning to, beside any other text that Postgres holds.
_TEXT = st.text(
    st.sampled_from("<>&\"'`={}%/\\;:?#+ \n\t{{}}")
    | st.characters(exclude_categories=["Cs", "Cc"]),
    min_size=1,
    max_size=60,
) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "{{ 7 * 7 }}",
        "{% raw %}",
        "</pre></details><h1>",
        "&lt;",
        "&amp;lt;",
        "javascript:alert(1)",
        "<!--",
        "]]>",
    ]
)


def metadata(result: object, **fields: object) -> str:
    event = {"type": "EnqueueForOrchestration", "data": {"success": True, "result": result}}
    return json.dumps({"event": json.dumps(event, ensure_ascii=False), **fields})


def show_task(http: httpx.Client, step: Step) -> Page:
    return get_page(http, f"/tasks/{step.task_uuid}?unfolded=true")


def written_with(conn: Connection, name: str, state: str, result: str) -> Step:
    step = Step(uuid.uuid4(), uuid.uuid4(), name)
    insert_step(conn, step)
    insert_each(
        conn,
        [Transition(step, state, "{}", 1, state), Transition(step, OK, metadata(result), 2, state)],
    )
    return step


def test_no_text_of_the_database_is_ever_markup(conn: Connection, http: httpx.Client) -> None:
    plain = written_with(conn, "name", "state", "result")
    tags = show_task(http, plain).tags
    list_tags = get_page(http, f"/results?task_uuid={plain.task_uuid}").tags

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(name=_TEXT, state=_TEXT, result=_TEXT)
    def law(name: str, state: str, result: str) -> None:
        step = written_with(conn, name, state, result)
        page = show_task(http, step)
        assert (page.status, page.tags) == (200, tags)
        assert name in page.text
        assert state in page.text
        assert json.dumps(result, ensure_ascii=False) in page.text
        page = get_page(http, f"/results?task_uuid={step.task_uuid}")
        assert (page.status, page.tags) == (200, list_tags)
        assert name in page.text

    law()


def test_what_is_asked_for_is_escaped_too(http: httpx.Client) -> None:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(text=_TEXT.filter(lambda text: text == text.strip()))
    def law(text: str) -> None:
        reply = http.get("/results", params={"task_uuid": text}, headers=ACCEPT)
        page = Page.parse(reply)
        assert page.status == 400
        assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img"})
        assert text in page.values

    law()
    assert get_page(http, "/%3Cscript%3E").status == 404


def test_the_role_that_changed_a_result_is_escaped(conn: Connection, http: httpx.Client) -> None:
    role = f'<script>&"{uuid.uuid4()}'
    name = psycopg.sql.Identifier(role).as_string()
    (audit,) = record_results(conn, 1)
    conn.execute(f"CREATE ROLE {name} SUPERUSER LOGIN".encode())
    with psycopg.connect(conn.info.dsn, user=role, autocommit=True) as other:
        other.execute(f"UPDATE {HOST.transitions} SET to_state = '{FAILED}'".encode())
    page = show_task(http, audit.step)
    assert f"by {role}" in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    conn.execute(f"DROP ROLE {name}".encode())


def test_no_reply_lets_a_browser_run_anything(conn: Connection, http: httpx.Client) -> None:
    (audit,) = record_results(conn, 1)
    task = f"/tasks/{audit.step.task_uuid}"
    payload = f"{task}/transitions/{audit.transition_uuid}/payload"
    for path in ("/", "/results", task, payload, "/nothing", "/results?success=maybe"):
        headers = http.get(path, headers=ACCEPT).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script" not in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_the_first_page_says_whether_results_are_audited(
    conn: Connection, http: httpx.Client
) -> None:
    assert "No result has been recorded yet" in get_page(http, "/").text
    record_results(conn, 2)
    page = get_page(http, "/")
    assert "Results are being audited" in page.text
    assert re.search(r"Last seal\s*never", page.text)
    assert re.search(r"Not sealed yet\s*2, the oldest for \d+ (s|min)", page.text)
    conn.execute("SELECT * FROM seal_step_result_audit()")
    page = get_page(http, "/")
    assert re.search(r"Last seal\s*\d{4}-\d\d-\d\d [\d:.]+, \d+ (s|min) ago", page.text)
    assert re.search(r"Sealed\s*2\s*Not sealed yet\s*0\s", page.text)
    assert page.link("Failures") == "/results?success=false"
    conn.execute(f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}".encode())
    page = get_page(http, "/")
    assert page.status == 200
    assert "Results are not being audited" in page.text
    assert "disabled" in page.text


def tasks_shown(page: Page) -> list[str]:
    return [goal.rpartition("#t-")[2] for goal, _ in page.links if "#t-" in goal]


@pytest.mark.parametrize("limit", [1, 4, 12, 100])
def test_pages_show_each_result_once(conn: Connection, http: httpx.Client, limit: int) -> None:
    (step,) = create_steps(conn)
    insert_together(conn, [Transition(step, OK, "{}", number) for number in range(12)])
    known = [str(audit["transition_uuid"]) for audit in http.get("/v1/audit").json()["items"]]
    shown: list[str] = []
    path: str | None = f"/results?limit={limit}"
    while path:
        page = get_page(http, path)
        assert 0 < len(tasks_shown(page)) <= limit
        shown += tasks_shown(page)
        assert len(shown) <= len(known)
        path = page.link("Older results")
    assert shown == known
    assert len(known) == 12


def filter_values(conn: Connection, audit: dict[str, Any]) -> dict[str, str]:
    return {
        "success": "false",
        "recorded_from": "2026-01-01 00:00",
        "recorded_until": "2126-01-01T00:00:00+02:00",
        "task_uuid": audit["task_uuid"],
        "step_uuid": audit["workflow_step_uuid"],
        "worker_uuid": audit["worker_uuid"],
        "correlation_id": audit["correlation_id"],
        "min_execution_time_ms": "1",
        "max_execution_time_ms": "1",
        "step_name": "step_0",
        "changed": "true",
        "deleted": "false",
        "manual": "false",
        "limit": "7",
    }


def test_a_form_becomes_a_link_that_keeps_its_filters_and_shows_what_http_replies(
    conn: Connection, http: httpx.Client
) -> None:
    record_results(conn, 6)
    values = filter_values(conn, http.get("/v1/audit").json()["items"][0])
    fields = fields_of(http)
    assert set(values) <= set(fields)
    for name, value in values.items():
        # White space around it may be a name's own.
        form = dict.fromkeys(fields, "") | {name: value if name == "step_name" else f" {value} "}
        reply = http.get("/results", params=form, headers=ACCEPT)
        assert reply.status_code == 303
        link = reply.headers["location"]
        assert parse_qs(urlsplit(link).query) == {name: [value]}
        page = get_page(http, link)
        assert page.status == 200
        expected = http.get("/v1/audit", params={name: value}).json()["items"]
        assert tasks_shown(page) == [audit["transition_uuid"] for audit in expected]
        # What the form shows is what it was sent.
        assert value in page.values
        if name != "limit":
            assert page.link(f"remove {name}") == "/results"


def fields_of(http: httpx.Client) -> list[str]:
    """The fields of the form, by its labels."""
    return re.findall(r'<label for="(\w+)">', http.get("/results", headers=ACCEPT).text)


def test_what_cannot_be_filtered_by_is_said_beside_the_form(http: httpx.Client) -> None:
    for query, words in (
        ("task_uuid=x", "task_uuid: Input should be a valid UUID"),
        ("success=maybe", "success: this is no true or false"),
        ("limit=5000", "limit: Input should be less than or equal to 1000"),
        ("cursor=x", "cursor: the cursor is not one that this service gave"),
        ("nothing=1", "nothing: Extra inputs are not permitted"),
    ):
        page = get_page(http, f"/results?{query}")
        assert page.status == 400
        assert words in page.text


def test_a_task_shows_all_that_happened_in_order(conn: Connection, http: httpx.Client) -> None:
    (step,) = create_steps(conn)
    for number, (state, event) in enumerate(
        [
            ("in_progress", {"type": "Start"}),
            (FAILED, {"type": "x", "data": {"success": False, "result": "first"}}),
            ("waiting_for_retry", {"type": "WaitForRetry"}),
            ("pending", {"type": "Retry"}),
            (OK, {"type": "x", "data": {"success": True, "result": "second"}}),
            ("resolved_manually", {"type": "ResolveManually", "data": "Alice"}),
        ]
    ):
        insert_each(
            conn, [Transition(step, state, json.dumps({"event": json.dumps(event)}), number)]
        )
    conn.execute(
        f"UPDATE {HOST.transitions} SET to_state = %s WHERE to_state = %s".encode(), (OK, FAILED)
    )
    for table in HOST.own_audit:
        conn.execute(f"DELETE FROM {table}".encode())
    conn.execute(f"DELETE FROM {HOST.transitions} WHERE sort_key = 4".encode())
    text = show_task(http, step).text
    order = [
        "in_progress",
        "failed",
        "first",
        "waiting_for_retry",
        "pending",
        "succeeded",
        "deleted since",
        "second",
        "resolved_manually",
        "by hand: ResolveManually",
        "a result was changed",
        FAILED,
        "a result was deleted",
        "second",
    ]
    place = 0
    for words in order:
        place = text.index(words, place)
    assert "1 earlier version" in text


def test_a_task_without_results_and_one_that_is_unknown(
    conn: Connection, http: httpx.Client
) -> None:
    (step,) = create_steps(conn)
    assert "Nothing has happened" in show_task(http, step).text
    page = get_page(http, f"/tasks/{uuid.uuid4()}")
    assert page.status == 404
    assert "there is no task" in page.text
    for path in (
        "/tasks/x",
        f"/tasks/{step.task_uuid}?after=x",
        f"/tasks/{step.task_uuid}?after=1_2_3",
    ):
        assert get_page(http, path).status == 400


def test_a_long_task_is_shown_in_pages(conn: Connection, http: httpx.Client) -> None:
    (step,) = create_steps(conn)
    count = 2 * PAGE + 1
    insert_together(conn, [Transition(step, OK, "{}", number) for number in range(count)])
    conn.execute(f"UPDATE {HOST.transitions} SET metadata = NULL WHERE sort_key = 3".encode())
    seen: list[str] = []
    changes = 0
    path: str | None = f"/tasks/{step.task_uuid}"
    while path:
        page = get_page(http, path)
        seen += [value for value in page.values if value.startswith("t-")]
        changes += page.text.count("a result was changed")
        following = page.link("What happened then")
        path = following and f"/tasks/{step.task_uuid}{following}"
    assert len(seen) == len(set(seen)) == count
    assert changes == 1


def test_a_payload_of_five_megabytes_is_cut_and_a_link_away(
    conn: Connection, http: httpx.Client
) -> None:
    (step,) = create_steps(conn)
    data = f'{{"success": true, "result": [1.50, "{"x" * 5_000_000}"]}}'
    event = json.dumps({"event": f'{{"type": "x", "data": {data}}}'})
    insert_each(conn, [Transition(step, OK, event, 1)])
    conn.execute(f"UPDATE {HOST.transitions} SET metadata = NULL".encode())
    insert_each(conn, [Transition(step, OK, event, 2)])
    reply = http.get(f"/tasks/{step.task_uuid}", headers=ACCEPT)
    assert len(reply.content) < 4 * SHOWN_CHARACTERS
    page = Page.parse(reply)
    links = [goal for goal, name in page.links if name == "The whole payload as it stands"]
    assert len(links) == 2
    for link in links:
        whole = http.get(link)
        assert whole.headers["content-type"] == "text/plain; charset=utf-8"
        assert whole.text == data
        other = link.replace(str(step.task_uuid), str(uuid.uuid4()))
        assert get_page(http, other).status == 404


def test_a_browser_gets_errors_as_pages_and_a_program_as_json(
    conn: Connection, http: httpx.Client
) -> None:
    for path, status in (("/nothing", 404), ("/tasks/x", 400), (f"/tasks/{uuid.uuid4()}", 404)):
        assert get_page(http, path).status == status
        reply = http.get(path)
        assert (reply.status_code, "error" in reply.json()) == (status, True)
    # What is for programs is JSON to all.
    for path in ("/v1/nothing", "/v1/audit?limit=0"):
        assert "error" in http.get(path, headers=ACCEPT).json()


def test_a_database_that_is_away_is_a_page() -> None:
    nowhere = psycopg.conninfo.make_conninfo(host="/nowhere")
    with (
        serving(create_app(nowhere)) as address,
        httpx.Client(base_url=address, timeout=30) as http,
    ):
        page = get_page(http, "/")
    assert page.status == 503
    assert "the audit cannot be read now; try again later" in page.text


def test_deleted_transitions_stay_on_the_page(conn: Connection, http: httpx.Client) -> None:
    audits = record_results(conn, 2)
    delete_transitions(conn)
    page = show_task(http, audits[0].step)
    assert page.text.count("deleted since") == 2
    assert get_page(http, "/results").text.count("deleted") >= 2


def record_rates(conn: Connection, name: str) -> str:
    """Results of one worker, a third of them failures; gives the worker."""
    worker = str(uuid.uuid4())
    step = Step(uuid.uuid4(), uuid.uuid4(), name)
    insert_step(conn, step)
    for number in range(9):
        data = {"success": number % 3 > 0}
        event = json.dumps({"event": json.dumps({"data": data}), "worker_uuid": worker})
        insert_each(conn, [Transition(step, "in_progress", "{}", 2 * number)])
        insert_each(conn, [Transition(step, OK, event, 2 * number + 1)])
    return worker


def test_a_worker_and_a_step_name_have_their_rates(conn: Connection, http: httpx.Client) -> None:
    name = "a/b ?c=d&e#f%2F<i>"
    worker = record_rates(conn, name)
    record_results(conn, 3)
    listed = get_page(http, f"/results?worker_uuid={worker}")
    for goal in (listed.link(worker), listed.link(name)):
        assert goal
        page = get_page(http, goal)
        assert page.status == 200
        assert "9 results recorded" in page.text
        assert "3 (33.3 %)" in page.text
        assert [tag for tag, _ in page.tags].count("svg") == 2
        assert "i" not in {tag for tag, _ in page.tags}
        failures = page.link("Its failures")
        assert failures
        assert len(tasks_shown(get_page(http, failures))) == 3
        for query, words in (
            ("?recorded_until=2026-01-01", "No result is recorded from 2025-12-02"),
            ("?recorded_from=2000-01-01", "By the day"),
            ("?recorded_from=1", "recorded_from: this is no date and time"),
            ("?recorded_until=0001-01-01", "No result is recorded from 0001-01-01"),
            ("?recorded_from=9999-12-31T23:59:59", "No result is recorded"),
        ):
            assert words in get_page(http, goal + query).text
    assert get_page(http, "/workers/x").status == 400
    assert "No result is recorded" in get_page(http, f"/workers/{uuid.uuid4()}").text
    assert get_page(http, "/step-names/%00").status == 400


def test_the_results_shown_are_a_link_away_as_csv(conn: Connection, http: httpx.Client) -> None:
    record_results(conn, 6)
    shown = get_page(http, "/results?success=true&limit=3")
    link = shown.link("These as CSV")
    assert link
    reply = http.get(link, headers=ACCEPT)
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in reply.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(reply.text)))
    assert [row["workflow_step_transition_uuid"] for row in rows] == tasks_shown(shown)
    assert len(rows) == 3
    assert all(json.loads(row["result"])["success"] for row in rows)
    assert get_page(http, "/results.csv?limit=0").status == 400


def test_a_payload_changes_nothing_but_its_white_space_to_be_read() -> None:
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
        lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    )

    @given(value=values, separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,", "\n:\t")]))
    def law(value: object, separators: tuple[str, str]) -> None:
        text = json.dumps(value, ensure_ascii=False, separators=separators)
        assert repr(json.loads(indent(text))) == repr(value)
        # Each token stands, in its order: a number keeps the digits that it was written with.
        assert _tokens(indent(text)) == _tokens(text)

    law()
    deep = "[" * 5000 + "1.50" + "]" * 5000
    assert "".join(indent(deep).split()) == deep
    assert len(indent(deep)) < 500_000


def _tokens(text: str) -> list[str]:
    return re.findall(r'"(?:[^"\\]|\\.)*"|[^\s"]', text)


def test_a_reader_is_all_that_the_page_needs_to_be(conn: Connection) -> None:
    audits = record_results(conn, 3)
    conn.execute(f"UPDATE {HOST.transitions} SET metadata = NULL WHERE to_state = '{OK}'".encode())
    with login_roles(conn, "page_reader"):
        conn.execute("SELECT grant_step_audit('page_reader', 'reader')")
        with (
            serving(create_app(dsn_of(conn, user="page_reader"))) as address,
            httpx.Client(base_url=address, timeout=30) as http,
        ):
            listed = get_page(http, "/results")
            assert len(tasks_shown(listed)) == 3
            worker = next(goal for goal, _ in listed.links if goal.startswith("/workers/"))
            task = f"/tasks/{audits[0].step.task_uuid}"
            for path in ("/", task, worker, "/step-names/step_0", "/results.csv"):
                assert http.get(path).status_code == 200, path
            assert "a result was changed" in get_page(http, task).text
