"""The frame of every page: who is logged in, the templates, and what an error looks like to a person."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..deeds import ROLE_OF
from . import words
from .access import Caller
from .asked import Answer, Asked, Run
from .problems import reason_of, status_of, title_of
from .site import Site

HTML = "text/html; charset=utf-8"
STATIC = Path(__file__).parent / "static"
STATIC_TYPES = {"style.css": "text/css; charset=utf-8", "live.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"}

Show = Callable[[Site, Asked, Caller], Any]
"""What a page shows: a value of its own type, which its template knows as `view`."""


class Shell:
    """Renders pages of one site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        loader = PackageLoader("edgewright.controller.web", "pages")
        self._templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        self._templates.globals.update(fleet=site.fleet, static=_versioned, path_of=path_of, query_of=query_of, role_of=ROLE_OF)
        names = ("kind_of", "state_words", "whose", "span", "moment", "number", "percent", "size", "times")
        self._templates.filters.update({name: getattr(words, name) for name in names})

    def page(self, template: str, show: Show) -> Run:
        """A page for whoever is logged in; everybody else is sent to the login."""

        def run(asked: Asked) -> Answer:
            caller = self.site.access.of_browser(asked, self.site.clock())
            if caller is None:
                return to_login(asked)
            return self.render(template, asked, caller, show(self.site, asked, caller))

        return run

    def render(self, template: str, asked: Asked, caller: Caller | None, view: Any, status: int = 200) -> Answer:
        now_s = self.site.clock()
        text = self._templates.get_template(template).render(
            asked=asked, me=caller, view=view, now_s=now_s, ago=lambda moment_s: words.ago(moment_s, now_s)
        )
        return Answer(status, text.encode(), HTML)

    def refuse(self, asked: Asked, error: Exception) -> Answer:
        """A page that says what is wrong, whose fault it is and what to do."""
        reason = reason_of(error)
        status = status_of(reason)
        caller = self.site.access.of_browser(asked, self.site.clock())
        return self.render("error.html", asked, caller, _Error(title_of(status), reason), status)


class _Error:
    """What the page of an error shows."""

    def __init__(self, title: str, reason: Any) -> None:
        self.title, self.reason = title, reason


def to_login(asked: Asked) -> Answer:
    there = asked.path + (f"?{urlencode(asked.query)}" if asked.query else "")
    return to("/login" if asked.method != "GET" or there == "/" else f"/login?{urlencode({'next': there})}")


def to(place: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Go there with GET."""
    return Answer(303, b"", HTML, {"location": place, **(headers or {})})


def path_of(*parts: str) -> str:
    """A path of these parts, each quoted."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def query_of(**fields: str | int | bool | None) -> Markup:
    """A query of the fields that are given, for an attribute."""
    known = {name: str(value) for name, value in fields.items() if value not in {None, "", False}}
    return Markup("?{}").format(urlencode(known)) if known else Markup()


def static_answer(name: str) -> Answer | None:
    """A file that browsers keep: its address changes with its content."""
    if name not in STATIC_TYPES:
        return None
    return Answer(200, (STATIC / name).read_bytes(), STATIC_TYPES[name], {"cache-control": "public, max-age=31536000, immutable"})


def _versioned(name: str) -> str:
    if name not in _VERSIONS:
        _VERSIONS[name] = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={_VERSIONS[name]}"


_VERSIONS: dict[str, str] = {}
