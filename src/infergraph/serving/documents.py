"""The documents of what is served: `/openapi.json`, generated from the edge's own table, and the page `/docs`.

openapi.document ─▶ /openapi.json ─▶ a page that needs no internet
"""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from infergraph.errors import Fault
from infergraph.message import PredictiveUnit
from infergraph.serving import openapi


def routes(unit: PredictiveUnit, served: openapi.Served) -> list[BaseRoute]:
    """`/openapi.json`, `/docs`, and for a component the old name `/seldon.json`."""
    page = resources.files("infergraph.console").joinpath("docs.html").read_text("utf-8")

    async def document(request: Request) -> Response:
        try:
            metadata = await unit.metadata()
        except Fault:  # not loaded yet, or metadata that is not valid: the document does without
            metadata = None
        return JSONResponse(openapi.document(served, metadata))

    async def show(request: Request) -> Response:
        return HTMLResponse(page)

    found: list[BaseRoute] = [
        Route("/openapi.json", document, methods=["GET"]),
        Route("/docs", show, methods=["GET"]),
    ]
    return found if served.is_graph else [*found, Route("/seldon.json", document, methods=["GET"])]
