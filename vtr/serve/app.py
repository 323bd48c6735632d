"""The page, what it asks, and the videos behind its answers, as a FastAPI application.

It answers to this machine's own names alone, so that no other page can have a browser ask it; a video is asked for by
the number of its row.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from vtr.errors import VtrError
from vtr.finder import Finder
from vtr.retrieval.library import Hit, Video, by_video
from vtr.retrieval.media import Media

PAGE = Path(__file__).parent / "page"
TYPES = {"index.html": "text/html", "style.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
FRAMES = 6  # pictures that stand for a video which no browser plays
LONGEST_EXAMPLE = 100  # letters
WHOLE, PARTIAL = 200, 206
SPARE = 8  # rows looked at for each video shown, since several may be of one video
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def make_app(finder: Finder, title: str, media: Media | None = None) -> FastAPI:
    """The application over what `finder` searches, with its `media`; `title` names it on the page."""
    library = finder.library
    media = media or Media(library.path, library.rows)
    videos = len({library.video(row) for row in range(len(library))})
    app = FastAPI(title="vtr search", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.middleware("http")
    async def guarded(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(VtrError)
    async def refused(_: Request, error: VtrError) -> JSONResponse:
        return JSONResponse({"error": error.message, "hint": error.hint}, status_code=400)

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        captions = [library.hit(row, 0, 0)["caption"] for row in range(min(len(library), 400))]
        return {
            "title": title, "rows": len(library), "videos": videos, "model": library.model,
            "frames": FRAMES, "examples": _examples(captions),
        }  # fmt: skip

    @app.get("/api/search")
    def search(q: str = Query(max_length=2000), k: int = Query(24, ge=1, le=200)) -> list[Hit]:
        return [_with_media(hit) for hit in best_videos(lambda rows: finder.texts([q], rows)[0], k, library.video)]

    @app.get("/api/like/{row}")
    def like(row: int, k: int = Query(24, ge=1, le=200)) -> dict[str, Any]:
        known(row)
        own = library.hit(row, 1.0, 0)
        found = best_videos(lambda rows: finder.like(row, rows), k, library.video, but=library.video(row))
        return {"like": _with_media(own), "hits": [_with_media(hit) for hit in found]}

    @app.api_route("/video/{row}", methods=["GET", "HEAD"])
    def play(row: int, request: Request) -> Response:
        known(row)
        place = media.place(row)
        if place is None or not place.kind:
            raise HTTPException(404, "no browser plays this video, or it is not where it was embedded")
        plain = "if-range" in request.headers or request.method == "HEAD"  # it has no validator to match
        span = range_of(None if plain else request.headers.get("range"), place.size)
        if span is None:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{place.size}"})
        first, last, code = span
        headers = {"Accept-Ranges": "bytes", "Content-Length": str(last - first + 1)}
        if code == PARTIAL:
            headers["Content-Range"] = f"bytes {first}-{last}/{place.size}"
        if request.method == "HEAD":
            return Response(headers=headers, media_type=place.kind)
        return StreamingResponse(place.read(first, last), code, headers, media_type=place.kind)

    @app.get("/frame/{row}/{number}.jpg")
    def frame(row: int, number: int) -> Response:
        known(row)
        if not 0 <= number < FRAMES:
            raise HTTPException(404, f"there are {FRAMES} pictures, from 0")
        return Response(media.picture(row, number, FRAMES), media_type="image/jpeg",
                        headers={"Cache-Control": "private, max-age=3600"})  # fmt: skip

    @app.api_route("/{name}", methods=["GET", "HEAD"])
    def file(name: str) -> Response:
        if name not in TYPES:
            raise HTTPException(404, "there is no such page")
        return Response((PAGE / name).read_bytes(), media_type=TYPES[name])

    @app.api_route("/", methods=["GET", "HEAD"])
    def index() -> Response:
        return file("index.html")

    def known(row: int) -> None:
        if not 0 <= row < len(library):
            raise HTTPException(404, "there is no such row in these embeddings")

    def _with_media(hit: Hit) -> Hit:
        place = media.place(hit["row"])
        return {**hit, "plays": bool(place and place.kind)}

    return app


def best_videos(find: Callable[[int], list[Hit]], k: int, video: Video, but: Hashable = None) -> list[Hit]:
    """The best k videos, less `but`, of what `find(rows)` gives: of more rows where a long video has many of the best.

    `video` tells the videos of rows apart.
    """
    rows = k * SPARE
    while True:
        hits = find(rows)
        videos = by_video([hit for hit in hits if video(hit["row"]) != but], k, video)
        if len(videos) == k or len(hits) < rows:
            return videos
        rows *= SPARE


def range_of(header: str | None, size: int) -> tuple[int, int, int] | None:
    """(first byte, last byte, status) for a Range header; the whole without one, for several ranges, which need not be
    served, and for one of another kind (RFC 9110, section 14.2). None where it lies past the end, or is none.

    # of 100 bytes:  bytes=0-9 -> (0, 9, 206)    bytes=-10 -> (90, 99, 206)    bytes=0-1,4-5 -> (0, 99, 200)
    """
    match = re.fullmatch(r"\s*bytes\s*=\s*(\d*)-(\d*)\s*", header or "", re.IGNORECASE)
    if match is None or match.groups() == ("", ""):
        return 0, size - 1, WHOLE
    if not match[1]:
        first, last = max(0, size - _number(match[2])), size - 1
    else:
        first, last = _number(match[1]), min(_number(match[2]) if match[2] else size - 1, size - 1)
    return (first, last, PARTIAL) if first <= last else None


def _number(digits: str) -> int:
    return int(digits) if len(digits) < 19 else 10**18  # beyond any file; Python refuses thousands of digits


def _examples(captions: list[str]) -> list[str]:
    """A few short captions of the embeddings to try, spread over them."""
    several = {caption.split(" | ")[0].strip() for caption in captions} - {""}
    short = sorted(
        (caption for caption in several if len(caption) <= LONGEST_EXAMPLE), key=lambda text: (len(text), text)
    )
    step = max(1, len(short) // 3)
    return short[::step][:3]
