"""Evaluations of a real run, of embeddings, by protocol, and what they refuse."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtr import api
from vtr.data import synthetic
from vtr.errors import DataError, InputError, RunError, WorkError
from vtr.retrieval import protocols, result, rows
from vtr.retrieval.metrics import Ranks, summarize, text_to_video_ranks

CPU = {"device": "cpu", "precision": "fp32"}


def sharded(folder: Path, captions: list[list[str]], split: str = "test") -> Path:
    """Shards of as many little videos, with these captions."""
    rows = []
    folder.mkdir(parents=True)
    for n, (scene, own) in enumerate(zip(synthetic.scenes(1, "test"), captions, strict=False)):
        (folder / f"v{n}.mp4").write_bytes(synthetic.encode(synthetic.render(scene)))
        rows += [{"video": f"v{n}.mp4", "caption": caption, "split": split} for caption in own]
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["video", "caption", "split"])
        writer.writeheader()
        writer.writerows(rows)
    api.shard("table", str(folder / "captions.csv"), folder / "shards", workers=1)
    return folder / "shards"


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Five videos of two captions each."""
    return sharded(
        tmp_path_factory.mktemp("several") / "s", [[f"a red circle {n}", f"a blue square {n}"] for n in range(5)]
    )


def test_a_record_has_every_field_and_no_other(run, shards, test_shards):
    found = api.evaluate(run, test_shards, dsl=True, bank=shards, probe=True, draws=50, **CPU)
    assert tuple(found) == tuple(result.FIELDS)
    assert (found["videos"], found["captions"]) == (12, 12)
    assert set(found["columns"]) == {"+QB-Norm", "+DSL"}
    assert set(found["columns"]["+QB-Norm"]) == {"t2v", "intervals", "assumes", "bank"}
    assert (found["frames"], found["vectors_sha256"]) == (4, None)
    assert (found["protocol"]["split"], found["protocol"]["unchecked"]) == ("test", [])
    assert set(found["probe"]) == {"shuffled", "reversed", "one frame"}
    assert found["precision"] == "float32"
    assert found["resolution"] == [32, 32]
    assert len(found["manifest_sha256"][0]) == len(found["split_sha256"]) == 64
    for way in ("t2v", "v2t"):
        for name, value in found[way].items():
            low, high = found["intervals"][way][name]
            assert low <= value <= high
    assert 0 < found.seconds["encoders"] < found.seconds["all"]


def test_the_tricks_and_the_probe_leave_the_headline_alone(run, shards, test_shards):
    plain = api.evaluate(run, test_shards, draws=0, **CPU)
    found = api.evaluate(run, test_shards, dsl=True, bank=shards, probe=True, draws=0, **CPU)
    assert (plain["t2v"], plain["v2t"]) == (found["t2v"], found["v2t"])
    assert plain["intervals"] is None
    assert plain["columns"] == {}


def test_embeddings_of_a_run_give_what_the_run_gives(run, shards, test_shards, tmp_path):
    for name, at in (("e", test_shards), ("bank", shards)):
        api.embed(run, at, tmp_path / name, captions=True, **CPU)
    ours = api.evaluate(run, test_shards, dsl=True, bank=shards, **CPU)
    theirs = api.evaluate(embeddings=tmp_path / "e", dsl=True, bank=tmp_path / "bank", shards=test_shards)
    banks = [found["columns"]["+QB-Norm"].pop("bank") for found in (ours, theirs)]
    assert [bank.pop("path") for bank in banks] == [str(shards), str(tmp_path / "bank")]
    assert [bank.pop("vectors_sha256") is None for bank in banks] == [True, False]
    assert banks[0] == banks[1]
    assert banks[0]["captions"] == 24
    for key in ("t2v", "v2t", "intervals", "columns", "split_sha256", "weights_sha256", "nan"):
        assert ours[key] == theirs[key], key
    assert theirs["embeddings"] == str(tmp_path / "e")
    assert (theirs["frames"], len(theirs["vectors_sha256"])) == (4, 64)


def test_many_captions_by_each_rule(run, several):
    counts = {}
    for rule in protocols.CHOICES:
        found = api.evaluate(run, several, captions=rule, draws=0, **CPU)
        counts[rule] = found["captions"]
        assert found["protocol"]["rule"] == rule
    assert counts == {"all": 10, "first": 5, "paragraph": 5}


def test_a_protocol_refuses_its_name(run, several):
    with pytest.raises(DataError, match=r"this is not MSVD: 5 of 670 videos") as told:
        api.evaluate(run, several, protocol="msvd", **CPU)
    assert "--allow-partial" in told.value.hint
    part = api.evaluate(run, several, protocol="msvd", allow_partial=True, draws=0, **CPU)
    assert part["protocol"]["partial"]
    assert part["protocol"]["problems"] == ["5 of 670 videos", "10 of about 27750 captions"]
    assert part["published"] == []  # a part's number has none to stand beside
    assert part["expected"] == {"videos": 670, "captions": None}


