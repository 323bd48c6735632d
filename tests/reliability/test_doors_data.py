"""Nothing let in, of data: tars, indexes, addresses, tables and annotations of strangers.

At every door stands a payload that would leave a file behind, or a path to what is none of its business.
"""

from __future__ import annotations

import json
import pickle
import re
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from door_helpers import CODE, CPU, Trap, shell, tar_of

from vtr import api, recipe
from vtr.data import annotations
from vtr.data.index import ShardIndex
from vtr.data.index_file import META, NAME, rows_to_table
from vtr.errors import DataError, VtrError


def test_the_payloads_do_leave_a_file(tmp_path: Path) -> None:
    """What follows could not fail otherwise."""
    pickle.loads(pickle.dumps(Trap(tmp_path / "pickle")))
    exec(CODE.format(str(tmp_path / "code")))
    assert (tmp_path / "pickle").exists()
    assert (tmp_path / "code").exists()


def test_members_of_a_tar(mark: Path, clip: bytes, tmp_path: Path, nano: Path) -> None:
    """Pickles under every name that WebDataset decodes, links, and names that lead out of it."""
    trap = pickle.dumps(Trap(mark))
    wild = {f"a.{ext}": trap for ext in ("pkl", "pyd", "pth", "pt", "pickle", "npy", "npz", "ten", "tb", "mp", "cls")}
    out = {f"{'../' * 8}{tmp_path.name}/escaped.mp4": clip, f"{'../' * 8}{tmp_path.name}/escaped.txt": b"out"}
    good = {f"{n}.{ext}": data for n in "abcd" for ext, data in (("mp4", clip), ("txt", f"clip {n}".encode()))}
    good = dict(sorted({**good, **wild}.items(), key=lambda item: item[0][0]))
    tar_of(tmp_path / "s" / "0.tar", good | out, {"e.mp4": "/etc/passwd", "e.txt": str(mark)})
    summary = api.index_tars(tmp_path / "s", workers=1, max_skipped=1)
    assert summary.samples == 5
    assert summary.remarks["ignored"] == len(wild)
    api.inspect_shards(tmp_path / "s", verify=True, workers=1, sheet=tmp_path / "sheet.png")
    config = recipe.override(recipe.load(str(nano)), {"train.steps": 1, "train.batch_size": 4, "data.workers": 1})
    api.pretrain(config, tmp_path / "s", tmp_path / "run")
    api.embed(tmp_path / "run", tmp_path / "s", tmp_path / "e", **CPU)
    assert not list(tmp_path.rglob("*escaped*"))
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]


def test_an_index_that_leads_out(mark: Path, tmp_path: Path) -> None:
    """Names of tars, places in tars, and the digest that names a folder of the cache."""
    (tmp_path / "secret").write_bytes(b"secret" * 100)
    folder = tmp_path / "s"
    tar_of(folder / "a.tar", {"0.txt": b"x" * 100})
    size = (folder / "a.tar").stat().st_size
    row = {
        "key": "k", "shard": "a.tar", "member_ext": ["txt"], "member_offset": [512], "member_size": [100],
        "member_crc32": [0], "captions": ["c"], "frames": 1, "fps": 1.0, "duration_s": 1.0, "width": 1, "height": 1,
        "split": "train", "sha256": "", "decoder": "pyav", "store": "video",
    }  # fmt: skip

    def opened(change: dict[str, Any] | None = None, shard: dict[str, Any] | None = None, **meta: Any) -> None:
        table = rows_to_table([{**row, **(change or {})}])
        whole = {
            "format": 1,
            "digest": "0" * 64,
            "shards": [{"name": "a.tar", "bytes": size, "samples": 1} | (shard or {})],
        }
        pq.write_table(table.replace_schema_metadata({META: json.dumps({**whole, **meta})}), folder / NAME)
        ShardIndex.open(folder).read(0)

    for name in ("../secret", str(tmp_path / "secret"), "x/../../secret"):
        with pytest.raises(DataError, match="names a tar outside"):
            opened({"shard": name}, {"name": name, "bytes": 600})
    for change in ({"member_offset": [-5]}, {"member_size": [-1]}, {"member_size": [2**62]}, {"member_offset": [2**62]},
                   {"shard": "b.tar"}):  # fmt: skip
        with pytest.raises(DataError, match="members outside of its tars"):
            opened(change)
    for digest in ("../../../../../..", "a", 5, None):
        with pytest.raises(DataError, match="does not say which tars"):
            opened(digest=digest)
    for meta in ({"shards": 5}, {"shards": [{"name": 5, "bytes": 1, "samples": 1}]}, {"shards": [["a"]]}):
        with pytest.raises(DataError, match="does not say which tars"):
            opened(**meta)


