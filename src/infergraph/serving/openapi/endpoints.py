"""The API documentation endpoints: `/openapi.json`, generated from the edge's routes, and the page `/docs`.

openapi.document ─▶ /openapi.json ─▶ a page that needs no internet
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from infergraph.errors import Fault
from infergraph.message import PredictiveUnit
from infergraph.serving.openapi import description

SELDON_INFO = {"title": "Seldon External API", "version": "0.1"}
"""The title of the reference's document; some clients look for it."""


async def document(unit: PredictiveUnit, served: description.Served) -> dict[str, Any]:
    """The OpenAPI document, with the unit's metadata where they are known."""
    try:
        metadata = await unit.metadata()
    except Fault:  # not loaded yet, or invalid metadata: the document is made without it
        metadata = None
    return description.document(served, metadata, unit.facts.v2_metadata)


def routes(unit: PredictiveUnit, served: description.Served) -> list[BaseRoute]:
    """`/openapi.json`, `/docs`, and the old names: `/seldon.json` of a component, `/api/v1.0/doc/` of a graph."""
    page = resources.files("infergraph.serving.openapi").joinpath("docs.html").read_text("utf-8")

    async def show_document(request: Request) -> Response:
        return JSONResponse(await document(unit, served))

    async def old_document(request: Request) -> Response:
        found = await document(unit, served)
        return JSONResponse(found | {"info": found["info"] | SELDON_INFO})

    async def show(request: Request) -> Response:
        return HTMLResponse(page)

    found: list[BaseRoute] = [
        Route("/openapi.json", show_document, methods=["GET"]),
        Route("/docs", show, methods=["GET"]),
    ]
    if not served.is_graph:
        return [*found, Route("/seldon.json", old_document, methods=["GET"])]
    if served.protocol != "tensorflow":
        for version in ("v0.1", "v1.0"):
            found.append(Route(f"/api/{version}/doc/", _to_page, methods=["GET"]))
            found.append(Route(f"/api/{version}/doc/seldon.json", old_document, methods=["GET"]))
    return found


async def _to_page(request: Request) -> Response:
    return RedirectResponse("../../../docs", 302)  # relative: an ingress may have removed a prefix of the path
