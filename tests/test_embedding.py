"""Exports: planned, embedded part by part, stopped, gone on with, added to; the same bytes whoever makes them."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from vtr import api, build, together
from vtr.data import synthetic
from vtr.errors import DataError, InputError, WorkError
from vtr.retrieval import store

LAYOUTS = [pytest.param("parquet", marks=pytest.mark.slow), "npy"]  # of half a minute each, one by default
HOW = {"device": "cpu", "precision": "fp32", "batch_size": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos in a folder and one below it, a caption beside each but the last."""
    root = tmp_path_factory.mktemp("videos")
    (root / "more").mkdir()
    for n, scene in zip(range(12), synthetic.scenes(5, "train"), strict=False):
        file = root / ("more" if n > 8 else ".") / f"v{n:02d}.mp4"
        file.write_bytes(synthetic.encode(synthetic.render(scene)))
        if n < 11:
            file.with_suffix(".txt").write_text(synthetic.caption(scene) + "\n")
    (root / "notes.md").write_text("no video")
    return root


def files_of(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_a_folder_and_then_what_is_new(run: Path, folder: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(folder, tmp_path / "v")
    last = (videos / "more" / "v11.mp4").rename(tmp_path / "v11.mp4")
    counted: list[int] = []
    first = api.embed(run, None, tmp_path / "e", videos=videos, progress=counted.append, **HOW)
    assert (first.rows, first.added, sum(counted)) == (11, 2, 11)
    before = files_of(tmp_path / "e")
    again = api.embed(run, None, tmp_path / "e", videos=videos, progress=counted.append, **HOW)
    assert (again.added, sum(counted), files_of(tmp_path / "e")) == (0, 11, before)
    shutil.move(last, videos / "more")
    more = api.embed(run, None, tmp_path / "e", videos=videos, progress=counted.append, **HOW)
    assert (more.rows, more.added, sum(counted)) == (12, 1, 12)
    after = files_of(tmp_path / "e")
    assert {name: after[name] for name in before if name != "plan.json"} == {
        name: data for name, data in before.items() if name != "plan.json"
    }
    rows = store.read(tmp_path / "e")
    assert rows.ids == [*rows.ids[:11], "more/v11.mp4"]
    assert rows.captions[rows.ids.index("v00.mp4")]
    assert rows.captions[rows.ids.index("more/v11.mp4")] == ""


def test_a_changed_file_is_embedded_anew(run: Path, folder: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(folder, tmp_path / "v")
    api.embed(run, None, tmp_path / "e", videos=videos, **HOW)
    before = store.read(tmp_path / "e")
    (videos / "v00.mp4").write_bytes((videos / "v05.mp4").read_bytes())
    assert api.embed(run, None, tmp_path / "e", videos=videos, **HOW).added == 1
    after = store.read(tmp_path / "e")
    assert after.ids == before.ids
    np.testing.assert_allclose(after.vectors[after.ids.index("v00.mp4")], before.vectors[before.ids.index("v05.mp4")],
                               atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_videos_that_have_gone_stay(run: Path, folder: Path, tmp_path: Path, layout: str) -> None:
    videos = shutil.copytree(folder, tmp_path / "v")
    how = {**HOW, "videos": videos, "captions": True, "segments": "1s/0.5s", "format": layout, "dtype": "float16"}
    api.embed(run, None, tmp_path / "e", **how)
    before = store.read(tmp_path / "e")
    (videos / "v03.mp4").unlink()
    (videos / "v03.txt").unlink()
    (videos / "v00.txt").write_text("other words\n")
    found = api.embed(run, None, tmp_path / "e", **how)
    assert (found.added, found.skipped, found.gone) == (1, [], ["v03.mp4"])
    after = store.read(tmp_path / "e")
    assert (after.ids, after.modality, after.source) == (before.ids, before.modality, before.source)
    np.testing.assert_array_equal(after.start_s, before.start_s)
    own = [row for row, name in enumerate(before.ids) if name == "v03.mp4"]
    assert after.take(own).captions == before.take(own).captions
    np.testing.assert_array_equal(after.vectors[own], before.vectors[own])
    again = api.embed(run, None, tmp_path / "e", **how)
    assert (again.added, again.gone) == (0, ["v03.mp4"])
    (videos / "v03.mp4").symlink_to("/a disk that is not there/v03.mp4")
    assert api.embed(run, None, tmp_path / "e", **how).gone == ["v03.mp4"]
    (videos / "v03.mp4").unlink()
    anew = api.embed(run, None, tmp_path / "e", overwrite=True, **how)
    assert (anew.gone, "v03.mp4" in store.read(tmp_path / "e").ids) == ([], False)


def test_sources_that_have_gone_before_the_end(run: Path, folder: Path, shards: Path, tmp_path: Path) -> None:
    """What is missing is named, with the ways out; both lead out."""
    where, out = shutil.copytree(shards, tmp_path / "s"), tmp_path / "e"
    api.embed(run, where, out, **HOW)
    (out / "emb-00001.parquet").unlink()  # as if it had been killed before
    where.rename(tmp_path / "t")
    (tmp_path / "q.txt").write_text("a dog\n")
    with pytest.raises(DataError, match=r"/s has gone, and 1 parts of it are not embedded in .*/e yet\n.*put it back .*"
                                        r"or give --overwrite"):  # fmt: skip
        api.embed(run, None, out, text=tmp_path / "q.txt", **HOW)
    (tmp_path / "t").rename(where)
    assert api.embed(run, None, out, text=tmp_path / "q.txt", **HOW).rows == 25
    videos = shutil.copytree(folder, tmp_path / "v")
    api.embed(run, None, tmp_path / "f", videos=videos, **HOW)
    (tmp_path / "f" / "emb-00001.parquet").unlink()
    shutil.rmtree(videos)
    with pytest.raises(DataError, match="/v has gone, and 1 parts of it"):
        api.embed(run, None, tmp_path / "f", text=tmp_path / "q.txt", **HOW)
    assert api.embed(run, None, tmp_path / "f", text=tmp_path / "q.txt", overwrite=True, **HOW).rows == 1


def test_captions_beside_are_followed(run: Path, folder: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(folder, tmp_path / "v")
    api.embed(run, None, tmp_path / "e", videos=videos, captions=True, **HOW)
    (videos / "v00.txt").write_text("other words\n")
    (videos / "more" / "v11.txt").write_text("words at last\n")
    (videos / "v01.txt").unlink()
    assert api.embed(run, None, tmp_path / "e", videos=videos, captions=True, **HOW).added == 1, "they are of one part"
    rows = store.read(tmp_path / "e")
    said = dict(zip(rows.ids, rows.captions, strict=True))
    assert (said["v00.mp4"], said["more/v11.mp4"], said["v01.mp4"]) == ("other words", "words at last", "")
    assert len(rows.only("text")) == 11
    assert api.embed(run, None, tmp_path / "e", videos=videos, captions=True, **HOW).added == 0


def test_shards_made_anew_leave_no_row_twice(run: Path, shards: Path, tmp_path: Path) -> None:
    where = shutil.copytree(shards, tmp_path / "s")
    api.embed(run, where, tmp_path / "e", **HOW)
    shutil.rmtree(where)
    api.shard("synthetic", "seed:3", where, limit=24, workers=1, per_shard=16)
    assert api.embed(run, where, tmp_path / "e", **HOW).rows == 24
    rows = store.read(tmp_path / "e")
    assert len(set(rows.ids)) == 24
    api.embed(run, where, tmp_path / "fresh", **HOW)
    fresh = store.read(tmp_path / "fresh")
    np.testing.assert_allclose(rows.vectors, fresh.vectors, atol=1e-5)
    assert rows.ids == fresh.ids


def test_an_export_begun_on_other_shards_is_not_gone_on_with(run: Path, shards: Path, tmp_path: Path) -> None:
    where = shutil.copytree(shards, tmp_path / "s")
    out = tmp_path / "e"
    api.embed(run, where, out, **HOW)
    (out / "emb-00001.parquet").unlink()  # as if it had been killed before
    shutil.rmtree(where)
    api.shard("synthetic", "seed:4", where, limit=24, workers=1, per_shard=8)
    (tmp_path / "t.txt").write_text("a dog\n")
    with pytest.raises(DataError, match=r"000001.tar in .* made anew since\n.*--shards .* once more"):
        api.embed(run, None, out, text=tmp_path / "t.txt", **HOW)
    assert api.embed(run, where, out, **HOW).rows == 25
    api.embed(run, where, tmp_path / "fresh", **HOW)
    np.testing.assert_allclose(store.read(out).only("video").vectors, store.read(tmp_path / "fresh").vectors, atol=1e-5)


def test_names_that_are_no_text(run: Path, folder: Path, tmp_path: Path) -> None:
    """They are embedded under a name that can be written, found again, and shown; a link to nowhere is named."""
    from vtr.retrieval.media import Media

    (tmp_path / "v").mkdir()
    odd = tmp_path / "v" / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(folder / "v00.mp4", odd)
    shutil.copy(folder / "v00.txt", odd.with_suffix(".txt"))
    shutil.copy(folder / "v01.mp4", tmp_path / "v" / f"{'x' * 251}.mp4")
    (tmp_path / "v" / "link.mp4").symlink_to("nowhere.mp4")
    found = api.embed(run, None, tmp_path / "e", videos=tmp_path / "v", max_skipped=1, **HOW)
    assert [(one["id"], one["kind"]) for one in found.skipped] == [("link.mp4", "missing")]
    hits = api.search(tmp_path / "e", "a dog", k=9, device="cpu")
    (hit,) = [hit for hit in hits if hit["id"] == "caf\\xe9.mp4"]
    assert (len(hits), hit["source"]) == (2, f"{tmp_path}/v/caf\\xe9.mp4")
    assert hit["caption"] == (folder / "v00.txt").read_text().strip()
    assert Media(tmp_path / "e", store.read(tmp_path / "e")).picture(hit["row"], 0, 1)
    again = api.embed(run, None, tmp_path / "e", videos=tmp_path / "v", max_skipped=1, **HOW)
    assert again.added == 0


def test_no_score_is_above_one(run: Path, shards: Path, tmp_path: Path) -> None:
    from vtr.retrieval.library import Library

    api.embed(run, shards, tmp_path / "e", dtype="float16", **HOW)
    library = Library(tmp_path / "e")
    best = [library.search(library.vector(row).astype(np.float32), 1)[0][0]["score"] for row in range(len(library))]
    assert max(best) <= 1 < max(np.linalg.norm(library.rows.vectors.astype(np.float64), axis=1))
    assert min(best) > 0.999


def test_a_file_gives_what_its_shard_gives(run: Path, folder: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(folder, tmp_path / "v")
    (videos / "more" / "v11.mp4").unlink()
    api.shard("folder", str(videos), tmp_path / "s", workers=1)
    api.embed(run, tmp_path / "s", tmp_path / "a", **HOW)
    api.embed(run, None, tmp_path / "b", videos=videos, **HOW)
    api.embed(run, None, tmp_path / "c", videos=videos / "v03.mp4", **HOW)
    shards, files, one = (store.read(tmp_path / name) for name in "abc")
    assert sorted(shards.captions) == sorted(files.captions)
    for caption, vector in zip(files.captions, files.vectors, strict=True):
        np.testing.assert_allclose(vector, shards.vectors[shards.captions.index(caption)], atol=1e-5)
    assert one.ids == ["v03.mp4"]
    np.testing.assert_allclose(one.vectors[0], files.vectors[files.ids.index("v03.mp4")], atol=1e-5)


def test_a_hit_says_what_it_was_made_from(run: Path, folder: Path, tmp_path: Path) -> None:
    """The file itself where files were embedded, and the name that the annotations gave it where shards were."""
    api.shard("folder", str(folder), tmp_path / "s", workers=1, max_skipped=0.5)
    api.embed(run, tmp_path / "s", tmp_path / "a", **HOW)
    api.embed(run, tmp_path / "s", tmp_path / "b", segments="1s/1s", **HOW)
    api.embed(run, None, tmp_path / "c", videos=folder, **HOW)
    named = {f"v{n:02d}.mp4" for n in range(9)} | {"more/v09.mp4", "more/v10.mp4"}
    for out in "ab":
        assert {hit["source"] for hit in api.search(tmp_path / out, "a dog", k=99, device="cpu")} == named
    files = {hit["source"] for hit in api.search(tmp_path / "c", "a dog", k=99, device="cpu")}
    assert files == {str(folder / name) for name in named | {"more/v11.mp4"}}


def test_what_a_foreign_tar_says_of_its_source(shards: Path, tmp_path: Path) -> None:
    from vtr.data.index import ShardIndex
    from vtr.retrieval.sources import originals

    video = ShardIndex.open(shards).read_video(0)
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for key, about in (("a", {"url": "https://x.org/a"}), ("b", {"caption": "y", "source": 3}), ("c", None)):
            members = {"mp4": video, "txt": b"words"} | ({} if about is None else {"json": json.dumps(about).encode()})
            for ext, data in members.items():
                entry = tarfile.TarInfo(f"{key}.{ext}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    api.index_tars(tmp_path)
    index = ShardIndex.open(tmp_path)
    assert originals(index, "0.tar", range(3)) == ["https://x.org/a", "0.tar", "0.tar"]


def test_shards_far_away_and_by_a_pattern(
    run: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows as from the directory; and what the page shows comes from there too."""
    pytest.importorskip("fsspec", reason="the extra remote is not installed")
    from vtr.retrieval.library import Library
    from vtr.retrieval.media import Media

    monkeypatch.setenv("VTR_CACHE_DIR", str(tmp_path / "cache"))
    pattern = f"{shards}/{{000000..000002}}.tar"
    for name, at in (("a", shards), ("b", f"file://{shards}"), ("c", pattern)):
        api.embed(run, at, tmp_path / name, **HOW)
        api.embed(run, at, tmp_path / f"{name}-spans", segments="1s/1s", **HOW)
    for name in ("b", "c"):
        for kind in ("", "-spans"):
            here, there = files_of(tmp_path / f"a{kind}"), files_of(tmp_path / f"{name}{kind}")
            assert {n: data for n, data in here.items() if n != "plan.json"} == {
                n: data for n, data in there.items() if n != "plan.json"
            }
    assert api.embed(run, shards, tmp_path / "b", **HOW).added == 0, "where shards are makes them no others"
    pages = []
    for name in ("a-spans", "b-spans"):
        library = Library(tmp_path / name)
        media = Media(library.path, library.rows)
        place = media.place(5)
        assert place is not None
        pages.append((place.kind, b"".join(place.read(3, place.size - 1)), media.picture(5, 0, 1)))
    assert pages[0] == pages[1]
    with pytest.raises(DataError, match=r"nowhere/index\.parquet is not there"):
        api.embed(run, f"file://{tmp_path}/nowhere", tmp_path / "d", **HOW)


@pytest.mark.parametrize("store_name", ["video", "frames"])
def test_spans_of_files_and_of_stored_samples(run: Path, tmp_path: Path, store_name: str) -> None:
    scene = next(iter(synthetic.scenes(5, "train")))
    frames = synthetic.render(scene)
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "long.mp4").write_bytes(synthetic.encode(np.concatenate([frames] * 4)))
    (tmp_path / "v" / "long.txt").write_text("a long one")
    api.embed(run, None, tmp_path / "e", videos=tmp_path / "v", segments="1s/0.5s", **HOW)
    rows = store.read(tmp_path / "e")
    assert (set(rows.ids), rows.start_s[0], len(rows)) == ({"long.mp4"}, 0, len(set(rows.start_s)))
    assert len(rows) > 4
    np.testing.assert_allclose(rows.end_s - rows.start_s, 1, atol=2e-3)
    api.shard("folder", str(tmp_path / "v"), tmp_path / "s", workers=1, store=store_name)
    api.embed(run, tmp_path / "s", tmp_path / "f", segments="1s/0.5s", **HOW)
    stored = store.read(tmp_path / "f")
    np.testing.assert_array_equal(stored.start_s, rows.start_s)
    if store_name == "video":
        np.testing.assert_allclose(stored.vectors, rows.vectors, atol=1e-5)


def test_captions_of_a_file(run: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a red circle\n\nmine\ta blue square\n", encoding="utf-8-sig")
    found = api.embed(run, None, tmp_path / "e", text=tmp_path / "t.txt", **HOW)
    assert (found.rows, found.added) == (2, 1)
    rows = store.read(tmp_path / "e")
    assert (rows.ids, rows.modality, rows.captions) == (
        ["t.txt:1", "mine"], ["text", "text"], ["a red circle", "a blue square"],
    )  # fmt: skip
    assert api.embed(run, None, tmp_path / "e", text=tmp_path / "t.txt", **HOW).added == 0
    assert api.embed(run, shards, tmp_path / "e", **HOW).rows == 26


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_bytes_from_one_process_and_three(run: Path, shards: Path, tmp_path: Path, layout: str) -> None:
    how = {**HOW, "format": layout, "captions": True, "dtype": "float16"}
    counted: list[int] = []
    api.embed(run, shards, tmp_path / "a", **how)
    api.embed(run, shards, tmp_path / "b", num_processes=3, progress=counted.append, **how)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert sum(counted) == 24


def test_no_more_processes_than_memory_has_room_for(run: Path, shards: Path, tmp_path: Path, monkeypatch) -> None:
    with monkeypatch.context() as scarce:
        scarce.setattr(together, "memory_bytes", lambda where: together.PROCESS)  # the machine's figure alone is given
        with pytest.raises(WorkError, match=r"processes take .* GB are free\n.*--num-processes 1 or fewer"):
            api.embed(run, shards, tmp_path / "e", num_processes=3, **HOW)
        assert api.embed(run, shards, tmp_path / "e", **HOW).new == 24


NOTING = """
import os
from vtr.cli.app import main
from vtr.retrieval import parts

write = parts.write

def noted(directory, plan, number, *rest):
    write(directory, plan, number, *rest)
    print(f"process {os.environ['RANK']} wrote part {number}")

parts.write = noted
main()
"""


def test_processes_of_a_launcher_share_the_parts_and_write_the_same_bytes(
    run: Path, shards: Path, tmp_path: Path
) -> None:
    api.embed(run, shards, tmp_path / "a", **HOW)
    (tmp_path / "noting.py").write_text(NOTING)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    given = [tmp_path / "noting.py", "embed", run, "--shards", shards, "--out", tmp_path / "b", "--device", "cpu",
             "--precision", "fp32", "--batch-size", "4", "-v"]  # fmt: skip
    done = subprocess.run([*launch, *map(str, given)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    wrote = sorted(line for line in done.stdout.splitlines() if line.startswith("process"))
    assert wrote == [f"process {rank} wrote part {number}" for rank, number in ((0, 0), (0, 2), (1, 1))]
    assert done.stdout.count("emb-00000.parquet") == 1


def test_a_process_of_a_launcher_that_fails_ends_the_others_in_words(run: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "vtr", "embed", str(run), "--videos", str(tmp_path / "none"), "--out",
               str(tmp_path / "e"), "--device", "cpu"]  # fmt: skip
    both = [
        subprocess.Popen(command, env={**os.environ, **where, "RANK": rank, "LOCAL_RANK": rank}, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in "01"
    ]  # fmt: skip
    main, other = [process.communicate(timeout=120)[1] for process in both]
    assert "none does not exist" in main
    assert "another of the 2 processes is gone" in other
    assert "Traceback" not in main + other


@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_and_continued_gives_the_same_bytes(run: Path, folder: Path, tmp_path: Path, layout: str) -> None:
    many = tmp_path / "v"
    for n in range(4):
        shutil.copytree(folder, many / str(n))
    given = ["embed", run, "--videos", many, "--out", tmp_path / "b", "--format", layout, "--device", "cpu",
             "--precision", "fp32", "--batch-size", "4"]  # fmt: skip
    command = [sys.executable, "-m", "vtr", *map(str, given)]
    marker = "emb-*.parquet" if layout == "parquet" else "metadata/*.parquet"
    child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 60
        while not list((tmp_path / "b").glob(marker)) and time.monotonic() < limit:
            assert child.poll() is None, "it ended before anything was written"
            time.sleep(0.01)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    done = len(list((tmp_path / "b").glob(marker)))
    assert 0 < done < 6, "killed amid the work"
    with pytest.raises(DataError, match=r"not embedded to the end: \d of 6 parts are missing.*\n.*it continues"):
        store.read(tmp_path / "b")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    api.embed(run, None, tmp_path / "a", videos=many, format=layout, **HOW)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_bad_videos_are_named_and_cost_no_others(run: Path, folder: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(folder, tmp_path / "v")
    (videos / "v04.mp4").write_bytes(b"nothing that plays")
    with pytest.raises(
        WorkError, match=r"1 videos could not be decoded, of 11 rows.*v04.mp4 \(not-video.*\n.*--max-skip"
    ):
        api.embed(run, None, tmp_path / "e", videos=videos, **HOW)
    found = api.embed(run, None, tmp_path / "e", videos=videos, max_skipped=0.5, **HOW)
    assert (found.added, [entry["id"] for entry in found.skipped]) == (0, ["v04.mp4"])
    assert json.loads((tmp_path / "e" / "skipped.jsonl").read_text())["kind"] == "not-video"
    assert len(store.read(tmp_path / "e")) == 11


def test_a_link_to_itself_is_named_and_costs_no_others(run: Path, folder: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(folder, tmp_path / "v")
    (videos / "l.mp4").symlink_to("l.mp4")
    found = api.embed(run, None, tmp_path / "e", videos=videos, max_skipped=1, **HOW)
    assert (found.rows, [entry["id"] for entry in found.skipped]) == (12, ["l.mp4"])
    assert api.embed(run, None, tmp_path / "e", videos=videos, max_skipped=1, **HOW).added == 0


def test_equal_spans_in_other_words_are_the_same(run: Path, folder: Path, tmp_path: Path) -> None:
    for text, added in (("1s", 1), ("1", 0), ("1s/1s", 0), ("1.0/1", 0)):
        assert api.embed(run, None, tmp_path / "e", videos=folder / "v00.mp4", segments=text, **HOW).added == added


def test_a_part_of_nothing_but_bad_videos(run: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"x")
    for layout in ("parquet", "npy"):
        out = tmp_path / layout
        found = api.embed(run, None, out, videos=tmp_path / "bad.mp4", max_skipped=1, format=layout, **HOW)
        assert (found.rows, store.read(out).vectors.shape) == (0, (0, 16))


def test_a_torn_part_is_embedded_anew(run: Path, shards: Path, tmp_path: Path) -> None:
    api.embed(run, shards, tmp_path / "e", **HOW)
    whole = files_of(tmp_path / "e")
    (tmp_path / "e" / "emb-00001.parquet").write_bytes(b"PAR1")
    (tmp_path / "e" / "emb-00002.parquet.tmp-77").write_bytes(b"left by a killed run")
    assert api.embed(run, shards, tmp_path / "e", **HOW).added == 1
    assert files_of(tmp_path / "e") == whole


def test_torn_vectors_are_embedded_anew(run: Path, test_shards: Path, tmp_path: Path) -> None:
    how = {"format": "npy", "captions": True, **HOW}
    api.embed(run, test_shards, tmp_path / "e", **how)
    whole = files_of(tmp_path / "e")
    for name, change in (("img_emb", b"\x93NUMPY"), ("text_emb", None)):
        file = tmp_path / "e" / name / f"{name}_00000.npy"
        file.write_bytes(change or file.read_bytes()[:-3])
        assert api.embed(run, test_shards, tmp_path / "e", **how).added == 1
        assert files_of(tmp_path / "e") == whole


def test_other_models_and_options_are_told_apart(run: Path, shards: Path, tmp_path: Path) -> None:
    from vtr import checkpoint

    api.embed(run, shards, tmp_path / "e", **HOW)
    with pytest.raises(
        DataError, match=r"holds embeddings of another model: its weights_sha256 is \w{60} \(.*nano\), this"
    ):
        api.embed(checkpoint.steps(run)[0], shards, tmp_path / "e", **HOW)
    with pytest.raises(
        DataError, match=r"other options: segments was none and is 1s/1s, captions was none and is True"
    ):
        api.embed(run, shards, tmp_path / "e", segments="1s/1s", captions=True, **HOW)
    with pytest.raises(InputError, match=r"shards and videos to embed\n.*one of --shards DIR, --videos PATH"):
        api.embed(run, shards, tmp_path / "e", videos=shards, **HOW)
    with pytest.raises(InputError, match="nothing to embed"):
        api.embed(run, None, tmp_path / "e", **HOW)


def test_an_export_is_replaced_by_a_whole_one(run: Path, shards: Path, test_shards: Path, tmp_path: Path) -> None:
    api.embed(run, shards, tmp_path / "e", **HOW)
    api.embed(run, test_shards, tmp_path / "e", overwrite=True, format="npy", **HOW)
    assert len(store.read(tmp_path / "e")) == 12
    api.embed(run, test_shards, tmp_path / "fresh", format="npy", **HOW)
    assert files_of(tmp_path / "e") == files_of(tmp_path / "fresh")


@pytest.mark.parametrize("layout", ["parquet", "npy"])
def test_an_export_that_is_half_replaced_is_not_searched(
    run: Path, shards: Path, test_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    how = {"format": layout, "captions": True, **HOW}
    api.embed(run, shards, tmp_path / "new", **how)
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    api.embed(run, test_shards, tmp_path / "old", **how)
    left = 0

    def counted(change: Any) -> Any:
        def changed(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return change(*given, **named)

        return changed

    for name in ("replace", "unlink", "rmdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    found = []
    for steps in range(100):
        left = 1000
        for name in ("e", "e/.anew"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            shutil.copytree(tmp_path / ("new" if ".anew" in name else "old"), tmp_path / name)
        left = steps
        with suppress(KeyboardInterrupt):
            store.move(tmp_path / "e" / ".anew", tmp_path / "e")
        steps_left, left = left, 1000
        try:
            found.append(len(store.read(tmp_path / "e")))
        except DataError as error:
            assert "not embedded to the end" in error.message
            found.append(0)
        if steps_left >= 0:
            break
    whole = [rows for n, rows in enumerate(found) if n == 0 or rows != found[n - 1]]
    assert whole == [72, 0, 48], "the old one, neither, the new one"
    assert files_of(tmp_path / "e") == files_of(tmp_path / "new")


def test_sources_that_are_none(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "d").mkdir()
    for given, words in (
        ({"videos": tmp_path / "none"}, "none does not exist"),
        ({"videos": tmp_path / "d"}, "holds no video file"),
        ({"text": tmp_path / "d"}, "is no file"),
        ({"text": tmp_path / "empty.txt"}, "has no text in it"),
        ({"text": tmp_path / "latin.txt"}, r"not UTF-8 text \(byte 3\)"),
    ):
        with pytest.raises(DataError, match=words):
            api.embed(run, None, tmp_path / "e", **given, **HOW)


def test_an_export_is_read_by_plain_pyarrow(run: Path, shards: Path, tmp_path: Path) -> None:
    api.embed(run, shards, tmp_path / "e", dtype="float16", **HOW)
    schema = pq.read_schema(tmp_path / "e" / "emb-00000.parquet")
    assert schema.names == ["id", "modality", "source", "start_s", "end_s", "caption", "embedding"]
    assert str(schema.field("embedding").type) == "fixed_size_list<element: halffloat>[16]"
    labels = {key.decode() for key in schema.metadata}
    assert labels >= {"version", "model", "weights_sha256", "preprocessing", "frames", "dim"}
    assert build.load_model(run, "cpu").weights_sha256.encode() in schema.metadata[b"weights_sha256"]