def test_papers_stand_beside_a_whole_protocol(run, several, monkeypatch):
    small = protocols.Protocol("msvd", "MSVD", "msvd", ("test",), "all")
    monkeypatch.setattr(protocols.Protocol, "expected", lambda self, split: (5, 10))
    monkeypatch.setattr(protocols, "PROTOCOLS", {"msvd": small})
    found = api.evaluate(run, several, protocol="msvd", draws=0, **CPU)
    assert [row["model"] for row in found["published"]] == ["MILES", "MILES"]
    assert found["published"][0]["source"] == "arXiv:2204.12408"


@pytest.fixture(scope="module")
def actions(tmp_path_factory):
    """Two splits of eight videos of four classes."""
    names = ["run", "jump", "brush hair", "eat"]
    folder = tmp_path_factory.mktemp("actions")
    return [sharded(folder / f"{n}", [[names[i % 4]] for i in range(8)], f"test{n}") for n in (1, 2)]


def test_actions_are_videos_to_class_names(run, actions):
    one = api.evaluate(run, actions[0], protocol="hmdb51", allow_partial=True, prompt="a person who does {}", **CPU)
    assert (one["t2v"], one["captions"], one["protocol"]["split"]) == (None, 4, "test1")
    assert set(one["v2t"]) == {"top-1", "top-5"}
    assert one["v2t"]["top-5"] == 100
    assert one["protocol"]["problems"] == ["8 of 1530 videos", "4 of 51 classes"]
    part = one.parts[0].scored.paired  # queries stand as texts, classes as videos
    ranks = text_to_video_ranks(part.text, part.video, part.owner)
    assert one["v2t"]["top-1"] == summarize(ranks)["R@1"]
    assert [part.ids[label] for label in part.owner] == ["run", "jump", "brush hair", "eat"] * 2
    plain = api.evaluate(run, actions[0], protocol="hmdb51", allow_partial=True, draws=0, **CPU)
    assert not np.array_equal(plain.parts[0].scored.paired.video, part.video)  # the prompt was used


def test_several_splits_have_a_mean(run, actions):
    both = api.evaluate(run, actions, protocol="hmdb51", allow_partial=True, probe=True, draws=40, **CPU)
    assert set(both["splits"]) == {"test1", "test2"}
    mean = np.mean([both["splits"][split]["v2t"]["top-1"] for split in both["splits"]])
    assert both["v2t"]["top-1"] == pytest.approx(mean)
    low, high = both["intervals"]["v2t"]["top-1"]
    assert low <= mean <= high
    assert len(both.ranks()) == 16
    assert both["videos"] == 16
    assert rows.title(both).startswith("HMDB51, zero-shot, test1, test2: 16 videos, 4 class names")


