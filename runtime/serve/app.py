"""`create_app`: the server's routes around one recognizer and one generator."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect

from ... import __version__
from ..body.layout import Layout
from ..bundles.schema import ZeroShotManifest
from ..errors import InputError
from ..generation.generator import Generator
from ..io.jsonl import parse_json
from ..recognition.recognizer import Recognizer
from .access_log import AccessLog
from .generation import GenerationSession
from .guard import Guard
from .recognition import RecognitionSession
from .schemas import (
    FILE_BODY,
    PROBLEMS,
    REFUSALS,
    Clip,
    ClipDecision,
    ClipPrompt,
    FileFps,
    FileLayout,
    FileName,
    FileScale,
    FileUp,
    GeneratedMotion,
    Model,
    MotionFile,
    Skeleton,
    Status,
    first_error,
    json_body,
    parse_body,
)
from .service import Service
from .settings import Settings

PAGE = Path(__file__).with_name("browser.html")
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
ABOUT = """\
Action recognition from skeletons, and motion from text. Two WebSockets exchange JSON messages:

`/recognize` takes frames, `{"t": s, "person": 0, "layout": "smpl22", "joints": [[x, y, z], …], "confidence": […]}`
(person, layout and confidence are optional; all people share one clock t; if the first frame has none, all frames take
their time of arrival; joints are `[x, y]` in a 2-D layout, if the model takes those), and answers each message with its
number, counted from 0: `{"frame": 0, "t": …, "person": 0, "label": …, "score": …, "top": …, "event": …, "latency_ms":
…}`, `{"frame": 0, "dropped": true, "why": "overtaken" or "late"}` or `{"frame": 0, "error": …}`. A reply has
`"warning": …` if frames look wrong, such as times in milliseconds. `{"labels": ["wave", "kick"]}` chooses among the
labels of the model, or any texts if it accepts them, for this client; the reply has all labels, "none" included.
`{"reset": 0}` forgets a person, `{"reset": null}` all of them. A message without "frame" is the final decision on a
person who left.