@pytest.mark.parametrize("verb", ["pretrain", "embed", "evaluate", "inspect", "index"])
def test_a_command_in_place_of_shards(mark: Path, verb: str, nano: Path, run: Path, tmp_path: Path) -> None:
    command = shell(mark)
    for address in (
        f"pipe:{command}", f"pipe:{command} |", f"pipe:{command}.tar", f"pipe:{command} {{0..1}}.tar", f"pipe://{command}",
        f"pipe:///{command}", f"simplecache::pipe://{command}", f"| {command}", f"$({command})", f"`{command}`.tar",
    ):  # fmt: skip
        with pytest.raises(VtrError):
            match verb:
                case "pretrain":
                    api.pretrain(str(nano), address, tmp_path / "out")
                case "embed":
                    api.embed(run, address, tmp_path / "out", **CPU)
                case "evaluate":
                    api.evaluate(run, address, **CPU)
                case "inspect":
                    api.inspect_shards(address)
                case "index":
                    api.index_tars(address, workers=1)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_commands_and_paths_in_a_table(mark: Path, clip: bytes, tmp_path: Path, kind: str) -> None:
    """A command is the name of a file that is not there; a path that leaves the root is refused."""
    (tmp_path / "secret.mp4").write_bytes(clip)
    root = tmp_path / "videos"
    root.mkdir()
    (root / "a.mp4").write_bytes(clip)
    path = root / f"t.{kind}"

    def table(*names: str) -> Path:
        rows = [{"video": name, "caption": f"caption {n}"} for n, name in enumerate(names)]
        match kind:
            case "parquet":
                pq.write_table(pa.Table.from_pylist(rows), path)
            case "jsonl":
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            case _:
                mark = "," if kind == "csv" else "\t"
                path.write_text(
                    "".join(f"{mark.join(row)}\n" for row in [("video", "caption"), *(r.values() for r in rows)])
                )
        return path

    command = shell(mark)
    source = table("a.mp4", f"pipe:{command}", f"pipe:{command} |", f"$({command})", f"`{command}`", f"; {command}")
    made = api.shard("table", str(source), tmp_path / "s", workers=1, max_skipped=1)
    assert (made.samples, made.skipped) == (1, {"missing": 5})
    for name in ("../secret.mp4", "x/../../secret.mp4", ".", ".."):
        with pytest.raises(DataError, match="which is no file below"):
            api.shard("table", str(table(name)), tmp_path / "t", workers=1)
    mine = api.shard("table", str(table(str(tmp_path / "secret.mp4"))), tmp_path / "u", workers=1)
    assert mine.samples == 1, "an absolute path is what the user wrote"


def test_links_out_of_the_folder_of_a_table(clip: bytes, tmp_path: Path) -> None:
    """An unpacked archive may hold links to anything; with --root the user says that they are his."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.mp4").write_bytes(clip)
    root = tmp_path / "data"
    root.mkdir()
    (root / "b.mp4").write_bytes(clip)
    (root / "inside.mp4").symlink_to("b.mp4")
    (root / "videos").symlink_to(tmp_path / "elsewhere")
    (root / "a.mp4").symlink_to(tmp_path / "elsewhere" / "a.mp4")
    (tmp_path / "way").symlink_to(root)  # a link to the whole folder leads out of nothing
    table = tmp_path / "way" / "t.csv"
    for n, name in enumerate(("videos/a.mp4", "a.mp4", "videos/../elsewhere/a.mp4")):
        table.write_text(f"video,caption\n{name},a caption\n")
        with pytest.raises(DataError, match="is a link that leads out of"):
            api.shard("table", str(table), tmp_path / f"s{n}", workers=1)
    table.write_text("video,caption\nvideos/a.mp4,a caption\na.mp4,another\n")
    assert api.shard("table", str(table), tmp_path / "rooted", root=root, workers=1).samples == 2
    table.write_text("video,caption\ninside.mp4,a caption\n")
    assert api.shard("table", str(table), tmp_path / "inside", workers=1).samples == 1


@pytest.mark.parametrize(
    ("reader", "name", "text"),
    [
        ("cc3m", "Train_GCC-training.tsv", "a\thttp://x\t../secret.jpg\n"),
        ("cc3m", "Train_GCC-training.tsv", "a\thttp://x\t/secret.jpg\n"),
        ("webvid", "results_2M_train.csv", "videoid,contentUrl,duration,page_dir,name\n1,u,d,../..,x\n"),
        ("webvid", "results_2M_train.csv", "videoid,contentUrl,duration,page_dir,name\n1,u,d,/etc,x\n"),
        ("webvid", "results_2M_train.csv", "videoid,contentUrl,duration,page_dir,name\n../1,u,d,p,x\n"),
    ],
)
def test_paths_in_annotations(tmp_path: Path, reader: str, name: str, text: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text(text)
    with pytest.raises(DataError):
        annotations.read(reader, str(tmp_path / "a"))


def test_names_in_annotations_never_leave_the_root(tmp_path: Path) -> None:
    """Benchmarks name videos, not paths: of a name with folders the last part counts."""
    entry = {"videoID": "../../../etc/passwd", "enCap": ["a"]}
    (tmp_path / "vatex_training_v1.0.json").write_text(json.dumps([entry]))
    (sample,) = annotations.read("vatex", str(tmp_path))
    assert isinstance(sample.video, Path)
    assert sample.video.resolve().is_relative_to(tmp_path)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", sample.key)


def test_a_folder_of_names_for_a_shell(mark: Path, clip: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    payload = f"$(touch {mark.name})"  # without a slash, so in the folder where a shell would run
    for n, name in enumerate((payload, "-rf", "a;b", "--out", "é\n")):
        (folder / f"{name}.mp4").write_bytes(clip)
        (folder / f"{name}.txt").write_text(f"caption {n}")
    assert api.shard("folder", str(folder), tmp_path / "s", workers=1).samples == 5
    assert not Path(mark.name).exists(), "the payload ran"
    subprocess.run(["sh", "-c", f"echo {payload}"], check=True, capture_output=True)
    assert Path(mark.name).exists(), "it would have been seen"


def test_a_playlist_in_place_of_a_video(mark: Path, tmp_path: Path) -> None:
    """ffmpeg would open what such files name; nothing but the bytes at hand is read."""
    secret = tmp_path / "secret.ts"
    secret.write_bytes(b"G" * 1880)
    for text in (
        f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n",
        f"ffconcat version 1.0\nfile {secret}\n",
        f"file '{secret}'\n",
    ):
        for suffix in ("mp4", "ts", "mkv"):
            path = tmp_path / f"v.{suffix}"
            path.write_text(text * 20)
            with pytest.raises(VtrError):
                from vtr.data import video

                video.check(video.read_file(path))
