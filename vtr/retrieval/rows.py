"""A result as lines of a table: ours with their intervals, the probe's, and what papers report, marked as theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vtr.retrieval.score import RAW

METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")
TOPS = ("top-1", "top-5")


@dataclass(frozen=True)
class Line:
    """One line: `column` (raw, +DSL, shuffled frames, a paper's model), what is asked for, and its numbers."""

    column: str
    direction: str
    numbers: Mapping[str, float]
    intervals: Mapping[str, list[float]]
    theirs: bool = False
    source: str = ""


def metrics(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The numbers that a result has."""
    return TOPS if record["protocol"]["rule"] == "classes" else METRICS


def lines(record: Mapping[str, Any]) -> list[Line]:
    """The lines of a result: raw, tricks, probe, splits, then what papers report."""
    names = directions(record)
    found = _ours(RAW, record, names)
    for column, numbers in record["columns"].items():
        found += _ours(column, numbers, names)
    for view, numbers in (record["probe"] or {}).items():
        found += _ours(view if view == "one frame" else f"{view} frames", numbers, names)
    for split, numbers in record["splits"].items():
        found += _ours(f"split {split}", numbers, names)
    for row in record["published"]:
        label = f"{row['model']}, {row['setting']}"
        found.append(Line(label, names["t2v"], row["t2v"], {}, theirs=True, source=row["source"]))
    return found


def title(record: Mapping[str, Any]) -> str:
    """What was evaluated on: the protocol, the counts, and that it is a part where it is."""
    protocol, found = record["protocol"], record["found"]
    item, what = protocol.get("modality", "video"), "class name" if protocol["rule"] == "classes" else "caption"
    items, texts = (_counted(found[key], name, f"{name}s") for key, name in (("videos", item), ("captions", what)))
    # Of actions each split is a test set of its own: one of them, or two, are not what a mean of three is.
    split = f", {protocol['split']}" if protocol["rule"] == "classes" and protocol.get("split") else ""
    text = f"{protocol['title']}{split}: {items}, {texts}"
    return f"{text}. {partial(record)}" if protocol["partial"] else text


def partial(record: Mapping[str, Any]) -> str:
    """ "PARTIAL: 879 of 1000 videos", or "" for a whole test set."""
    protocol = record["protocol"]
    return f"PARTIAL: {', '.join(protocol['problems'])}" if protocol["partial"] else ""


def notes(record: Mapping[str, Any]) -> list[str]:
    """What a reader of the table has to know, a sentence each."""
    found = []
    if lost := record["undecodable"]["count"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(record["undecodable"]["kinds"].items()))
        found.append(f"{lost} could not be used ({kinds}){_named(record['undecodable']['first'], lost)}")
    found += [f"not checked: {what}" for what in record["protocol"].get("unchecked", ())]
    if record["nan"]:
        ranked = _counted(record["nan"], "similarity is NaN and ranks", "similarities are NaN and rank")
        found.append(f"{ranked} last")
    if record["distractors"]:
        bare = _counted(record["distractors"], "video has no caption: it is", "videos have no caption: they are")
        found.append(f"{bare} in the gallery, and no queries")
    if record["captions_full"]:
        full = _counted(record["captions_full"], "caption fills", "captions fill")
        found.append(f"{full} all {record['words']} tokens, so may be cut")
    for column, numbers in record["columns"].items():
        found.append(f"{column} assumes {numbers['assumes']}")
        if bank := numbers.get("bank"):
            also = f", {shared} of them in the words of the test, too" if (shared := bank["shared_captions"]) else ""
            said = _counted(bank["captions"], "caption", "captions")
            found.append(f"the bank of {column}: {said} of {bank['path']}{also}")
    if record["published"]:
        found.append("theirs: as the papers report them, not measured here")
        cautions = {f"{row['model']}: {row['note']}" for row in record["published"] if row["note"]}
        found += sorted(cautions)
    return found


def directions(record: Mapping[str, Any]) -> dict[str, str]:
    """What to call the directions."""
    if record["protocol"]["rule"] == "classes":
        return {"t2v": "", "v2t": "video to class"}
    item = record["protocol"].get("modality", "video")
    return {"t2v": f"text to {item}", "v2t": f"{item} to text"}


def _counted(count: int, one: str, many: str) -> str:
    """ "1 video", "2 videos"."""
    return f"{count} {one if count == 1 else many}"


def _named(names: Sequence[str], count: int) -> str:
    """ ": a, b and 3 more", as far as names are known."""
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return f": {', '.join(names)}{more}" if names else ""


def _ours(column: str, of: Mapping[str, Any], names: Mapping[str, str]) -> list[Line]:
    intervals = of.get("intervals") or {}
    return [Line(column, names[way], of[way], intervals.get(way, {})) for way in ("t2v", "v2t") if of.get(way)]
