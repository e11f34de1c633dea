"""The way in and out: a token for a session."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ....core.errors import EdgewrightError
from ..access import set_cookie, unset_cookie
from ..asked import Answer, Asked
from ..problems import status_of
from ..shell import Shell, to


@dataclass(frozen=True, slots=True)
class LoginView:
    """Where to go afterwards, and why the last try was wrong."""

    next: str
    problem: EdgewrightError | None


def login(shell: Shell, asked: Asked) -> Answer:
    """Show the form, or begin a session."""
    if asked.method == "GET":
        return shell.render("login.html", asked, None, LoginView(_place(asked.first("next")), None))
    form = asked.form()
    place = _place(form.get("next", ""))
    try:
        secret = shell.site.access.log_in(asked, form.get("token", ""), shell.site.clock())
    except EdgewrightError as error:
        return shell.render("login.html", asked, None, LoginView(place, error), status_of(error.reason))
    return to(place, {"set-cookie": set_cookie(secret, is_secure=asked.is_secure)})


def logout(shell: Shell, asked: Asked) -> Answer:
    """End the session; a link from elsewhere cannot."""
    caller = shell.site.access.of_browser(asked, shell.site.clock())
    if caller is not None:
        shell.site.access.check_deed(asked, caller)
        shell.site.access.log_out(asked)
    return to("/login", {"set-cookie": unset_cookie(is_secure=asked.is_secure), "clear-site-data": '"cookies", "storage"'})


def _place(wanted: str) -> str:
    """A path of this site, whatever somebody has put into the address."""
    parts = urlsplit(wanted)
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc and wanted.isprintable()
    return wanted if is_ours else "/"
