"""Pages of the service, as a program reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self

import httpx

ACCEPT = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@dataclass
class Page:
    """What a page says: tags with the names of their attributes, texts, links by their text."""

    status: int
    tags: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(self.texts)

    def link(self, text: str) -> str | None:
        """Where the first link of such text leads; None where there is none."""
        return next((goal for goal, name in self.links if name.strip() == text), None)

    @classmethod
    def parse(cls, reply: httpx.Response) -> Self:
        """The page of a reply."""
        page = cls(reply.status_code)
        reader = _Reader(page)
        reader.feed(reply.content.decode())
        reader.close()
        return page


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__(convert_charrefs=True)
        self._page = page
        self._goal: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._page.tags.append((tag, tuple(name for name, _ in attrs)))
        self._page.values += [value for _, value in attrs if value]
        if tag == "a":
            self._goal = dict(attrs).get("href") or ""
            self._page.links.append((self._goal, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._goal = None

    def handle_data(self, data: str) -> None:
        self._page.texts.append(data)
        if self._goal is not None:
            self._page.links[-1] = (self._goal, self._page.links[-1][1] + data)


def get_page(http: httpx.Client, path: str) -> Page:
    """The page at a path."""
    reply = http.get(path, headers=ACCEPT)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    return Page.parse(reply)
