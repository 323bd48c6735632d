"""Reading a tar by its headers: whole samples only, and every loss has a name."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vtr.data.tar import TarScan, scan, split_name
from vtr.data.tarwriter import TarWriter
from vtr.errors import DataError

CORPUS = Path(__file__).resolve().parents[2] / ".." / "shared" / "corpus" / "tars"

# What each tar of the corpus must give: its whole samples and the kinds of problem, or the DataError's words.
OUTCOMES: dict[str, tuple[int, set[str]] | str] = {
    "plain.tar": (6, set()),
    "gnu_long.tar": (1, set()),
    "dots.tar": (1, {"several-videos"}),
    "interleaved.tar": (0, {"key-not-contiguous"}),
    "missing_txt.tar": (1, {"incomplete"}),
    "upper.tar": (1, set()),
    "truncated.tar": (3, {"truncated"}),
    "empty.tar": "is an empty shard",
    "zero.tar": "is no tar: it has zero bytes",
    "html.tar": "is no tar: it starts with b'<html>404</html>'",
    "traversal.tar": (2, set()),
    "pickle.tar": (1, {"ignored"}),
    "sparse_bomb.tar": (0, {"sparse"}),
    "compressed.tar.gz": r"is compressed \(gzip\)",
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_corpus(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of tricky tars is not beside the repository")
    listed = {
        entry["file"]: entry["good_samples"] for entry in json.loads((CORPUS / "manifest.json").read_text())["files"]
    }
    assert set(listed) == set(OUTCOMES)
    monkeypatch.chdir(tmp_path)
    outcome = OUTCOMES[name]
    if isinstance(outcome, str):
        with pytest.raises(DataError, match=outcome):
            scan(CORPUS / name)
    else:
        found = scan(CORPUS / name)
        assert (len(found.samples), kinds(found)) == outcome
        assert outcome[0] == listed[name]
    assert not list(tmp_path.iterdir()), "nothing was unpickled or unpacked"


def kinds(found: TarScan) -> set[str]:
    return {problem.kind for problem in found.problems}


def build(path: Path, *names: str, end: bool = True, **fields: object) -> Path:
    """A tar whose members hold their own name a hundred times; `fields` are set on the second member's header."""
    with path.open("wb") as file:
        for number, name in enumerate(names):
            data = name.encode() * 100
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items() if number == 1 else ():
                setattr(info, field, value)
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            file.write(data + bytes(-len(data) % 512))
        file.write(bytes(1024) if end else b"")
    return path


def read(path: Path, found: TarScan) -> dict[str, bytes]:
    data = path.read_bytes()
    return {e.name: data[e.offset : e.offset + e.size] for s in found.samples for e in s.members.values()}


NAMES = [f"{i:03}.{ext}" for i in range(4) for ext in ("mp4", "txt", "json")]


def test_places_are_right(tmp_path: Path) -> None:
    path = build(tmp_path / "a.tar", *NAMES)
    found = scan(path)
    assert not found.problems
    assert read(path, found) == {name: name.encode() * 100 for name in NAMES}
    assert [s.key for s in found.samples] == ["000", "001", "002", "003"]


@pytest.mark.parametrize("damaged", range(len(NAMES)))
def test_a_damaged_header_costs_one_sample_not_the_rest(tmp_path: Path, damaged: int) -> None:
    path, place = build(tmp_path / "a.tar", *NAMES), 0
    for number, name in enumerate(NAMES):
        if number == damaged:
            break
        place += 512 + 100 * len(name) + -100 * len(name) % 512
    data = bytearray(build(path, *NAMES).read_bytes())
    data[place + 130] ^= 4
    path.write_bytes(bytes(data))
    if damaged == 0:  # where the very first header is damaged, nothing says that this is a tar
        with pytest.raises(DataError, match="is no tar"):
            scan(path)
        return
    found = scan(path)
    assert kinds(found) == {"bad-header", "incomplete"}
    assert [s.key for s in found.samples] == [f"{i:03}" for i in range(4) if i != damaged // 3]


def test_a_tar_that_stops_early(tmp_path: Path) -> None:
    path = build(tmp_path / "a.tar", *NAMES[:-1], end=False)
    found = scan(path)
    assert kinds(found) == {"truncated", "incomplete"}
    assert [s.key for s in found.samples] == ["000", "001", "002"]
    assert "stops at byte" in found.problems[0].message


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}, "link"),
        ({"type": tarfile.LNKTYPE, "linkname": "0.mp4", "size": 0}, "link"),
        ({"type": tarfile.CHRTYPE, "size": 0}, "device"),
        ({"type": tarfile.GNUTYPE_SPARSE}, "sparse"),
        ({"size": 1 << 40}, "truncated"),
    ],
)
def test_members_that_are_refused(tmp_path: Path, fields: dict[str, object], kind: str) -> None:
    found = scan(build(tmp_path / "a.tar", "0.txt", "0.mp4", **fields))
    assert kind in kinds(found)
    assert not found.samples


