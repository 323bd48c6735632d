"""Embeddings of any origin: exports, clip-retrieval's layout, plain npy files."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from vtr.errors import DataError
from vtr.retrieval import npy, paired
from vtr.retrieval.metrics import both_directions


def plain(folder, **change):
    rng = np.random.default_rng(0)
    files = {
        "video": rng.standard_normal((5, 8)) * 3,
        "text": rng.standard_normal((7, 8)),
        "caption_video": np.array([0, 1, 2, 3, 3, 0, 1]),
    } | change
    folder.mkdir(exist_ok=True)
    for name, array in files.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)
    return folder


def test_plain_files_are_read_and_made_unit_rows(tmp_path):
    found = paired.read(plain(tmp_path))
    assert (found.text.shape, found.video.shape, found.text.dtype) == ((7, 8), (5, 8), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found.video, axis=1), 1, atol=1e-6)
    assert found.ids == list("01234")
    assert found.captioned.tolist() == [True] * 4 + [False]
    described = found.described()
    assert described.ids == list("0123")
    both_directions(described.text, described.video, described.owner)


def test_names_and_captions(tmp_path):
    plain(tmp_path)
    (tmp_path / "videos.txt").write_text("".join(f"clip {i}\n" for i in range(5)))
    (tmp_path / "captions.txt").write_text("\n".join(f"ein Satz über {i}" for i in range(7)), "utf-8")
    found = paired.read(tmp_path)
    assert (found.ids[4], found.captions[6]) == ("clip 4", "ein Satz über 6")
    (tmp_path / "videos.txt").write_text("one\n")
    with pytest.raises(DataError, match=r"videos.txt has 1 lines, wanted 5"):
        paired.read(tmp_path)
    (tmp_path / "videos.txt").write_text("a\nb\nc\nb\na\n")
    with pytest.raises(DataError, match=r"videos.txt has 'b' on the lines 2 and 4"):
        paired.read(tmp_path)


def test_an_id_of_two_videos_is_refused_in_every_layout(tmp_path, run, test_shards):
    """Its captions' video would not be known, and two videos would be one in every test of differences."""
    import pyarrow.parquet as pq

    from vtr import api

    for layout in ("parquet", "npy"):
        out = tmp_path / layout
        api.embed(run, test_shards, out, format=layout, captions=True, device="cpu", precision="fp32")
        file = next(out.glob("metadata/*.parquet" if layout == "npy" else "*.parquet"))
        table = pq.read_table(file)
        ids = [table["id"][0].as_py(), *table["id"].to_pylist()[1:]]
        videos = [row for row, kind in enumerate(table["modality"].to_pylist()) if kind == "video"]
        ids[videos[1]] = ids[videos[0]]
        pq.write_table(table.set_column(table.column_names.index("id"), "id", [ids]), file)
        with pytest.raises(DataError, match=r"video id 'test-.*' stands on more than one row"):
            paired.read(out)


def test_an_export_of_ours(tmp_path, run, test_shards):
    from vtr import api

    for layout in ("parquet", "npy"):
        api.embed(run, test_shards, tmp_path / layout, format=layout, captions=True, device="cpu", precision="fp32")
    one, other = (paired.read(tmp_path / layout) for layout in ("parquet", "npy"))
    np.testing.assert_array_equal(one.text, other.text)
    assert one.captions == other.captions
    assert one.meta["weights_sha256"] == other.meta["weights_sha256"]
    assert one.split_sha256() == other.split_sha256()


def test_parquet_of_another_origin(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(1)
    rows = {
        "id": ["a", "b", "a", "b", "b"],
        "modality": ["video", "video", "text", "text", "text"],
        "embedding": [row.tolist() for row in rng.standard_normal((5, 4)) * 7],
    }
    pq.write_table(pa.table(rows), tmp_path / "mine.parquet")
    found = paired.read(tmp_path)
    assert found.owner.tolist() == [0, 1, 1]
    assert found.split_sha256() is None  # for want of captions
    np.testing.assert_allclose(np.linalg.norm(found.text, axis=1), 1, atol=1e-6)


def test_the_split_hash_knows_no_order_but_every_word():
    ids, captions, owner = ["b", "a"], ["x", "y", "z"], np.array([0, 1, 1])
    wanted = paired.split_sha256(ids, captions, owner)
    assert paired.split_sha256(["a", "b"], ["y", "z", "x"], np.array([0, 0, 1])) == wanted
    assert paired.split_sha256(["a", "b"], ["y", "z", "X"], np.array([0, 0, 1])) != wanted
    assert paired.split_sha256(["a", "c"], ["y", "z", "x"], np.array([0, 0, 1])) != wanted


def test_unit_rows():
    rows = np.array([[3, 4], [0, 0], [np.nan, 1], [1, 0]], np.float64)
    np.testing.assert_array_equal(paired.unit_rows(rows), np.float32([[0.6, 0.8], [np.nan] * 2, [np.nan] * 2, [1, 0]]))
    unit = np.float32([[0.6, 0.8], [1, 0]])
    assert paired.unit_rows(unit) is unit


def test_equal_rows_stay_equal_wherever_they_stand():
    """Whether rows are made anew is decided for all of them: the blocks that they are read in are none of theirs."""
    rng = np.random.default_rng(2)
    row = rng.standard_normal(64)
    row = (row / np.linalg.norm(row)).astype(np.float32) * np.float32(1 + 3e-6)  # of unit length, as far as that goes
    rows = np.tile(row, (3 * paired._ROWS, 1))
    assert paired.unit_rows(rows) is rows
    rows[-1] *= 2
    unit = paired.unit_rows(rows)
    assert len(np.unique(unit.view(np.uint32), axis=0)) == 1
    video = np.eye(64, dtype=np.float32)[:2]
    ranks = both_directions(unit, video, np.arange(len(unit)) % 2)["v2t"]
    assert ranks.equal.tolist() == [len(unit)] * 2  # all captions tie


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e160, 5e-324])
def test_lengths_beyond_what_squares_can_hold(scale):
    unit = paired.unit_rows(np.array([[scale, scale], [3, 4], [np.inf, 1]]))
    np.testing.assert_array_equal(unit, np.float32([[0.5**0.5] * 2, [0.6, 0.8], [np.nan] * 2]))