def test_a_split_counts_once(run, actions, tmp_path):
    copy = shutil.copytree(actions[1], tmp_path / "copy")
    for shards, words in (
        ([actions[0], actions[0]], f"{actions[0]} and {actions[0]} are both of the split test1"),
        ([*actions, copy], f"{actions[1]} and {copy} are both of the split test2"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            api.evaluate(run, shards, protocol="hmdb51", allow_partial=True, **CPU)
    one = api.evaluate(run, actions[1], protocol="hmdb51", allow_partial=True, draws=0, **CPU)
    assert rows.title(one).startswith("HMDB51, zero-shot, test2: 8 videos")


def coco(folder: Path, split: str) -> Path:
    """Shards of four images of five captions each, as COCO has them."""
    images = []
    (folder / "val2014").mkdir(parents=True)
    for n in range(4):
        name = f"COCO_val2014_{n:012}.jpg"
        Image.new("RGB", (64, 48), (60 * n, 0, 99)).save(folder / "val2014" / name)
        sentences = [{"tokens": [], "raw": f"a red circle {n} {k}", "imgid": n, "sentid": k} for k in range(5)]
        about = {"filepath": "val2014", "filename": name, "split": split, "imgid": n, "cocoid": n, "sentids": [n]}
        images.append({**about, "sentences": sentences})
    (folder / "annotations").mkdir()
    (folder / "annotations" / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    api.shard("coco", str(folder), folder / "shards", split=split, workers=1)
    return folder / "shards"


def test_images_are_found_by_their_captions(run, tmp_path):
    coco(tmp_path, "test")
    with pytest.raises(DataError, match=r"this is not COCO, 5k test images: 4 of 5000 images, 20 of 25010 captions"):
        api.evaluate(run, tmp_path / "shards", protocol="coco-5k", **CPU)
    part = api.evaluate(run, tmp_path / "shards", protocol="coco-5k", allow_partial=True, draws=20, **CPU)
    assert part["protocol"]["problems"] == ["4 of 5000 images", "20 of 25010 captions"]
    assert (part["videos"], part["captions"]) == (4, 20)
    assert {way: len(part.columns[0].ranks[0][way].better) for way in ("t2v", "v2t")} == {"t2v": 20, "v2t": 4}
    part.report(tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text("utf-8")
    assert "image to text R@1" in html
    assert html.count("image/jpeg") >= 4


def test_a_video_that_cannot_be_read_stops_or_is_left_out_by_name(run, test_shards, tmp_path):
    damaged = shutil.copytree(test_shards, tmp_path / "s")
    tar = next(damaged.glob("*.tar"))
    data = bytearray(tar.read_bytes())
    from vtr.data.index import ShardIndex

    member = next(m for m in ShardIndex.open(damaged).members(3) if m.ext == "mp4")
    data[member.offset + 60 : member.offset + 200] = bytes(140)
    tar.write_bytes(data)
    with pytest.raises(WorkError, match=r"test-0\d+ in .* cannot be read \(corrupt\)"):
        api.evaluate(run, damaged, **CPU)
    part = api.evaluate(run, damaged, allow_partial=True, draws=0, **CPU)
    assert (part["videos"], part["expected"]["videos"]) == (11, 12)
    assert part["undecodable"]["kinds"] == {"corrupt": 1}
    assert part["undecodable"]["first"] == [ShardIndex.open(damaged).key(3)]
    assert part["protocol"]["problems"] == ["11 of 12 videos"]


def test_the_tie_rule_is_told_as_it_is_computed(several, run):
    rule = api.evaluate(run, several, draws=0, **CPU)["tie_rule"]
    better, equal, own = np.array([0, 3, 5]), np.array([4, 1, 7]), np.array([3, 1, 2])
    formula = rule.partition("MdR and MnR are ")[2].partition(",")[0]
    assert formula == "1 + better + (equal - own) / (own + 1)"
    wanted = 1 + better + (equal - own) / (own + 1)
    np.testing.assert_array_equal(Ranks(better, equal, own, gallery=20).expected(), wanted)


def test_captions_that_fill_all_tokens_are_counted(run, tmp_path):
    shards = sharded(tmp_path / "s", [["a red circle"], ["a red circle moves left " * 12], ["a blue square"]])
    assert api.evaluate(run, shards, draws=0, **CPU)["captions_full"] == 1


def test_a_video_without_text_is_a_distractor(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "video.npy", rng.standard_normal((6, 8)))
    np.save(tmp_path / "text.npy", rng.standard_normal((5, 8)))
    np.save(tmp_path / "caption_video.npy", np.array([0, 1, 2, 3, 3]))
    found = api.evaluate(embeddings=tmp_path)
    assert found["distractors"] == 2
    assert len(found.ranks().filter(found.ranks()["direction"].to_numpy() == "v2t")) == 4
    with pytest.raises(DataError, match="DSL wants a right answer for every video"):
        api.evaluate(embeddings=tmp_path, dsl=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"protocol": "nonsense"}, "the protocol 'nonsense' is unknown"),
        ({"captions": "each"}, "the caption rule 'each' is unknown"),
        ({"prompt": "no place"}, "has no place for a class"),
        ({"seed": -1}, "--seed -1 must be at least 0"),
        ({"shards": []}, "no shards to evaluate on"),
        ({"shards": ["TEST", "TEST"]}, "several shard directories are for splits of action protocols"),
        ({"embeddings": "somewhere"}, "nothing, or two things, to evaluate"),
        ({"protocol": "hmdb51", "dsl": True, "vtm": True}, "--dsl and --vtm: of retrieval"),
        ({"vtm_top": 32}, "--vtm-top says how many candidates --vtm reranks"),
        ({"prompt": "a {}"}, "--prompt is what a class name stands in, the protocol own has captions"),
    ],
)
def test_what_does_not_fit_is_refused(run, test_shards, given, message):
    shards = [test_shards if at == "TEST" else at for at in given.pop("shards", ["TEST"])]
    with pytest.raises(InputError, match=message):
        api.evaluate(run, shards, **CPU, **given)


def test_embeddings_refuse_what_needs_a_model(embeddings, test_shards):
    with pytest.raises(InputError, match="change what is embedded"):
        api.evaluate(embeddings=embeddings, probe=True)
    with pytest.raises(InputError, match="embeddings are of one set, several shard directories were given"):
        api.evaluate(embeddings=embeddings, shards=[test_shards, test_shards])
    with pytest.raises(RunError):
        api.evaluate(embeddings, test_shards)
