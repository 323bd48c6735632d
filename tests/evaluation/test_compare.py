"""Result files kept, read back and compared."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from vtr import api
from vtr.atomic import locked
from vtr.errors import BusyError, DataError, InputError
from vtr.retrieval import result


def results(folder, seed, noise, shift=0, videos=300, keep=None):
    """A result of made-up embeddings whose texts lie `noise` away from their videos."""
    rng = np.random.default_rng(11)
    video = rng.standard_normal((videos, 16))
    owner = np.repeat(np.arange(videos), 2)
    text = video[owner] + noise * np.random.default_rng(seed).standard_normal((2 * videos, 16))
    place = np.random.default_rng(seed).permutation(videos)  # the same set in another order
    again = np.argsort(place)
    where = folder / f"e{seed}-{noise}-{shift}"
    where.mkdir()
    np.save(where / "video.npy", video[place])
    np.save(where / "text.npy", text)
    np.save(where / "caption_video.npy", again[owner])
    (where / "videos.txt").write_text("".join(f"v{i + shift}\n" for i in place))
    (where / "captions.txt").write_text("".join(f"caption {i}\n" for i in range(2 * videos)))
    out = folder / f"{seed}-{noise}-{shift}.json"
    api.evaluate(embeddings=where, dsl=True, draws=50).write(out)
    return out


def with_ranks(of, path, table):
    """The result `of` again as `path`, with the ranks `table` for its own."""
    record = json.loads(of.read_text())
    result.write(path, record, result.packed(table))
    return path


def test_a_result_and_itself(tmp_path):
    a = results(tmp_path, 1, 1.0)
    found = api.compare(a, a)
    assert found["verdict"] == "no evidence of a difference"
    assert all(one["difference"] == 0 and one["p_holm"] == 1 for one in found["differences"])
    assert found["queries"] == {"t2v": 600, "v2t": 300}
    json.dumps(found)


def test_the_name_of_a_split_tells_no_test_sets_apart(tmp_path):
    a = results(tmp_path, 1, 1.0)
    file = next(tmp_path.glob("1-1.0-0*.parquet"))
    table = pq.read_table(file)
    named = pa.array(["test"] * len(table))
    at = table.schema.get_field_index("split")
    b = with_ranks(a, tmp_path / "b.json", table.set_column(at, "split", named))
    assert api.compare(a, b)["verdict"] == "no evidence of a difference"


def test_a_better_model_is_called_better_in_either_order(tmp_path):
    a, b = results(tmp_path, 1, 1.0), results(tmp_path, 2, 0.7)
    forth, back = api.compare(a, b), api.compare(b, a)
    assert forth["verdict"].startswith("B is better in t2v R@1")
    assert back["verdict"].startswith("A is better in t2v R@1")
    assert "MnR" in forth["verdict"]  # where lower is better
    ranks = {one["direction"] + one["metric"]: one for one in forth["differences"]}
    assert ranks["t2vMnR"]["difference"] < 0 < ranks["t2vR@1"]["difference"]
    assert api.compare(a, b, column="+DSL")["column"] == "+DSL"


def test_equal_models_show_no_evidence(tmp_path):
    found = api.compare(results(tmp_path, 1, 1.0), results(tmp_path, 20, 1.0))
    assert found["verdict"] == "no evidence of a difference"
    assert any(one["difference"] != 0 for one in found["differences"])


def test_results_whose_names_have_dots_keep_their_own_ranks(tmp_path):
    for noise in (3.0, 0.5):
        results(tmp_path, 1, noise)
    found = [api.evaluate(embeddings=tmp_path / f"e1-{noise}-0", draws=50) for noise in (3.0, 0.5)]
    for names in (("res-0.5", "res-0.6"), ("a.txt", "a.json")):
        a, b = (tmp_path / name for name in names)
        for one, path in zip(found, (a, b), strict=True):
            one.write(path)
        assert [result.read(path).record["t2v"] for path in (a, b)] == [one["t2v"] for one in found]
        assert api.compare(a, b)["verdict"].startswith("B is better in t2v R@1")
    assert result.ranks_path(tmp_path / "a.json").name == "a.ranks.parquet"


def test_ranks_of_another_result_are_not_believed(tmp_path):
    a, b = results(tmp_path, 1, 1.0), results(tmp_path, 2, 0.7)
    ranks = result.ranks_path(b)
    ranks.write_bytes(result.ranks_path(a).read_bytes())
    with pytest.raises(
        DataError, match=r"2-0\.7-0\.ranks\.parquet holds the ranks of another result than .*2-0\.7-0\.json"
    ):
        api.compare(a, b)
    record = json.loads(a.read_text())
    del record["ranks_sha256"]
    a.write_text(json.dumps(record))
    with pytest.raises(DataError, match="of an older vtr: it does not say which ranks are its own"):
        api.compare(a, a)


def test_a_result_is_written_by_one_at_a_time(tmp_path):
    a = results(tmp_path, 1, 1.0)
    found = api.evaluate(embeddings=tmp_path / "e1-1.0-0", draws=0)
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir() if path.is_file())
    with (
        locked(a.with_name(f".{result.ranks_path(a).name}.lock"), "it"),
        pytest.raises(BusyError, match="is being written by another process"),
    ):
        found.write(a)
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir() if path.is_file()) == before


def test_both_have_the_same_directions(tmp_path):
    a, b = results(tmp_path, 1, 1.0), results(tmp_path, 2, 0.7)
    ranks = result.read(a).ranks
    one = with_ranks(a, tmp_path / "one.json", ranks.filter(pc.equal(ranks["direction"], "t2v")))
    for pair in ((one, b), (b, one)):
        with pytest.raises(DataError, match=r"has t2v( and v2t)? in the column raw, .* t2v( and v2t)?\n"):
            api.compare(*pair)


def test_what_does_not_fit_is_refused(tmp_path):
    a = results(tmp_path, 1, 1.0)
    with pytest.raises(DataError, match="are of different test sets"):
        api.compare(a, results(tmp_path, 1, 1.0, shift=5))
    with pytest.raises(InputError, match=r"has no column '\+VTM'"):
        api.compare(a, a, column="+VTM")
    for seed in (-1, 2**32):
        with pytest.raises(InputError, match=f"--seed {seed} must be at least 0 and below"):
            api.compare(a, a, seed=seed)
    (tmp_path / "e1-1.0-0" / "captions.txt").unlink()
    bare = tmp_path / "bare.json"
    api.evaluate(embeddings=tmp_path / "e1-1.0-0", draws=0).write(bare)
    with pytest.raises(DataError, match=r"bare.json is of videos or captions without names"):
        api.compare(a, bare)
    other = tmp_path / "other.json"
    other.write_text('{"t2v": {}}')
    with pytest.raises(DataError, match="is no result file of the schema vtr-eval-1"):
        api.compare(a, other)
    with pytest.raises(DataError, match="cannot be read as a result"):
        api.compare(a, tmp_path / "nowhere.json")
    a.with_name(f"{a.stem}.ranks.parquet").unlink()
    with pytest.raises(DataError, match=r"comes with ranks in .*parquet, which cannot be read"):
        api.compare(a, a)


def test_ranks_that_unfold_to_far_more_than_their_file_are_refused(tmp_path):
    a = results(tmp_path, 1, 1.0, videos=20)
    beside = result.ranks_path(a)
    sound, rows = pq.read_table(beside), 30_000
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), ["x" * 40_000])
    few = sound.take(np.zeros(rows, np.int8))
    whole = few.set_column(few.schema.get_field_index("text"), "text", texts)
    pq.write_table(whole, beside, compression="zstd", store_schema=False)
    assert beside.stat().st_size < 1_000_000
    record = json.loads(a.read_text())
    a.write_text(json.dumps({**record, "ranks_sha256": hashlib.sha256(beside.read_bytes()).hexdigest()}))
    with pytest.raises(DataError, match=r"ranks\.parquet has \d+ bytes and would unfold to more than 1 GB"):
        result.read(a)