`/generate` takes `{"prompt": text, "seconds": s or null, "seed": n, "guidance": g}` and sends chunks of one second,
each a second before it is due: `{"t": start, "fps": 20, "layout": "smpl22", "prompt": text, "joints": [[[x, y, z], …],
…]}`. Another `{"prompt": text}` takes effect with the next chunk, `{"stop": true}` stops the stream, and `{"end":
true}` is its last message.
"""


def create_app(settings: Settings | None = None, replica: str = "") -> FastAPI:
    """The server as an ASGI application; `app.state.service` is what its routes share.

    Models are loaded before it returns. Limits hold per process. Await `service.drain` before shutting it down, as
    `server.serve` does.

    Args:
        settings: None: the defaults, for clients on the same machine.
        replica: name of this server among several replicas, for its metrics.
    Raises:
        BundleError: a model is missing or damaged.
        InputError: labels that the model does not take, no thresholds for so many false alarms, or a log that cannot be
            written.
    """
    settings = settings or Settings()
    service = Service(settings, replica)
    app = FastAPI(
        title="motionrt",
        version=__version__,
        description=ABOUT,
        docs_url=None,  # its page loads scripts from other sites
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(Guard, settings=settings, metrics=service.metrics)
    if service.access_log is not None:
        app.add_middleware(AccessLog, lines=service.access_log)
    app.add_exception_handler(InputError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse)
    _add_page(app, service)
    app.include_router(_http(service, needs_token=settings.token is not None))
    _add_sockets(app, service)
    return app


def _add_page(app: FastAPI, service: Service) -> None:
    """Routes without a token."""

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=PAGE_HEADERS)

    @app.get("/healthz")
    async def healthz() -> Status:
        """Liveness of the server."""
        return Status(status="ok")

    @app.get("/readyz", responses={503: {"model": Status, "description": "The server is shutting down."}})
    async def readyz(response: Response) -> Status:
        """Readiness of the server for clients."""
        if service.closing.is_set():
            response.status_code = 503
            return Status(status="ending")
        return Status(status="ready")


def _http(service: Service, needs_token: bool) -> APIRouter:
    """Routes that need the token, if there is one; `Guard` checks it."""
    router = APIRouter(dependencies=[Depends(HTTPBearer(auto_error=False))] * needs_token, responses=REFUSALS)

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/models")
    async def models() -> list[Model]:
        """Models of this server."""
        return _models(service)

    @router.get("/layouts")
    async def layouts() -> dict[str, Skeleton]:
        """Skeleton layouts of incoming frames, by name."""
        loaded = {name: Layout.load(name) for name in Layout.names()}
        takes_2d = service.recognizer.takes_2d
        return {
            name: Skeleton(joints=list(one.joints), parents=list(one.parents))
            for name, one in loaded.items()
            if one.dims == 3 or takes_2d
        }

    @router.post("/recognize", response_model=ClipDecision, responses=PROBLEMS, openapi_extra=json_body(Clip))
    async def recognize(request: Request) -> object:
        """Recognize the action in a clip."""
        content = await read_body(request)
        return await service.compute(service.clips, partial(service.recognize, content))

    @router.post("/motion", response_model=MotionFile, responses=PROBLEMS, openapi_extra=FILE_BODY)
    async def motion(
        request: Request,
        name: FileName,
        layout: FileLayout = None,
        fps: FileFps = None,
        scale: FileScale = None,
        up: FileUp = None,
    ) -> Response:
        """Read a motion file: its frames, and what is doubtful about it."""
        content = await read_body(request)
        read = partial(service.read_motion, name, content, layout=layout, fps=fps, scale=scale, up=up)
        frames = await service.compute(service.clips, read)
        return Response(frames, media_type="application/json")

    @router.post("/generate", response_model=GeneratedMotion, responses=PROBLEMS, openapi_extra=json_body(ClipPrompt))
    async def generate(request: Request) -> Response:
        """Generate a motion from a description."""
        content = await read_body(request)
        if len(content) > (limit := service.settings.message_bytes):
            raise HTTPException(413, f"the body is longer than {limit} bytes")
        prompt = parse_body(ClipPrompt, parse_json(content))
        motion = await service.generate(prompt, partial(wait_until_left, request))
        return Response(motion, media_type="application/json")

    return router


async def read_body(request: Request) -> bytes:
    """The body of a request; a client that leaves while sending it ends the request without a traceback."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise HTTPException(400, "the client left before its request was complete") from None


async def wait_until_left(request: Request) -> None:
    """Wait until the client of a request, whose body has been read, leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_sockets(app: FastAPI, service: Service) -> None:
    @app.websocket("/recognize")
    async def recognize(socket: WebSocket) -> None:
        async with service.admitted(socket) as connection:
            if connection is not None:
                await RecognitionSession(connection, service.recognizer.clone(), service.label_encoding).run()

    @app.websocket("/generate")
    async def generate(socket: WebSocket) -> None:
        async with service.admitted(socket) as connection:
            if connection is not None:
                session = GenerationSession(
                    connection, service.generator, service.generations, service.threads, service.settings
                )
                await session.run()


def _models(service: Service) -> list[Model]:
    recognizer, generator = service.recognizer, service.generator
    accepts_any = isinstance(recognizer.bundle.manifest, ZeroShotManifest)
    return [
        _model(recognizer, list(recognizer.labels), accepts_any),
        _model(generator, sorted(generator.actions), True),
    ]


def _model(model: Recognizer | Generator, labels: list[str], any_labels: bool) -> Model:
    return Model(
        name=model.name,
        task=model.bundle.manifest.task,
        license=model.license,
        layout=model.layout,
        fps=model.fps,
        labels=labels,
        any_labels=any_labels,
    )


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    detail = first_error(error.errors()) if isinstance(error, RequestValidationError) else " ".join(str(error).split())
    return JSONResponse({"detail": detail}, 422)