def test_huge_vectors_are_evaluated_without_a_warning(tmp_path):
    from vtr import api

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((7, 8))
    for folder, scale in (("one", 1.0), ("huge", 2.0**1000)):
        plain(tmp_path / folder, text=rows * scale)
    one, huge = (api.evaluate(embeddings=tmp_path / folder, draws=0) for folder in ("one", "huge"))
    assert (one["t2v"], one["nan"]) == (huge["t2v"], huge["nan"])


def test_lines_of_other_systems(tmp_path):
    plain(tmp_path)
    (tmp_path / "videos.txt").write_bytes(b"\xef\xbb\xbf" + b"".join(b"clip %d\r\n" % i for i in range(5)))
    (tmp_path / "captions.txt").write_bytes(b"\r\n".join(b"a\x0cform feed %d" % i for i in range(7)))
    found = paired.read(tmp_path)
    assert found.ids == [f"clip {i}" for i in range(5)]
    assert found.captions[0] == "a\x0cform feed 0"


def test_vectors_without_names_have_a_hash_of_theirs_and_none_of_a_split(tmp_path):
    one, same = paired.read(plain(tmp_path / "a")), paired.read(plain(tmp_path / "b"))
    other = paired.read(plain(tmp_path / "c", text=np.ones((7, 8))))
    assert one.vectors_sha256 == same.vectors_sha256 != other.vectors_sha256
    assert len(one.vectors_sha256) == 64
    assert one.split_sha256() is None
    (tmp_path / "a" / "videos.txt").write_text("".join(f"clip {i}\n" for i in range(5)))
    assert paired.read(tmp_path / "a").split_sha256() is None
    (tmp_path / "a" / "captions.txt").write_text("".join(f"caption {i}\n" for i in range(7)))
    assert len(paired.read(tmp_path / "a").split_sha256()) == 64


def test_the_hash_of_vectors_is_as_documented():
    import hashlib

    rows = np.arange(6, dtype=">f4").reshape(3, 2)
    wanted = hashlib.sha256(b'[3, 2, "<f4"]\n' + rows.astype("<f4").tobytes())
    assert paired.vectors_sha256(rows) == wanted.hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": None}, r"has no text.npy"),
        ({"caption_video": None}, r"has no caption_video.npy"),
        ({"caption_video": np.arange(6) % 5}, r"caption_video.npy has 6 rows, .*text.npy has 7"),
        ({"caption_video": np.arange(7)}, "gives text 5 the video 5, but there are 5 videos"),
        ({"caption_video": np.ones(7)}, "type float64, wanted one integer a text"),
        ({"video": np.ones((5, 8), int)}, r"type int64, wanted floats \(rows, dimensions\)"),
        ({"video": np.ones(5)}, r"shape \(5,\)"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        paired.read(plain(tmp_path, **change))


@pytest.mark.parametrize("shape", ["(4611686018427387904, 4)", "(4L, 8L)", r"(4, '\d')"])
def test_numpy_warns_of_no_header(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    path = tmp_path / "odd.npy"
    path.write_bytes(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + bytes(128))
    for mapped in (False, True):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            if "L" in shape:  # of Python 2
                assert npy.load(path, mapped=mapped).shape == (4, 8)
            else:
                with pytest.raises(DataError, match=r"odd\.npy cannot be read as npy"):
                    npy.load(path, mapped=mapped)
        assert not told


def test_a_torn_file_and_a_folder_without_texts(tmp_path, embeddings):
    plain(tmp_path)
    (tmp_path / "text.npy").write_bytes((tmp_path / "text.npy").read_bytes()[:90])
    with pytest.raises(DataError, match="cannot be read as npy"):
        paired.read(tmp_path)
    with (tmp_path / "text.npy").open("wb") as file:
        np.savez(file, text=np.ones((7, 8), np.float32))  # numpy would open it, whatever its name
    with pytest.raises(DataError, match=r"text\.npy cannot be read as npy"):
        paired.read(tmp_path)
    with pytest.raises(DataError, match="is a file, of several that belong together"):
        paired.read(tmp_path / "video.npy")
    with pytest.raises(DataError, match="of modality 'video' alone, evaluation needs texts and videos"):
        paired.read(embeddings)
