"""Embeddings on disk: read back by vtr, by plain pyarrow and numpy, and after things went wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding_helpers import write_export

from vtr.errors import DataError, WorkError
from vtr.retrieval import parts
from vtr.retrieval.index import ExactIndex
from vtr.retrieval.plan import FILES, EmbeddingPlan, Options, Part
from vtr.retrieval.plan import read as read_plan
from vtr.retrieval.store import Embeddings, read

LAYOUTS = pytest.mark.parametrize("layout", ["parquet", "npy"])

META = {"model": "mac-tiny", "weights_sha256": "ab" * 32, "preprocessing": "resize 64, centre", "frames": "8"}


def embeddings(videos=5, captions=7, dim=12, seed=0, lists=False, **meta):
    rng = np.random.default_rng(seed)
    rows = videos + captions
    vectors = rng.standard_normal((rows, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    of = [f"clip {row}" for row in range(videos)] + [f"clip {row % max(videos, 1)}" for row in range(captions)]
    return Embeddings(
        ids=of,
        modality=["video"] * videos + ["text"] * captions,
        source=[f"00000{row % 2}.tar" for row in range(rows)],
        start_s=np.array([2.5 * row for row in range(videos)] + [np.nan] * captions),
        end_s=np.array([2.5 * row + 4 for row in range(videos)] + [np.nan] * captions),
        captions=[["ein Hund", f"läuft, {row}"] if lists and row % 2 else f"a “dog” runs {row}" for row in range(rows)],
        vectors=vectors,
        meta={**META, **meta},
    )


def assert_same(got: Embeddings, wanted: Embeddings, dtype="float32"):
    for field in ("ids", "modality", "source"):
        assert getattr(got, field) == getattr(wanted, field)
    np.testing.assert_array_equal(got.start_s, wanted.start_s)
    np.testing.assert_array_equal(got.end_s, wanted.end_s)
    np.testing.assert_array_equal(got.vectors, wanted.vectors.astype(dtype))
    assert {key: got.meta[key] for key in wanted.meta} == wanted.meta
    assert set(got.meta) - set(wanted.meta) == {"version", "dim", "normalized"}
    assert (got.meta["dim"], got.meta["normalized"]) == (str(wanted.vectors.shape[1]), "true")


def listed(captions):
    return [caption if isinstance(caption, list) else [caption] for caption in captions]


@LAYOUTS
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("rows", [100, 5, 1])
def test_what_is_written_is_read_back(tmp_path, layout, dtype, rows):
    wanted = embeddings()
    files = write_export(tmp_path / "out", wanted, layout, dtype=dtype, rows=rows)
    about = {"plan.json", "manifest.json"} if layout == "npy" else {"plan.json"}
    assert {file for file in (tmp_path / "out").rglob("*") if file.is_file() and file.name not in about} == set(files)
    got = read(tmp_path / "out")
    assert got.vectors.dtype == np.float32
    assert_same(got, wanted, dtype)
    assert got.captions == wanted.captions
    stored = read(tmp_path / "out", as_stored=True)
    assert stored.vectors.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(stored.vectors, got.vectors)


@LAYOUTS
def test_several_captions_make_every_caption_a_list(tmp_path, layout):
    wanted = embeddings(lists=True)
    write_export(tmp_path, wanted, layout)
    assert read(tmp_path).captions == listed(wanted.captions)


@LAYOUTS
@pytest.mark.parametrize(("videos", "captions"), [(4, 0), (0, 4)])
def test_one_modality(tmp_path, layout, videos, captions):
    wanted = embeddings(videos=videos, captions=captions)
    write_export(tmp_path, wanted, layout)
    assert_same(read(tmp_path), wanted)
    if layout == "npy":
        kind, table = ("img_emb", "metadata") if videos else ("text_emb", "text_metadata")
        names = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.*")}
        assert names == {f"{kind}/{kind}_00000.npy", f"{table}/{table}_00000.parquet", "manifest.json", "plan.json"}


def test_plain_pyarrow_reads_the_parquet(tmp_path):
    wanted = embeddings()
    (file,) = write_export(tmp_path, wanted, dtype="float16")
    assert file.name == "emb-00000.parquet"
    schema = pq.read_schema(file)
    assert schema.names == ["id", "modality", "source", "start_s", "end_s", "caption", "embedding"]
    assert schema.field("embedding").type == pa.list_(pa.float16(), 12)
    assert schema.field("caption").type == pa.string()
    labels = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    keys = {"version", "model", "weights_sha256", "preprocessing", "frames", "dim", "normalized", "digest", "skipped"}
    assert set(labels) == keys
    table = pq.read_table(file)
    assert table.column("start_s").null_count == 7
    vectors = np.array(table.column("embedding").to_pylist(), dtype=np.float16)
    np.testing.assert_array_equal(vectors, wanted.vectors.astype(np.float16))
    column = pq.ParquetFile(file).metadata.row_group(0).column(6)
    assert (column.path_in_schema, column.compression) == ("embedding.list.element", "UNCOMPRESSED")


def test_plain_numpy_reads_the_npy(tmp_path):
    wanted = embeddings(videos=11)
    write_export(tmp_path, wanted, "npy", rows=1)
    videos = [np.load(tmp_path / f"img_emb/img_emb_{row:05d}.npy") for row in range(11)]
    np.testing.assert_array_equal(np.concatenate(videos), wanted.vectors[:11])
    rows = [pq.read_table(file) for file in sorted((tmp_path / "metadata").iterdir())]
    assert pa.concat_tables(rows).column("id").to_pylist() == wanted.ids[:11]
    texts = [pq.read_table(file) for file in sorted((tmp_path / "text_metadata").iterdir())]
    assert pa.concat_tables(texts).column("id").to_pylist() == wanted.ids[11:]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["meta"]["weights_sha256"] == META["weights_sha256"]
    assert manifest["rows"]["text_emb/text_emb_00017.npy"] == 1


def test_a_lone_npy_file_is_mapped_for_search(tmp_path):
    wanted = embeddings(videos=50, captions=0)
    write_export(tmp_path, wanted, "npy", dtype="float16")
    stored = read(tmp_path, as_stored=True)
    assert isinstance(stored.vectors, np.memmap)
    _, rows = ExactIndex(stored.vectors).search(wanted.vectors[[7, 33]], 1)
    assert rows.tolist() == [[7], [33]]


@LAYOUTS
def test_the_same_rows_make_the_same_bytes(tmp_path, layout):
    one, two = (write_export(tmp_path / f"{n}", embeddings(), layout, rows=5) for n in (1, 2))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


@LAYOUTS
def test_no_rows_at_all(tmp_path, layout):
    write_export(tmp_path, embeddings().take([]), layout)
    assert len(read(tmp_path)) == 0


def test_rows_that_are_not_unit_are_labelled_so(tmp_path):
    long = replace(embeddings(), vectors=embeddings().vectors * 3)
    write_export(tmp_path, long)
    assert read(tmp_path).meta["normalized"] == "false"


def test_other_weights_in_one_directory_are_named(tmp_path):
    write_export(tmp_path / "a", embeddings())
    write_export(tmp_path / "b", embeddings(weights_sha256="cd" * 32))
    (tmp_path / "b/emb-00000.parquet").rename(tmp_path / "a/emb-00001.parquet")
    wanted = f"different weights_sha256: {'ab' * 32}: emb-00000.parquet; {'cd' * 32}: emb-00001.parquet"
    with pytest.raises(DataError, match=wanted):
        read(tmp_path / "a")
    assert read(tmp_path / "a/emb-00001.parquet").meta["weights_sha256"] == "cd" * 32


@pytest.mark.parametrize("key", ["model", "preprocessing", "frames"])
def test_other_settings_in_one_directory_are_named(tmp_path, key):
    write_export(tmp_path, embeddings(), rows=4)
    write_export(tmp_path / "b", embeddings(**{key: "other"}))
    (tmp_path / "b/emb-00000.parquet").rename(tmp_path / "emb-00001.parquet")
    with pytest.raises(DataError, match=f"different {key}: .*emb-00000.parquet, emb-00002.parquet; other: emb-00001"):
        read(tmp_path)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_part_is_noticed(tmp_path, lost):
    files = write_export(tmp_path, embeddings(), rows=4)
    files[lost].unlink()
    with pytest.raises(DataError, match=f"1 of 3 parts are missing, the first is emb-0000{lost}.parquet"):
        read(tmp_path)


@pytest.mark.parametrize("size", [0, 3, 200, -5])
def test_a_torn_parquet_file_is_named(tmp_path, size):
    file = write_export(tmp_path, embeddings(), rows=4)[1]
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DataError, match=r"1 of 3 parts are missing, the first is emb-00001\.parquet"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"emb-00001\.parquet cannot be read as Parquet"):
        read(file)


@pytest.mark.parametrize("size", [0, 3, 100, 200])
def test_a_torn_npy_file_is_named(tmp_path, size):
    write_export(tmp_path, embeddings(), "npy")
    file = tmp_path / "text_emb/text_emb_00000.npy"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DataError, match=r"text_emb_00000\.npy cannot be read as npy"):
        read(tmp_path)


@pytest.mark.parametrize("as_stored", [False, True])
def test_an_npz_of_an_npy_files_name(tmp_path, as_stored):
    write_export(tmp_path, embeddings(captions=0), "npy")
    with (tmp_path / "img_emb/img_emb_00000.npy").open("wb") as file:
        np.savez(file, a=np.ones((5, 12), np.float32))
    with pytest.raises(DataError, match=r"img_emb_00000\.npy cannot be read as npy"):
        read(tmp_path, as_stored=as_stored)


def test_a_part_is_done_when_its_vectors_are_those_of_its_table(tmp_path):
    write_export(tmp_path, embeddings(), "npy")
    plan = read_plan(tmp_path)
    file = tmp_path / "text_emb/text_emb_00000.npy"
    whole = file.read_bytes()
    assert parts.is_done(tmp_path, plan, 0)
    for shape in ((6, 12), (7, 11), (84,)):
        np.save(file, np.ones(shape, np.float32))
        assert not parts.is_done(tmp_path, plan, 0)
    file.write_bytes(whole[:-1])
    assert not parts.is_done(tmp_path, plan, 0)
    file.write_bytes(whole)
    table = tmp_path / "text_metadata/text_metadata_00000.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    assert not parts.is_done(tmp_path, plan, 0)


@pytest.mark.parametrize("skipped", [b"{", b"5", b"[5]", b'[{"id": "a"}]', None])
@LAYOUTS
def test_a_part_that_does_not_say_what_was_skipped_is_not_done(tmp_path, layout, skipped):
    last = write_export(tmp_path, embeddings(), layout)[-1]
    table = pq.read_table(last)
    labels = {key: value for key, value in table.schema.metadata.items() if key != b"skipped"}
    plan = read_plan(tmp_path)
    assert parts.is_done(tmp_path, plan, 0)
    pq.write_table(table.replace_schema_metadata(labels | ({} if skipped is None else {b"skipped": skipped})), last)
    assert not parts.is_done(tmp_path, plan, 0)
    assert len(read(tmp_path)) == 12, "what was skipped is of no use to who reads"


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("metadata/metadata_00001.parquet", "img_emb has 3 files of vectors but 2 of metadata"),
        ("img_emb/img_emb_00001.npy", "img_emb has 2 files of vectors but 3 of metadata"),
        ("text_emb", "manifest.json lists other files or rows than there are"),
    ],
)
def test_a_missing_npy_part_is_noticed(tmp_path, lost, message):
    write_export(tmp_path, embeddings(videos=6), "npy", rows=5)
    (tmp_path / lost).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"not embedded to the end: \d of 3 parts are missing"):
        read(tmp_path)
    (tmp_path / "plan.json").unlink()
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_rows_that_do_not_join_are_noticed(tmp_path):
    write_export(tmp_path, embeddings(), "npy")
    np.save(tmp_path / "img_emb/img_emb_00000.npy", np.zeros((3, 12), np.float32))
    with pytest.raises(DataError, match=r"img_emb_00000.npy has 3 vectors but .*metadata_00000.parquet has 5 rows"):
        read(tmp_path)


def test_a_clip_retrieval_directory_of_another_tool(tmp_path):
    wanted = embeddings(videos=3, captions=3)
    for folder, rows in (("img_emb", wanted.vectors[:3]), ("text_emb", wanted.vectors[3:])):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / f"{folder}_0.npy", rows.astype(np.float16))
    (tmp_path / "metadata").mkdir()
    rows = {"image_path": ["a.jpg", "b.jpg", "c.jpg"], "caption": ["x", None, "z"]}
    pq.write_table(pa.table(rows), tmp_path / "metadata/metadata_0.parquet")
    got = read(tmp_path)
    assert got.ids == got.source == ["a.jpg", "b.jpg", "c.jpg"] * 2
    assert got.modality == ["video"] * 3 + ["text"] * 3
    assert got.captions == ["x", "", "z"] * 2
    assert np.isnan(got.start_s).all()
    assert got.meta == {}
    assert got.pairs()[2].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 12)])
def test_parquet_of_another_tool(tmp_path, kind):
    wanted = embeddings()
    rows = {"id": list(range(12)), "modality": wanted.modality}
    table = pa.table(rows).append_column("embedding", pa.array(wanted.vectors.tolist(), kind))
    pq.write_table(table.replace_schema_metadata({"pandas": "{}"}), tmp_path / "vectors.parquet")
    got = read(tmp_path)
    assert got.ids == [str(row) for row in range(12)]
    np.testing.assert_array_equal(got.vectors, wanted.vectors)
    assert got.meta == {"dim": "12"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"key": ["a"], "offset": [3]}, r"no column 'embedding' \(its columns: key, offset\)"),
        ({"embedding": [[1.0]], "modality": ["video"]}, "no column 'id'"),
        ({"embedding": [[1.0]], "id": ["a"]}, "no column 'modality'"),
        ({"embedding": [[1.0]], "id": ["a"], "modality": ["audio"]}, "modality is 'audio', wanted 'video' or 'text'"),
        (
            {"embedding": [[1.0]], "id": ["a"], "modality": ["image"]},
            r"index.parquet: modality is 'image'(.|\n)*an image too",
        ),
        ({"embedding": [[1.0]], "id": [None], "modality": ["text"]}, "null in column 'id' at row 0"),
        ({"embedding": ["abc"], "id": ["a"], "modality": ["text"]}, "has string in column 'embedding'"),
        ({"embedding": [[1]], "id": ["a"], "modality": ["text"]}, "wanted a list of floats"),
        ({"embedding": [[1.0], [1.0, 0.0]], "id": ["a", "b"], "modality": ["text"] * 2}, r"several lengths: \[1, 2\]"),
        ({"embedding": [[1.0], None], "id": ["a", "b"], "modality": ["text"] * 2}, "nulls or of several lengths"),
        ({"embedding": [[1.0, None]], "id": ["a"], "modality": ["text"]}, "nulls or of several lengths"),
        (
            {"embedding": [[1.0]], "id": ["a"], "modality": ["text"], "start_s": [[1]]},
            "column 'start_s', wanted seconds",
        ),
    ],
)
def test_foreign_parquet_is_refused_with_what_it_lacks(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "index.parquet")
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_where_there_is_no_export(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no embeddings"):
        read(tmp_path)
    write_export(tmp_path, embeddings())
    write_export(tmp_path / "npy", embeddings(), "npy")
    (tmp_path / "npy/img_emb").rename(tmp_path / "img_emb")
    with pytest.raises(DataError, match="holds embeddings twice"):
        read(tmp_path)


@LAYOUTS
def test_what_cannot_be_written_is_refused(tmp_path, layout):
    plan = EmbeddingPlan(Options(layout), {}, (Part(FILES, "/videos", (("a.mp4", 1, 2, ""),)),))
    with pytest.raises(DataError, match="metadata lack model, frames"):
        lacking = replace(embeddings(), meta={"weights_sha256": "x", "preprocessing": "y"})
        parts.write(tmp_path, plan, 0, lacking, [])
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="cannot write"):
        parts.write(tmp_path / "file" / "out", plan, 0, embeddings(), [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_embeddings_check_themselves():
    good = embeddings()
    with pytest.raises(DataError, match="12 vectors but 11 entries in ids"):
        replace(good, ids=good.ids[1:])
    with pytest.raises(DataError, match=r"shape \(12,\) and type float32"):
        replace(good, vectors=good.vectors[:, 0])


def test_pairs_join_captions_to_their_videos():
    text, video, of = embeddings().pairs()
    assert (text.shape, video.shape, of.tolist()) == ((7, 12), (5, 12), [0, 1, 2, 3, 4, 0, 1])
    with pytest.raises(DataError, match="1 of 7 captions belong to no video here, the first has id 'clip 4'"):
        embeddings().take([0, 1, 2, 3, *range(5, 12)]).pairs()
    with pytest.raises(DataError, match="video id 'clip 0' stands on more than one row"):
        embeddings().take([0, 1, 0, 5]).pairs()


# A process that can be killed, or whose disk is "full": files larger than a limit fail as they do on a full disk.
WRITER = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from vtr.errors import WorkError
from embedding_helpers import write_export
from vtr.retrieval.store import Embeddings

layout, out, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
rows = 60_000
x = np.random.default_rng(0).standard_normal((rows, 256)).astype(np.float32)
x /= np.linalg.norm(x, axis=1, keepdims=True)
meta = dict(model="m", weights_sha256="new", preprocessing="p", frames="8")
no, zero = [""] * rows, np.zeros(rows)
e = Embeddings([str(i) for i in range(rows)], ["video"] * rows, no, zero, zero, no, x, meta)
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    while True:
        write_export(out, e, layout, rows=20_000)
except WorkError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""


def start_writer(tmp_path, layout, out, limit=0):
    script = tmp_path / "writer.py"
    script.write_text(textwrap.dedent(WRITER))
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{Path(__file__).parent}", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(script), layout, str(out), str(limit)], env=environment, stdout=subprocess.PIPE, text=True
    )


@LAYOUTS
def test_a_full_disk_leaves_no_half_part(tmp_path, layout):
    out = tmp_path / "out"
    with start_writer(tmp_path, layout, out, limit=5_000_000) as process:
        message = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert message.startswith(f"cannot write {out}")
    assert [file.name for file in out.rglob("*") if file.is_file()] == ["plan.json"]
    with pytest.raises(DataError, match="3 of 3 parts are missing"):
        parts.check_whole(out)


@LAYOUTS
def test_a_kill_leaves_no_half_file_under_a_name(tmp_path, layout):
    for part in range(3):
        out = tmp_path / f"{part}"
        with start_writer(tmp_path, layout, out) as process:
            deadline = time.monotonic() + 60
            # Each round is killed at another place: while the first part is aside, the second, the third.
            while not list(out.rglob(f"*_0000{part}.*.tmp-*")) + list(out.rglob(f"*-0000{part}.*.tmp-*")):
                assert time.monotonic() < deadline
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        for file in out.rglob("*"):
            if not file.is_file() or ".tmp-" in file.name:
                continue
            if file.suffix == ".npy":
                assert len(np.load(file)) == 20_000
            elif file.suffix == ".parquet":
                assert pq.read_table(file).num_rows == 20_000
            else:
                assert json.loads(file.read_text())
