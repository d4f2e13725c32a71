"""Each view in a browser, for whoever reads it, by keyboard, and whatever a payload holds."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from playwright.sync_api import Page, expect

from step_audit.database import Connection
from step_audit.read.web import create_app
from step_audit.read.web.keys import Keys
from tests.browser.axe import violations
from tests.browser.conftest import Open
from tests.support.connect import dsn_of
from tests.support.host import FAILED, HOST, OK, Step, Transition, create_steps, insert_each
from tests.support.results import record_results
from tests.support.service import serving

WORKER = str(uuid.UUID(int=62))
KEY = "a-key-of-forty-two-characters-for-the-tests"
NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 900}


def record_story(conn: Connection, result: object = "fine") -> Step:
    """A task with a failure, a retry, a change, an action by hand, and then the result given."""
    (step,) = create_steps(conn)
    correlation = str(uuid.uuid4())
    for number, (state, event) in enumerate(
        [
            ("in_progress", {"type": "Start"}),
            (FAILED, {"type": "x", "data": {"success": False, "result": "declined"}}),
            ("waiting_for_retry", {"type": "WaitForRetry"}),
            ("pending", {"type": "Retry"}),
            ("in_progress", {"type": "Start"}),
            (OK, {"type": "x", "data": {"success": True, "result": result}}),
            ("resolved_manually", {"type": "ResolveManually", "data": "Alice"}),
        ]
    ):
        metadata = {
            "event": json.dumps(event),
            "worker_uuid": WORKER,
            "correlation_id": correlation,
        }
        insert_each(conn, [Transition(step, state, json.dumps(metadata), number)])
    conn.execute(
        f"UPDATE {HOST.transitions} SET metadata = metadata || '{{\"note\": 1}}' "
        "WHERE to_state = %s".encode(),
        (FAILED,),
    )
    return step


def views(step: Step) -> dict[str, str]:
    return {
        "state": "/",
        "results": "/results",
        "filtered": "/results?success=false&step_name=step_0",
        "wrong": "/results?task_uuid=x",
        "task": f"/tasks/{step.task_uuid}",
        "unfolded": f"/tasks/{step.task_uuid}?unfolded=true",
        "worker": f"/workers/{WORKER}",
        "step name": "/step-names/step_0",
        "unknown": "/nothing",
    }


# The scheme decides the colours, the size what stands where.
@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", NARROW)])
def test_each_view_can_be_read_by_anybody(
    conn: Connection, address: str, open_page: Open, scheme: str, size: dict[str, int]
) -> None:
    step = record_story(conn)
    record_results(conn, 5)
    page = open_page(color_scheme=scheme, viewport=size)
    for name, path in views(step).items():
        page.goto(address + path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        if name == "wrong":
            page.get_by_text("Filters").click()
        assert violations(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], name


def test_the_form_to_sign_in_can_be_read_by_anybody(conn: Connection, open_page: Open) -> None:
    with serving(create_app(dsn_of(conn), keys=Keys([KEY]))) as address:
        page = open_page()
        page.goto(f"{address}/results")
        assert violations(page) == []
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("This key is not known.")
        assert violations(page) == []


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what is focused says ``name``."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if name in page.evaluate(
            "e = document.activeElement, (e.labels?.[0] ?? e).innerText || ''"
        ):
            return
    pytest.fail(f"{name} is not reached by keyboard")


def test_all_is_reached_by_keyboard(conn: Connection, address: str, open_page: Open) -> None:
    step = record_story(conn)
    page = open_page(viewport=WIDE)
    page.goto(address)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    page.goto(address)
    tab_to(page, "Results")
    page.keyboard.press("Enter")
    expect(page).to_have_title("Results · step-audit")
    tab_to(page, "Filters")
    page.keyboard.press("Enter")
    tab_to(page, "Step name")
    page.keyboard.type("step_0")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{address}/results?step_name=step_0")
    tab_to(page, str(step.task_uuid))
    page.keyboard.press("Enter")
    expect(page).to_have_title(f"Task {step.task_uuid} · step-audit")
    tab_to(page, "Payload")
    page.keyboard.press("Space")
    expect(page.get_by_role("group", name="Payload", exact=True).first).to_be_visible()


HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>"


def test_a_payload_of_scripts_is_shown_and_never_run(
    conn: Connection, address: str, open_page: Open
) -> None:
    step = record_story(conn, HOSTILE)
    page = open_page()
    page.goto(f"{address}/tasks/{step.task_uuid}?unfolded=true")
    expect(page.get_by_text(HOSTILE)).to_be_visible()
    assert page.locator("script, img").count() == 0
    page.get_by_role("link", name="The whole payload as it stands").nth(5).click()
    expect(page.get_by_text(HOSTILE)).to_be_visible()
    assert page.locator("script, img").count() == 0


def test_a_payload_of_five_megabytes_is_cut_and_a_link_away(
    conn: Connection, address: str, open_page: Open
) -> None:
    step = record_story(conn, ["x" * 5_000_000, "its end"])
    page = open_page()
    page.goto(f"{address}/tasks/{step.task_uuid}?unfolded=true")
    expect(page.get_by_text("These are the first 10,000 characters")).to_be_visible()
    assert len(page.content()) < 100_000
    page.get_by_role("link", name="The whole payload as it stands").nth(5).click()
    expect(page.locator("pre")).to_contain_text("its end", timeout=30_000)


def test_it_works_without_scripts_from_signing_in_to_signing_out(
    conn: Connection, open_page: Open
) -> None:
    step = record_story(conn)
    with serving(create_app(dsn_of(conn), keys=Keys([KEY]))) as address:
        page = open_page(java_script_enabled=False)
        page.goto(f"{address}/results?success=true")
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{address}/results?success=true")
        page.get_by_text("Filters", exact=True).click()
        page.get_by_label("Succeeded").select_option("no")
        page.get_by_role("button", name="Filter").click()
        expect(page).to_have_url(f"{address}/results?success=false")
        expect(page.get_by_role("row")).to_have_count(2)
        page.get_by_role("link", name=str(step.task_uuid)).click()
        page.get_by_text(re.compile("^Payload")).first.click()
        expect(page.get_by_role("group", name="Payload", exact=True).first).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.context.cookies() == []


def test_a_link_from_another_site_leads_to_where_it_says(conn: Connection, open_page: Open) -> None:
    with serving(create_app(dsn_of(conn), keys=Keys([KEY]))) as address:
        page = open_page()
        page.goto(f"{address}/")
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Newest results")).to_be_visible()
        assert page.evaluate("document.cookie") == ""
        elsewhere = page.context.new_page()
        elsewhere.set_content(f'<a href="{address}/results?success=false">look at this</a>')
        elsewhere.get_by_role("link").click()
        expect(elsewhere).to_have_title("Results · step-audit")


def test_what_is_printed_is_the_content(conn: Connection, address: str, open_page: Open) -> None:
    step = record_story(conn)
    page = open_page(viewport=WIDE)
    page.emulate_media(media="print")
    page.goto(f"{address}/tasks/{step.task_uuid}?unfolded=true")
    expect(page.get_by_role("navigation")).to_be_hidden()
    expect(page.get_by_text("declined").first).to_be_visible()
