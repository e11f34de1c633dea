"""The whole web side of one fleet as an ASGI application: pages, REST interface, metrics."""

from __future__ import annotations

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ...core.errors import Rejected
from . import openapi
from .api import PREFIX, api_routes
from .asked import Answer, Asked, Run, asked_of, endpoint, response_of
from .headers import Headers
from .metrics import RequestCounts, registry_of, text_of
from .pages import audit, deeds, deployment, device, devices, login, overview, rollouts
from .problems import refuse
from .shell import Shell, static_answer
from .site import Site

READ, READ_AND_SEND = ["GET"], ["GET", "POST"]


def build_app(site: Site) -> ASGIApp:
    """Everything; the caller serves it."""
    shell, registry = Shell(site), registry_of(site)
    document = msgspec.json.encode(openapi.document())

    def metrics(asked: Asked) -> Answer:
        site.access.of_program(asked, site.clock()).must("viewer")
        body, content_type = text_of(registry)
        return Answer(body=body, content_type=content_type)

    def static(asked: Asked) -> Answer:
        found = static_answer(asked.parameters["name"])
        if found is None:
            raise Rejected("not-found", "there is no such file", "Go to /")
        return found

    routes = [
        *_page_routes(shell),
        *api_routes(site),
        Route(f"{PREFIX}/openapi.json", endpoint(lambda _asked: Answer(body=document), refuse), methods=READ),
        Route("/metrics", endpoint(metrics, refuse), methods=READ),
        Route("/healthz", endpoint(lambda _asked: Answer(body=b"ok\n", content_type="text/plain"), refuse), methods=READ),
        Route("/static/{name}", endpoint(static, refuse), methods=READ),
    ]

    def unrouted(request: Request, error: Exception) -> Response:
        """What no route knows: a page for people, a problem for programs."""
        is_method = isinstance(error, HTTPException) and error.status_code == 405
        found = Rejected(
            "method-not-allowed" if is_method else "not-found", "there is nothing at this address", f"Begin at /, or {PREFIX}/openapi.json"
        )
        asked = asked_of(request, b"")
        is_person = "text/html" in request.headers.get("accept", "") and not asked.path.startswith(PREFIX)
        return response_of(shell.refuse(asked, found) if is_person else refuse(asked, found))

    app = Starlette(routes=routes, exception_handlers={HTTPException: unrouted})
    return Headers(app, RequestCounts(registry).count)


def _page_routes(shell: Shell) -> list[Route]:
    pages: list[tuple[str, Run, list[str]]] = [
        ("/", shell.page("overview.html", overview.show), READ),
        ("/devices", shell.page("devices.html", devices.show), READ),
        ("/devices/{device}", shell.page("device.html", device.show), READ),
        ("/rollouts", shell.page("rollouts.html", rollouts.show), READ),
        ("/rollouts/{rollout}", shell.page("deployment.html", deployment.show_rollout), READ),
        ("/deployments/{deployment}", shell.page("deployment.html", deployment.show_deployment), READ),
        ("/audit", shell.page("audit.html", audit.show), READ),
        ("/login", lambda asked: login.login(shell, asked), READ_AND_SEND),
        ("/logout", lambda asked: login.logout(shell, asked), ["POST"]),
        ("/rollouts/{rollout}/{deed}", lambda asked: deeds.rollout_deed(shell, asked), READ_AND_SEND),
        ("/devices/{device}/label", lambda asked: deeds.label(shell, asked), ["POST"]),
        ("/devices/{device}/profile", lambda asked: deeds.profile(shell, asked), ["POST"]),
        ("/devices/{device}/{deed}", lambda asked: deeds.device_deed(shell, asked), READ_AND_SEND),
        ("/devices/{device}/models/{model}/{deed}", lambda asked: deeds.model_deed(shell, asked), READ_AND_SEND),
        ("/deployments/{deployment}/cancel", lambda asked: deeds.cancel_deployment(shell, asked), READ_AND_SEND),
        ("/deployments/{deployment}/roll-out", lambda asked: deeds.start(shell, asked), READ_AND_SEND),
    ]
    return [Route(path, endpoint(run, shell.refuse), methods=methods) for path, run, methods in pages]