def test_limits_duplicates_and_odd_names(tmp_path: Path) -> None:
    path = build(tmp_path / "a.tar", "0.txt", "0.mp4", "1.txt", "1.mp4", "1.mp4", "README", ".hidden", "2.txt", "2.MP4")
    found = scan(path)
    assert [s.key for s in found.samples] == ["0", "2"]
    assert kinds(found) == {"duplicate-member", "no-key"}
    found = scan(path, max_member=400)
    assert not found.samples
    assert kinds(found) >= {"too-large"}
    with pytest.raises(DataError, match=r"gone\.tar cannot be opened: No such file"):
        scan(tmp_path / "gone.tar")


def test_long_names_of_both_kinds(tmp_path: Path) -> None:
    name = "d" * 90 + "/" + "e" * 120
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
            for ext in ("mp4", "txt"):
                info = tarfile.TarInfo(f"{name}.{ext}")
                info.size = 3
                tar.addfile(info, io.BytesIO(b"abc"))
        found = scan(tmp_path / "a.tar")
        assert not found.problems
        assert read(tmp_path / "a.tar", found) == {f"{name}.mp4": b"abc", f"{name}.txt": b"abc"}


def test_keys_are_split_as_webdataset_splits_them() -> None:
    from webdataset.tariterators import base_plus_ext

    for name in ("a.mp4", "d/a.b.mp4", "a.v1.MP4", "README", ".hidden", "d.x/a.txt", "/abs/y.mp4", "../e.mp4", "d/.b"):
        key, ext = base_plus_ext(name)
        assert split_name(name) == (key or "", (ext or "").lower())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=6), st.integers(1, 30_000))
def test_damage_never_crashes_and_what_is_kept_is_whole(tmp_path: Path, hits: list[tuple[int, int]], cut: int) -> None:
    path = build(tmp_path / "a.tar", *NAMES)
    data = bytearray(path.read_bytes())
    for place, value in hits:
        if place < len(data):
            data[place] = value
    path.write_bytes(bytes(data[:cut]))
    try:
        found = scan(path)
    except DataError:
        return
    whole = path.read_bytes()
    for sample in found.samples:
        assert "mp4" in sample.members
        assert len(sample.members) > 1
        assert all(0 < e.offset <= e.offset + e.size <= len(whole) for e in sample.members.values())


def test_our_tars_are_what_webdataset_writes(tmp_path: Path) -> None:
    import webdataset

    samples = [(f"clip-{i}", {"json": b'{"n": 1}' * i, "mp4": bytes(range(256)) * 20 * i}) for i in range(7)]
    samples.append(("k" * 80, {"json": b"", "webm": b"x" * 512}))
    samples.append(("k" * 81, {"0001.jpg": bytes(100_000), "x" * 18: b"x" * 8}))
    with webdataset.TarWriter(str(tmp_path / "theirs.tar"), mtime=0, encoder=False) as writer:
        for key, members in samples:
            writer.write({"__key__": key, **members})
    with (tmp_path / "ours.tar").open("wb") as file:
        ours = TarWriter(file)
        places = [(ours.add(key, ext, data), data) for key, members in samples for ext, data in members.items()]
        size = ours.close()
    written = (tmp_path / "ours.tar").read_bytes()
    assert written == (tmp_path / "theirs.tar").read_bytes()
    assert len(written) == size
    for member, data in places:
        assert written[member.offset : member.offset + member.size] == data


@pytest.mark.parametrize("size", ["9" * 5000, "9" * 21, "-1", "\u0661", ""])
def test_a_size_that_is_no_number_costs_one_sample(size: str, tmp_path: Path) -> None:
    """An extended header tells a size in any number of digits; what comes after it is still found."""
    with (tmp_path / "a.tar").open("wb") as file:
        for name, fields in (("a.mp4", {"size": size}), ("a.txt", {}), ("b.mp4", {}), ("b.txt", {})):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = 3, fields
            file.write(info.tobuf(tarfile.PAX_FORMAT) + b"abc" + bytes(509))
        file.write(bytes(1024))
    found = scan(tmp_path / "a.tar")
    assert "bad-header" in kinds(found)
    assert read(tmp_path / "a.tar", found) == {"b.mp4": b"abc", "b.txt": b"abc"}
