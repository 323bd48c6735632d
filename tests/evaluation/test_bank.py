"""QB-Norm's bank: recorded, and not of the captions that are tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_evaluation import CPU, sharded

from vtr import api
from vtr.errors import DataError
from vtr.evaluation import bank as bank_module
from vtr.retrieval import rows


def test_the_bank_is_not_of_the_test(run, shards, test_shards, tmp_path):
    found = api.evaluate(run, test_shards, bank=shards, draws=0, **CPU)["columns"]["+QB-Norm"]["bank"]
    assert (found["path"], found["captions"]) == (str(shards), 24)
    assert len(found["captions_sha256"]) == 64
    assert any(f"24 captions of {shards}" in note for note in rows.notes(api.evaluate(run, test_shards, bank=shards)))
    several = sharded(tmp_path / "t", [[f"a red circle {n}", f"a blue square {n}"] for n in range(5)])
    with pytest.raises(DataError, match="is of the captions that are tested: 12 of its 12 captions are") as told:
        api.evaluate(run, test_shards, bank=test_shards, **CPU)
    assert "give the training split to --bank" in told.value.hint
    again = sharded(tmp_path / "s", [[f"a red circle {n}", f"a blue square {n}"] for n in range(6)])
    moved = sharded(tmp_path / "m", [[f"a blue square {n}"] for n in range(6)])
    for bank, rule in ((again, "paragraph"), (moved, "all")):
        with pytest.raises(DataError, match=r"of its .* captions are, the first is of 'v0'"):
            api.evaluate(run, several, captions=rule, bank=bank, **CPU)
    with pytest.raises(DataError, match="is of the captions that are tested: all of it is"):
        bank_module._refuse(Path("b"), [("x", "one")], [("a", "one"), ("b", "two")])
    with pytest.raises(DataError, match="is of the captions that are tested: it has every one of them"):
        bank_module._refuse(Path("b"), [("x", "one"), ("y", "two")], [("a", "one")])


def test_a_bank_of_vectors_is_not_of_the_test(tmp_path):
    rng = np.random.default_rng(0)
    for name, texts in (("test", 6), ("bank", 9), ("more", 9)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "text.npy", rng.standard_normal((texts, 8)))
    np.save(tmp_path / "test" / "video.npy", rng.standard_normal((6, 8)))
    np.save(tmp_path / "test" / "caption_video.npy", np.arange(6))
    np.save(
        tmp_path / "more" / "text.npy", np.concatenate([np.load(tmp_path / f"{n}/text.npy") for n in ("test", "bank")])
    )
    found = api.evaluate(embeddings=tmp_path / "test", bank=tmp_path / "bank", draws=0)["columns"]["+QB-Norm"]["bank"]
    assert (found["captions"], found["captions_sha256"], len(found["vectors_sha256"])) == (9, None, 64)
    for bank, how in (("test", "all of it is"), ("more", "it has every one of them")):
        with pytest.raises(DataError, match=f"is of the captions that are tested: {how}"):
            api.evaluate(embeddings=tmp_path / "test", bank=tmp_path / bank)
    assert found["shared_captions"] == 0
    nearly = np.load(tmp_path / "test" / "text.npy")
    nearly[0] += 1  # the test's own but for one
    (tmp_path / "nearly").mkdir()
    np.save(tmp_path / "nearly" / "text.npy", nearly)
    result = api.evaluate(embeddings=tmp_path / "test", bank=tmp_path / "nearly", draws=0)
    assert result["columns"]["+QB-Norm"]["bank"]["shared_captions"] == 5
    assert any(note.endswith("nearly, 5 of them in the words of the test, too") for note in rows.notes(result))
    (tmp_path / "bank" / "captions.txt").write_text("".join(f"caption {i}\n" for i in range(9)))
    (tmp_path / "test" / "captions.txt").write_text("".join(f"caption {i}\n" for i in range(6)))
    (tmp_path / "test" / "videos.txt").write_text("".join(f"v{i}\n" for i in range(6)))
    with pytest.raises(DataError, match="it has every one of them"):
        api.evaluate(embeddings=tmp_path / "test", bank=tmp_path / "bank")
