"""The captions of a sample in a tar that others wrote: a text beside the video, or a field of its json.

webdataset.ShardWriter  clip.mp4 clip.txt | clip.mp4 clip.json {"caption": ...}
video2dataset           0001.mp4 0001.txt 0001.json {"caption": ..., "url": ...}
img2dataset             0001.jpg 0001.txt 0001.json {"caption": ..., "url": ...}
vtr                     clip.json {"captions": [...], "caption": ...} clip.mp4
with names of its own   clip.video.mp4 clip.caption.txt
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vtr import bounds, plainjson
from vtr.errors import VideoError

TEXTS = ("txt", "caption")
FIELDS = ("captions", "caption", "text")
MAX_BYTES = 1 << 20


def wanted(ext: str) -> bool:
    """Whether a member with this extension may hold captions."""
    return ext == "json" or ext.rsplit(".", 1)[-1] in TEXTS


def read(members: Mapping[str, bytes], field: str | None = None) -> list[str]:
    """The captions of a sample, from its members by extension; `field` of the json alone when given.

    A list of captions in the json comes before a text, and a text before the json's one caption, which is the same.
    A text with a name of its own (`caption.txt`) comes last, and counts only where it is the one.
    Raises VideoError `no-caption` when there is none, `bad-caption` when a text or the json cannot be read: damage of
    the one is not made good by the other.
    """
    about = _json(members["json"]) if "json" in members else {}
    if field is not None:
        if not (found := _texts(about.get(field))):
            has = ", ".join(sorted(map(str, about))[:8]) or "no fields"
            raise VideoError("no-caption", f"its json has no text under {field!r}; it has {has}")
        return found
    if isinstance(about.get(FIELDS[0]), list) and (found := _texts(about[FIELDS[0]])):
        return found
    for ext in TEXTS:
        if ext in members and (text := _decoded(members[ext], ext).strip()):
            return [text]
    for name in FIELDS:
        if found := _texts(about.get(name)):
            return found
    named = [ext for ext in members if "." in ext]
    if len(named) > 1:
        raise VideoError(
            "no-caption", f"which of {', '.join(named)} is its caption? Call that one txt, right after the key"
        )
    if named and (text := _decoded(members[named[0]], named[0]).strip()):
        return [text]
    if not members:
        raise VideoError("no-caption", "it has no member txt, caption or json; a key ends at the first dot of a name")
    raise VideoError("no-caption", f"none of its members {', '.join(members)} holds a caption")


def json_of(members: Mapping[str, bytes]) -> dict[str, Any]:
    """The json of a sample, {} where it has none that is an object."""
    try:
        return _json(members["json"]) if "json" in members else {}
    except VideoError:
        return {}


def _json(data: bytes) -> dict[str, Any]:
    try:
        about = plainjson.loads(_decoded(data, "json"))
    except ValueError as error:
        raise VideoError("bad-caption", f"its json cannot be read: {error}") from error
    return about if isinstance(about, dict) else {}


def _decoded(data: bytes, ext: str) -> str:
    if len(data) > (most := bounds.at_most(MAX_BYTES)):
        raise VideoError("bad-caption", f"its {ext} has {len(data)} bytes, over {most} ({bounds.HINT})")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VideoError("bad-caption", f"its {ext} is not UTF-8") from error


def _texts(value: Any) -> list[str]:
    """The texts that are not empty in a text or a list of texts. Raises VideoError for what no file can hold."""
    values = value if isinstance(value, list) else [value]
    found = [text.strip() for text in values if isinstance(text, str) and text.strip()]
    if not plainjson.is_unicode(*found):
        raise VideoError("bad-caption", "its caption has half a surrogate pair, so it is no Unicode")
    return found
