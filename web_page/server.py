"""The page as a web server: photos in, the page, finished files out, all in memory.

    POST photos?name=... (or ?sample=...)  a photo's bytes -> what the editor shows, JSON
    GET  finished/<token>                  a finished file
    everything else                        Gradio's page

Gradio writes what is uploaded to disk. So photos take the way above, and of Gradio's own
addresses only those are open that the page needs, none of which writes. Should it write
all the same, `temporary` removes it. A Content-Security-Policy keeps the page from
asking anybody else for anything, and others from showing it inside theirs. What visitors
can make the server hold is bounded: by the size of a request, by the photos opened at
once, by the queue.
"""

import asyncio
import ipaddress
import socket

import fastapi
import gradio
import uvicorn
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse

from web_page import page, pictures, strokes

_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
)
_HERE = ("localhost", "127.0.0.1", "[::1]")
# What is painted comes inside JSON, which makes it longer: somewhat too many strokes are
# told so on the page.
_MAX_EVENT_BYTES = 2 * strokes.MAX_BYTES
_ARRIVING, _OPENING = 8, 2  # Photos at once.
_ARRIVAL_SECONDS = 120
_CONNECTIONS = 256  # A page that is looked at holds a few.
_GRADIO = "/gradio_api/"
_OPEN = (
    "queue/",
    "run/predict",
    "heartbeat/",
    "startup-events",
    "cancel",
    "reset",
    "app_id",
    "theme.css",
)


def hosts_of(server_name):
    """What browsers may call a server that listens at an address.

    A page of another site can have its own name lead to this machine ("DNS rebinding"),
    and would be taken for ours.

    Returns:
      list of values of the header Host, without ports, or None: any.
    """
    try:
        is_here = ipaddress.ip_address(server_name).is_loopback
    except ValueError:
        is_here = server_name == "localhost"
    return [*_HERE, server_name] if is_here else None


def build(events, finished_files, *, max_bytes, at_once=1, hosts=None):
    """Builds the application.

    Args:
      events: events.Events.
      finished_files: kept.KeptFiles that the events put finished files into.
      max_bytes: of a photo's file.
      at_once: see `page.build`.
      hosts: from `hosts_of`.

    Returns:
      fastapi.FastAPI.
    """
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    arriving = asyncio.Semaphore(_ARRIVING)
    opening = asyncio.Semaphore(_OPENING)

    @app.middleware("http")
    async def keep_to_ourselves(request, call_next):
        path = request.scope["path"]  # request.url believes the header Host.
        if path.startswith(_GRADIO) and not path[len(_GRADIO) :].startswith(_OPEN):
            return JSONResponse({"error": "Not used by this page."}, 404)
        if refusal := _refused_size(request, path, max_bytes):
            return refusal
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.post("/photos")
    async def open_photo(request: fastapi.Request):
        # Pages of other sites cannot send this type without asking first.
        if request.headers.get("content-type") != "application/octet-stream":
            return JSONResponse({"error": "Send the bytes of the file."}, 415)
        name = request.query_params.get("name", "")
        sample = request.query_params.get("sample")
        if sample and sample not in pictures.SAMPLES:
            return JSONResponse({"error": "There is no such sample."}, 404)

        def opened():
            if sample:
                return events.open_photo(pictures.sample(sample), f"{sample}.png")
            return events.open_photo(data, name)

        try:
            async with arriving:
                data = await asyncio.wait_for(request.body(), _ARRIVAL_SECONDS)
                async with opening:
                    shown = await run_in_threadpool(opened)
        except TimeoutError:
            return JSONResponse({"error": "The photo came too slowly."}, 408)
        except pictures.PhotoError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse(shown, headers={"Cache-Control": "no-store"})

    @app.get("/finished/{token}")
    async def finished(token: str):
        file = finished_files.get(token)
        if file is None:
            return fastapi.Response(
                "This picture is no longer kept; complete the photo again.", 404
            )
        headers = {"Cache-Control": "no-store", "Content-Disposition": "attachment"}
        return fastapi.Response(file.data, media_type="image/png", headers=headers)

    return gradio.mount_gradio_app(
        app,
        page.build(events, max_bytes=max_bytes, at_once=at_once),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        theme=page.theme(),
        css_paths=page.CSS_PATH,
    )


def _refused_size(request, path, max_bytes):
    """The answer to a request that is too large or does not say how large; or None."""
    length = request.headers.get("content-length", "")
    has_body = request.method not in ("GET", "HEAD")
    # What does not say how long it is could fill the memory; of both headers the server
    # would believe the other one.
    if "transfer-encoding" in request.headers or (has_body and not length.isdecimal()):
        return JSONResponse({"error": "Say how long the request is."}, 411)
    if path == "/photos" and int(length or 0) > max_bytes:
        return JSONResponse({"error": pictures.too_large(max_bytes)}, 413)
    if path != "/photos" and int(length or 0) > _MAX_EVENT_BYTES:
        return JSONResponse({"error": strokes.TOO_MANY}, 413)
    return None


def listen(server_name, port):
    """Opens the port.

    Returns:
      a listening socket.

    Raises:
      OSError: the port is in use, or not permitted, or the name is no address here.
    """
    family = socket.AF_INET6 if ":" in server_name else socket.AF_INET
    return socket.create_server((server_name, port), family=family)


def address(server_name, port):
    """What to open in a browser."""
    return f"http://{f'[{server_name}]' if ':' in server_name else server_name}:{port}"


def serve(app, listening):
    """Answers until the process is asked to end (SIGINT, SIGTERM)."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
        limit_concurrency=_CONNECTIONS,
    )
    uvicorn.Server(config).run(sockets=[listening])
