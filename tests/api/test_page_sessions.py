"""Signing in to the page: a key becomes a cookie that no other site can use and nobody make."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http.cookies import SimpleCookie

import httpx
import pytest

from step_audit.database import Connection
from step_audit.read.web import create_app
from step_audit.read.web.keys import Keys
from step_audit.read.web.page.sessions import COOKIE, SECONDS
from tests.support.connect import dsn_of
from tests.support.pages import ACCEPT, get_page
from tests.support.service import serving

KEY = "a-key-of-forty-two-characters-for-the-tests"
OTHER = "another-key-for-the-tests"


@pytest.fixture
def guarded(conn: Connection) -> Iterator[httpx.Client]:
    """A browser of a service that has keys."""
    with (
        serving(create_app(dsn_of(conn), keys=Keys([KEY, OTHER]))) as address,
        httpx.Client(base_url=address, timeout=30, headers=ACCEPT) as http,
    ):
        yield http


def sign_in(
    http: httpx.Client, key: str = KEY, goal: str = "/results", **headers: str
) -> httpx.Response:
    origin = {"Origin": str(http.base_url).rstrip("/")}
    return http.post("/sign-in", data={"key": key, "goal": goal}, headers=origin | headers)


def test_a_key_opens_the_page_asked_for_and_stays_out_of_cookie_and_address(
    guarded: httpx.Client,
) -> None:
    for path in ("/", "/results?success=false", "/tasks/x"):
        page = get_page(guarded, path)
        assert page.status == 401
        assert path in page.values
    reply = sign_in(guarded, goal="/results?success=false")
    assert (reply.status_code, reply.headers["location"]) == (303, "/results?success=false")
    cookie = SimpleCookie(reply.headers["set-cookie"])[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/")
    assert int(cookie["max-age"]) == SECONDS
    assert KEY not in str(reply.headers)
    assert guarded.get("/results").status_code == 200
    assert guarded.get("/v1/audit").status_code == 401


def test_the_cookie_goes_over_https_only_where_the_page_does(conn: Connection) -> None:
    with serving(create_app(dsn_of(conn), keys=Keys([KEY]))) as address:
        for scheme, secure in (("http", ""), ("https", True)):
            with httpx.Client(base_url=address) as http:
                reply = sign_in(http, **{"X-Forwarded-Proto": scheme})
                assert SimpleCookie(reply.headers["set-cookie"])[COOKIE]["secure"] == secure


def test_a_wrong_key_is_told_and_gives_nothing(guarded: httpx.Client) -> None:
    for key in ("", "no-such-key", KEY[:-1], f"{KEY}x"):
        reply = sign_in(guarded, key)
        assert reply.status_code == 401
        assert "This key is not known" in reply.text
        assert "set-cookie" not in reply.headers
        assert not key or key not in reply.text
    assert guarded.get("/").status_code == 401


def test_who_signs_out_is_out(guarded: httpx.Client) -> None:
    sign_in(guarded)
    assert "Sign out" in get_page(guarded, "/").text
    origin = {"Origin": str(guarded.base_url).rstrip("/")}
    assert guarded.post("/sign-out", headers=origin).status_code == 303
    assert guarded.get("/").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(guarded: httpx.Client, headers: dict[str, str]) -> None:
    assert sign_in(guarded, **headers).status_code == 403
    assert guarded.post("/sign-out", headers=headers).status_code == 403


def test_a_large_form_is_refused(guarded: httpx.Client) -> None:
    assert sign_in(guarded, "x" * 100_000).status_code == 413


@pytest.mark.parametrize(
    "goal",
    [
        "https://example.org/",
        "//example.org/",
        "/\\example.org",
        "javascript:alert(1)",
        "",
        "x",
        "/\t/example.org",
        "/x\r\nSet-Cookie: a=b",
    ],
)
def test_signing_in_leads_to_no_other_site(guarded: httpx.Client, goal: str) -> None:
    reply = sign_in(guarded, goal=goal)
    assert (reply.status_code, reply.headers["location"]) == (303, "/")


def test_a_cookie_cannot_be_made_nor_kept_longer_nor_outlive_its_key(conn: Connection) -> None:
    keys = Keys([KEY])
    later, before = str(int(time.time()) + 60), str(int(time.time()) - 1)
    good = f"{later}.{keys.sign(KEY, later)}"
    signature = keys.sign(KEY, later)
    with serving(create_app(dsn_of(conn), keys=keys)) as address:

        def status(cookie: str) -> int:
            return httpx.get(f"{address}/", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code

        assert status(good) == 200
        for cookie in (
            "",
            ".",
            KEY,
            f"{int(later) + 1}.{signature}",
            f"{later}.{signature[:-1]}",
            f"{later}.{Keys([OTHER]).sign(OTHER, later)}",
            f"{before}.{keys.sign(KEY, before)}",
            f"{later}.",
        ):
            assert status(cookie) == 401, cookie
    with serving(create_app(dsn_of(conn), keys=Keys([OTHER]))) as address:
        assert status(good) == 401


def test_a_link_from_elsewhere_is_asked_for_again_with_the_cookie(guarded: httpx.Client) -> None:
    refresh = '<meta http-equiv="refresh" content="0">'
    for site, again in (("cross-site", True), ("none", False), ("same-origin", False)):
        reply = guarded.get("/results", headers={"Sec-Fetch-Site": site})
        assert (reply.status_code, refresh in reply.text) == (401, again)


def test_without_keys_nobody_signs_in(http: httpx.Client) -> None:
    assert "Sign out" not in get_page(http, "/").text
    assert sign_in(http, "anything").status_code == 303
