"""The web application: its routes, and how errors are answered. What they do is done elsewhere."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from PAD_utils.errors import UserError
from PAD_utils.station import security
from PAD_utils.station.parts import RefusedError
from PAD_utils.station.station import Station
from PAD_utils.station.statistics import statistics
from PAD_utils.station.store import Filter
from PAD_utils.station.table import as_csv

log = logging.getLogger(__name__)

_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".svg": "image/svg+xml", ".css": "text/css", ".js": "text/javascript"}
_FILES = {path.name: path.read_bytes() for path in sorted(_PAGE.iterdir()) if path.suffix in _TYPES}
_LONGEST_LOGIN = 4096  # bytes
_MONTH_S = 30 * 24 * 3600
_KEPT = {"cache-control": "private, max-age=86400, immutable"}  # pictures never change

PartId = Annotated[str, InPath(pattern="^[0-9a-f]{32}$")]
Index = Annotated[int, InPath(ge=0, le=1000)]
ClassName = Annotated[str | None, Query(alias="class", max_length=200)]
Decision = Literal["OK", "DEFECT", "NOT LOCALISED", "undecided"]

_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["picture"],
                    "properties": {
                        "picture": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "class": {"type": "string"},
                    },
                }
            }
        },
    }
}


class Mark(BaseModel):
    """What a person says of a part; null takes it back."""

    label: Literal["good", "defective"] | None


def make_application(station: Station) -> FastAPI:
    """The application of a station, which it starts and stops. Any ASGI server runs it, in one process."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        station.events.open()
        await asyncio.to_thread(station.start)
        yield
        await asyncio.to_thread(station.stop)

    app = FastAPI(title="Inspection station", docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.add_middleware(security.Guard, settings=station.settings)
    _add_errors(app)
    _add_page(app, station)
    _add_inspection(app, station)
    _add_history(app, station)
    return app


def _add_errors(app: FastAPI) -> None:
    """Every error is {"error": one line}."""

    def answer(status: int, reason: str, **headers: str) -> JSONResponse:
        return JSONResponse({"error": " ".join(reason.split())}, status, headers)

    @app.exception_handler(RefusedError)
    def refused(_: Request, error: RefusedError) -> Response:
        return answer(error.status, str(error), **({"retry-after": "1"} if error.status == 503 else {}))

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, str(error.detail), **(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return answer(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(security.TooLargeError)
    def too_large(_: Request, error: security.TooLargeError) -> Response:
        return answer(413, "larger than a request may be; send fewer or smaller pictures")

    @app.exception_handler(ClientDisconnect)
    def gone(_: Request, error: ClientDisconnect) -> Response:
        return answer(400, "the request was cut short")

    @app.exception_handler(UserError)
    @app.exception_handler(sqlite3.Error)
    def unkept(_: Request, error: Exception) -> Response:
        log.error("not kept, so not answered: %s", error)
        return answer(507, "the answer could not be kept, so it is not given; the station's log says why")

    @app.exception_handler(Exception)
    def failed(_: Request, error: Exception) -> Response:
        return answer(500, "this could not be inspected; the station's log says why")


def _add_page(app: FastAPI, station: Station) -> None:
    """What a browser is given."""

    def file(name: str) -> Response:
        if name not in _FILES:
            raise HTTPException(404, "there is no such file")
        return Response(_FILES[name], media_type=_TYPES[Path(name).suffix])

    @app.get("/", response_class=HTMLResponse)
    def page() -> Response:
        """The page where photographs are dropped."""
        return file("index.html")

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        """The page's scripts and style."""
        return file(name)

    @app.get("/login", response_class=HTMLResponse)
    def sign_in() -> Response:
        """The form that asks for the token."""
        return file("login.html")

    @app.post("/login", response_class=RedirectResponse, status_code=303)
    async def login(request: Request) -> Response:
        """Gives a browser the cookie for the `token` of a form."""
        length = security.int_or(request.headers.get("content-length", ""), _LONGEST_LOGIN + 1)
        if length > _LONGEST_LOGIN:
            raise RefusedError(413, "a token is shorter")
        token, given = station.settings.token or "", (await request.form(max_files=0)).get("token")
        if not isinstance(given, str) or not security.same(given, token):
            raise RefusedError(401, "this is not the token")
        response = RedirectResponse("/", 303)
        secure = station.settings.scheme == "https"
        response.set_cookie(
            security.COOKIE, security.cookie_value(token), _MONTH_S, httponly=True, samesite="strict", secure=secure
        )
        return response

    @app.get("/events")
    def events() -> StreamingResponse:
        """Server-sent events: `part` (as /inspect answers), `label`, `problem`."""
        return StreamingResponse(station.events.listen(), media_type="text/event-stream")


def _add_inspection(app: FastAPI, station: Station) -> None:
    limits = station.settings.limits

    @app.post("/inspect", openapi_extra=_UPLOAD)
    async def inspect(request: Request) -> JSONResponse:
        """Judges one part by one or several photographs: the field `picture`, repeated, and `class` if several are
        served and it is not to be recognized. Answered once the answer is in the database."""
        with station.admission.part():
            if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                raise RefusedError(415, "send photographs as multipart/form-data, in the field picture")
            form = request.form(max_files=limits.pictures_per_part, max_fields=1, max_part_size=1000)
            try:
                fields = (await asyncio.wait_for(form, limits.upload_s)).multi_items()
            except asyncio.TimeoutError:
                raise RefusedError(408, f"the photographs took longer than {limits.upload_s:g} s to arrive") from None
            return JSONResponse(await station.inspect(*_read_form(fields)))

    @app.get("/health")
    def health() -> JSONResponse:
        """What is served, and whether it works."""
        content = {
            "works": station.line.alive,
            "classes": station.classes,
            "devices": [str(models.device) for models in station.models],
            "waiting": station.admission.parts,
            "at_most": limits.parts_in_flight,
        }
        return JSONResponse(content, 200 if station.line.alive else 503)


def _read_form(fields: list[tuple[str, str | UploadFile]]) -> tuple[list[tuple[str | None, UploadFile]], str | None]:
    """The files of a form, and the class. Raises RefusedError when it holds something else."""
    files: list[tuple[str | None, UploadFile]] = []
    classname = None
    for name, value in fields:
        if name == "picture" and isinstance(value, UploadFile):
            files.append((value.filename, value))
        elif name == "class" and isinstance(value, str):
            classname = value or None
        else:
            raise RefusedError(422, "a form holds the field picture (files) and the field class (text), nothing else")
    if not files:
        raise RefusedError(422, "the field picture is missing: send at least one photograph in it")
    return files, classname


def _add_history(app: FastAPI, station: Station) -> None:
    store = station.store

    def known(part: dict[str, Any] | None) -> dict[str, Any]:
        if part is None:
            raise RefusedError(404, "there is no such part")
        return part

    @app.get("/parts")
    def parts(
        classname: ClassName = None,
        decision: Decision | None = None,
        mistakes: bool = False,
        before: Annotated[int | None, Query(ge=1, lt=1 << 62)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> JSONResponse:
        """The parts that were inspected, the newest first; `before` goes on behind the `number` of one."""
        return JSONResponse(store.newest(Filter(classname, decision, mistakes, before), limit))

    @app.get("/parts.csv")
    def table() -> StreamingResponse:
        """Every part, the oldest first, as a table."""
        headers = {"content-disposition": 'attachment; filename="parts.csv"'}
        return StreamingResponse(as_csv(store.every()), media_type="text/csv; charset=utf-8", headers=headers)

    @app.get("/parts/{id}")
    def part(id: PartId) -> JSONResponse:
        """One part, as it was answered, and its label."""
        return JSONResponse(known(store.get(id)))

    @app.post("/parts/{id}/label")
    def label(id: PartId, mark: Mark) -> JSONResponse:
        """Keeps what a person says of a part: `{"label": "good"}`, `"defective"`, or null to take it back."""
        part = known(store.label(id, mark.label))
        station.events.publish("label", {"id": id, "label": mark.label})
        return JSONResponse(part)

    @app.get("/parts/{id}/{index}/{kind}")
    def picture(id: PartId, index: Index, kind: Literal["photograph", "rendering", "heat"]) -> Response:
        """The photograph as it was compared, a good part from there, or where they differ."""
        part = known(store.get(id))
        station.pictures.wait_for(id)
        path = station.pictures.path(id, index, kind)
        if index >= len(part["photographs"]) or not path.is_file():
            raise RefusedError(404, "there is no such picture, or none any more (--keep)")
        return Response(
            path.read_bytes(), media_type=f"image/{'png' if path.suffix == '.png' else 'jpeg'}", headers=_KEPT
        )

    @app.get("/statistics")
    def over_time(
        classname: ClassName = None, hours: Annotated[float, Query(gt=0, le=24 * 366)] = 24.0
    ) -> JSONResponse:
        """Decisions and scores of a class over the last hours, and whether its good parts drift."""
        name = station.candidates(classname)[0]
        return JSONResponse(statistics(store, name, station.fingerprint(name), hours))
