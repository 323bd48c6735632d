"""The page of a result: whole, safe whatever captions say, and shown by a real browser where there is one."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from vtr import api
from vtr.retrieval import charts
from vtr.retrieval.examples import examples
from vtr.retrieval.metrics import Ranks, both_directions
from vtr.retrieval.paired import Paired

CPU = {"device": "cpu", "precision": "fp32"}
PLANTED = "<script>document.title='planted'</script>\"'><img src=x onerror=\"document.title='planted'\">"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Tags in their order; sees that every one is closed by its own end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def planted(run, tmp_path_factory):
    """The report of two videos and captions that try to break out of it."""
    from test_evaluation import sharded

    folder = tmp_path_factory.mktemp("planted")
    shards = sharded(folder / "s", [[f"a red circle {PLANTED}"], *([f"a blue & square {n}"] for n in range(5))])
    out = folder / "r.html"
    api.evaluate(run, shards, dsl=True, probe=True, draws=50, command=f"vtr eval {PLANTED}", **CPU).report(out)
    return out


def test_the_page_is_whole_and_stands_alone(planted):
    text = planted.read_text("utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "href"]
    sources = [value for name, value in page.attributes if name == "src"]
    assert len(sources) > 8
    assert all(value.startswith("data:image/") for value in sources)
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert page.tags.count("svg") == 2
    for heading in ("Numbers", "Best queries", "Worst queries", "Similarities", "Where this comes from"):
        assert heading in page.text


def test_what_others_wrote_is_text(planted):
    text = planted.read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "a blue &amp; square" in text


def test_thumbnails_are_pictures_of_the_videos(planted):
    found = re.findall(r'src="data:image/(jpeg|png);base64,([^"]+)"', planted.read_text("utf-8"))
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for kind, data in found if kind == "jpeg"]
    assert pictures
    assert all(picture.height == 90 and picture.width == 3 * 90 for picture in pictures)
    assert all(np.asarray(picture).std() > 5 for picture in pictures)


def test_a_real_browser_runs_nothing_of_it(planted):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium here")
    arguments = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run([*arguments, planted.as_uri()], check=True, capture_output=True, text=True, timeout=120)
    assert "<title>own data: 6 videos, 6 captions</title>" in done.stdout


def test_embeddings_without_shards_have_a_page_without_frames(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "video.npy", rng.standard_normal((40, 8)))
    np.save(tmp_path / "text.npy", rng.standard_normal((80, 8)))
    np.save(tmp_path / "caption_video.npy", np.arange(80) % 40)
    api.evaluate(embeddings=tmp_path, draws=20).report(tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text("utf-8")
    Page(text)
    assert "data:image/jpeg" not in text
    assert "image/png" in text  # the heat map
    assert "Worst queries" in text


def test_actions_have_a_page_too(run, tmp_path):
    from test_evaluation import sharded

    shards = sharded(tmp_path / "s", [["run"], ["jump"], ["eat"], ["run"]], "test1")
    found = api.evaluate(run, shards, protocol="ucf101", allow_partial=True, draws=20, **CPU)
    found.report(tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text("utf-8"))
    text = " ".join(page.text)
    assert "PARTIAL: 4 of 3783 videos, 3 of 101 classes" in text
    assert "video to class top-1" in text


def test_each_split_of_actions_has_its_own_pictures(run, tmp_path):
    from test_evaluation import sharded

    splits = [
        sharded(tmp_path / split, [["run"], [name], ["eat"]], split) for split, name in (("test1", "x"), ("test2", "y"))
    ]
    api.evaluate(run, splits, protocol="hmdb51", allow_partial=True, draws=20, **CPU).report(tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text("utf-8")
    page = Page(html)
    for split in ("test1", "test2"):
        for heading in ("Best queries", "Worst queries", "Similarities", "Where the right answers stand"):
            assert f"{heading}, split {split}" in page.text
    assert html.count("image/jpeg") == 2 * 2  # a best and a worst query each, which show a video
    assert html.count("<svg") == 4


ODD = [
    "word " * 10_000, "\u202eright to left", "مرحبا بالعالم", "👩\u200d👩\u200d👧", "", "\x00\x1b[31m", "half \ud83d",
    "x" * 5000,
]  # fmt: skip


def test_odd_captions_have_a_page(tmp_path):
    rng = np.random.default_rng(0)
    text, video = rng.standard_normal((8, 4)), rng.standard_normal((8, 4))
    text[5], video[6, 2] = np.nan, np.inf
    for name, rows in (("text", text), ("video", video)):
        np.save(tmp_path / f"{name}.npy", rows)
    np.save(tmp_path / "caption_video.npy", np.arange(8))
    (tmp_path / "captions.txt").write_bytes(("\n".join(ODD) + "\n").encode("utf-8", "surrogatepass"))
    found = api.evaluate(embeddings=tmp_path, draws=20)
    assert found["nan"] == 8 + 8 - 1
    found.write(tmp_path / "r.json")
    found.report(tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text("utf-8")
    Page(html)
    assert len(html) < 60_000
    assert "(50000 characters)" in html
    assert "(5000 characters)" in html
    assert "مرحبا بالعالم" in html
    assert "👩\u200d👩\u200d👧" in html
    assert not set(html) & {"\u202e", "\x00", "\x1b"}


@pytest.mark.parametrize("captions", [1, 3])
def test_one_video_has_a_page(tmp_path, captions):
    np.save(tmp_path / "text.npy", np.eye(captions, 4))
    np.save(tmp_path / "video.npy", np.ones((1, 4)))
    np.save(tmp_path / "caption_video.npy", np.zeros(captions, np.int64))
    found = api.evaluate(embeddings=tmp_path, draws=20)
    assert found["t2v"]["R@1"] == found["v2t"]["R@1"] == 100
    found.report(tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text("utf-8"))
    assert f"own data: 1 video, {captions} caption{'s' if captions > 1 else ''}" in page.text


def test_the_best_are_called_first_only_where_all_are(tmp_path):
    text = np.eye(4)
    for name, rows in (("text", text), ("video", text), ("caption_video", np.arange(4))):
        np.save(tmp_path / f"{name}.npy", rows)
    for video, told in ((text, "The right answer first, by the widest margin."),
                        (text[::-1], "The right answers that rank highest.")):  # fmt: skip
        np.save(tmp_path / "video.npy", video)
        api.evaluate(embeddings=tmp_path, draws=0).report(tmp_path / "r.html")
        assert told in Page((tmp_path / "r.html").read_text("utf-8")).text


def test_examples_are_the_best_and_the_worst():
    rng = np.random.default_rng(3)
    video = rng.standard_normal((50, 16)).astype(np.float32)
    video /= np.linalg.norm(video, axis=1, keepdims=True)
    text = video + 0.3 * rng.standard_normal((50, 16)).astype(np.float32)
    text[7] = -video[7]
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    paired = Paired(text, video, np.arange(50), [str(i) for i in range(50)], [str(i) for i in range(50)])
    ranks = both_directions(text, video, np.arange(50))["t2v"]
    best, worst = examples(paired, ranks)
    assert (len(best), len(worst)) == (6, 6)
    assert (worst[0].query, worst[0].rank) == (7, 50)
    margins = [one.found[0][1] - one.found[1][1] for one in best]
    assert margins == sorted(margins, reverse=True)
    assert all(one.rank == 1 and one.found[0][2] for one in best)
    assert not {one.query for one in best} & {one.query for one in worst}


def test_charts_hold_what_was_measured():
    one = np.ones(10, np.int64)
    ranks = Ranks(np.array([0] * 5 + [3] * 3 + [60] * 2), one, one, 200)
    labels, shares = charts._bins({"t2v": ranks})
    assert dict(zip(labels, shares[0], strict=True)) == {
        "1": 50, "2-5": 30, "6-10": 0, "11-20": 0, "21-50": 0, "51-100": 20, "101-200": 0
    }  # fmt: skip
    curve = charts.recall_curve({"text to video": ranks})
    assert [f"<title>R@{k} {value}</title>" in curve for k, value in ((1, "50.0"), (5, "80.0"), (10, "80.0"))] == [
        True
    ] * 3
