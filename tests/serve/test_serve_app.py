"""What the page asks of the server: hits, videos in ranges, pictures; and what nobody may ask."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serve_helpers import folder_of_videos

from vtr import api
from vtr.data import synthetic
from vtr.data.index import ShardIndex
from vtr.errors import DataError, InputError, RunError, VtrError
from vtr.finder import Finder
from vtr.retrieval.library import by_video

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("fastapi", reason="the search page is an extra: pip install '.[serve]'")
    from fastapi.testclient import TestClient

CPU = {"device": "cpu", "precision": "fp32"}


def client_of(app: Any) -> Any:
    """One that asks as a browser on this machine does; its own default, http://testserver, is nobody here."""
    return TestClient(app, base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def client(run: Path, embeddings: Path) -> Any:
    from vtr.serve.app import make_app

    return client_of(make_app(Finder(embeddings, device="cpu"), "test"))


@pytest.fixture(scope="module")
def spans(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a folder: spans of a long clip, one in a codec that browsers do not know, and one that has gone."""
    root = tmp_path_factory.mktemp("spans")
    folder_of_videos(root / "v")
    api.embed(run, None, root / "e", videos=root / "v", segments="1s/0.5s", **CPU)
    (root / "v" / "gone.mp4").unlink()
    return root / "e"


def test_search_and_more_like_this(client: Any) -> None:
    hits = client.get("/api/search", params={"q": "a red circle", "k": 5}).json()
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    assert all(hit["plays"] and hit["moments"] == [] for hit in hits)
    row = hits[2]["row"]
    like = client.get(f"/api/like/{row}", params={"k": 3}).json()
    assert like["like"]["row"] == row
    assert row not in [hit["row"] for hit in like["hits"]]
    about = client.get("/api/about").json()
    assert (about["videos"], about["rows"], len(about["examples"])) == (12, 12, 3)


def test_spans_of_a_video_come_as_one_hit_with_moments(run: Path, spans: Path) -> None:
    from vtr.serve.app import make_app

    client = client_of(make_app(Finder(spans, device="cpu"), "t"))
    hits = client.get("/api/search", params={"q": "a red circle"}).json()
    assert sorted(hit["id"] for hit in hits) == ["gone.mp4", "long.mp4", "old.avi"]
    found = {hit["id"]: hit for hit in hits}
    assert found["long.mp4"]["moments"]
    assert found["long.mp4"]["plays"]
    assert not found["old.avi"]["plays"], "an avi is played by no browser"
    assert client.get(f"/video/{found['old.avi']['row']}").status_code == 404
    assert client.get(f"/frame/{found['old.avi']['row']}/5.jpg").content.startswith(b"\xff\xd8")
    gone = client.get(f"/frame/{found['gone.mp4']['row']}/0.jpg")
    assert (gone.status_code, client.get(f"/video/{found['gone.mp4']['row']}").status_code) == (400, 404)
    assert "does not exist" in gone.json()["error"]


def test_a_video_comes_out_of_its_tar_in_ranges(client: Any, test_shards: Path) -> None:
    hit = client.get("/api/search", params={"q": "a red circle", "k": 1}).json()[0]
    index = ShardIndex.open(test_shards)
    i = next(i for i in range(len(index)) if index.key(i) == hit["id"])
    data, url = index.read_video(i), f"/video/{hit['row']}"
    whole = client.get(url)
    assert (whole.status_code, whole.content, whole.headers["accept-ranges"]) == (200, data, "bytes")
    assert whole.headers["content-type"] == "video/mp4"
    head = client.head(url, headers={"Range": "bytes=0-9"})
    assert (head.status_code, head.content, head.headers) == (200, b"", whole.headers)
    for asked, wanted in (("0-9", (0, 9)), ("10-", (10, len(data) - 1)), ("-7", (len(data) - 7, len(data) - 1)),
                          (f"5-{len(data) + 99}", (5, len(data) - 1))):  # fmt: skip
        part = client.get(url, headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, data[wanted[0] : wanted[1] + 1])
        assert part.headers["content-range"] == f"bytes {wanted[0]}-{wanted[1]}/{len(data)}"
    for asked in (f"{len(data)}-", "9-3", "-0", f"{'9' * 5000}-"):
        past = client.get(url, headers={"Range": f"bytes={asked}"})
        assert (past.status_code, past.headers["content-range"]) == (416, f"bytes */{len(data)}")
    for headers in ({"Range": "pages=1-2"}, {"Range": "bytes=0-1,4-5"}, {"Range": "bytes=-"},
                    {"Range": "bytes=0-1", "If-Range": '"other"'}):  # fmt: skip
        whole = client.get(url, headers=headers)
        assert (whole.status_code, whole.content, "content-range" in whole.headers) == (200, data, False)
    assert client.get(url, headers={"Range": "Bytes=0-1"}).status_code == 206, "units are the same in any case"


def test_only_what_the_export_names_is_served(client: Any) -> None:
    for path in ("/video/12", "/video/-1", "/frame/0/6.jpg", "/frame/0/-1.jpg", "/api/like/99", "/app.py", "/nothing",
                 "/..%2f..%2fapp.py", "/video/..%2f..%2f", "/docs", "/openapi.json"):  # fmt: skip
        assert client.get(path).status_code in (404, 422), path
    assert client.post("/api/search").status_code == 405
    for host in ("evil.example", "testserver", "127.0.0.1.evil.example"):
        assert client.get("/", headers={"Host": host}).status_code == 400
    assert client.get("/api/search", params={"q": " "}).json()["error"] == "the query is empty"
    assert client.get("/api/search", params={"q": "x" * 3000}).status_code == 422


def test_the_page_asks_nobody_else(client: Any) -> None:
    for name in ("/", "/app.js", "/style.css", "/icon.svg"):
        answer = client.get(name)
        assert (answer.status_code, client.head(name).status_code) == (200, 200)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not re.findall(r"(?:src|href|url|fetch|import)\W+(?:https?:)?//", answer.text)


def test_a_real_server_on_a_free_port(embeddings: Path) -> None:
    command = [sys.executable, "-m", "vtr", "search", str(embeddings), "--serve", "--port", "0", "--device", "cpu",
               "--json"]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        address = json.loads("".join(child.stdout.readline() for _ in range(3)))["address"]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}/api/search?q=a%20dog&k=2") as answer:
            assert len(json.load(answer)) == 2
        refused = subprocess.run([*command[:-2], "cpu", "--port", address.rsplit(":", 1)[1]], capture_output=True,
                                 text=True, check=False)  # fmt: skip
        assert refused.returncode == 2
        assert re.match(r"error: port \d+ is taken\nhint: give another --port", refused.stderr)
    finally:
        os.kill(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert "Traceback" not in errors


@pytest.mark.slow
def test_embedding_ends_in_the_page(run: Path, test_shards: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vtr", "embed", run, "--shards", test_shards, "--out", tmp_path / "e", "--device",
               "cpu", "--serve", "--port", "0", "--json"]  # fmt: skip
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        told = json.loads("".join(iter(child.stdout.readline, "}\n")) + "}")
        assert (told["rows"], told["clips"]) == (12, 12)
        with urllib.request.urlopen(f"{told['address']}/api/search?q=a%20dog&k=2") as answer:
            assert len(json.load(answer)) == 2
    finally:
        os.kill(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert "Traceback" not in errors


def test_a_page_of_results(run: Path, spans: Path, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("a <b>red</b> circle\na dog\n")
    found = api.search(spans, queries=tmp_path / "q.txt", k=6, device="cpu")
    assert [group["query"] for group in found] == ["a <b>red</b> circle", "a dog"]
    api.write_page(spans, found, tmp_path / "out" / "page.html")
    text = (tmp_path / "out" / "page.html").read_text()
    assert "a &lt;b&gt;red&lt;/b&gt; circle" in text
    assert "data:image/jpeg" in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_nearest_to_a_video(run: Path, spans: Path, embeddings: Path, test_shards: Path, tmp_path: Path) -> None:
    index = ShardIndex.open(test_shards)
    (tmp_path / "x.mp4").write_bytes(index.read_video(4))
    hits = api.search(embeddings, like=tmp_path / "x.mp4", k=3, device="cpu")
    assert hits[0]["id"] == index.key(4)
    assert hits[0]["score"] > 0.999
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VtrError, match="no known video format"):
        api.search(embeddings, like=tmp_path / "bad.mp4", device="cpu")


def test_what_cannot_be_searched(run: Path, shards: Path, embeddings: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one query is wanted\n.*--like FILE or --queries FILE"):
        api.search(embeddings, "a dog", like="x.mp4")
    with pytest.raises(InputError, match="--serve takes no query"):
        api.serve(embeddings, text="a dog")
    (tmp_path / "t.txt").write_text("a dog")
    api.embed(run, None, tmp_path / "texts", text=tmp_path / "t.txt", **CPU)
    with pytest.raises(DataError, match="holds no videos to find"):
        api.search(tmp_path / "texts", "a dog", device="cpu")
    with pytest.raises(DataError, match=r"q\.txt does not exist"):
        api.search(embeddings, queries=tmp_path / "q.txt", device="cpu")
    with pytest.raises(RunError, match="there is no run"):
        api.search(embeddings, "a dog", run=tmp_path / "none", device="cpu")
    with pytest.raises(InputError, match=r"the query 'caf\\udce9' is not UTF-8 text\n.*UTF-8 terminal"):
        api.search(embeddings, "caf\udce9", device="cpu")


def test_vectors_of_an_unknown_model_take_no_query(run: Path, tmp_path: Path) -> None:
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", np.eye(3, 16, dtype=np.float16))
    pq.write_table(pa.table({"image_path": ["a", "b", "c"]}), tmp_path / "metadata" / "metadata_0.parquet")
    for given in (None, run):
        with pytest.raises(RunError, match=r"does not say which model its vectors are of.*\n.*with vtr embed"):
            api.search(tmp_path, "a dog", run=given, device="cpu")


def test_hits_of_one_video_are_gathered() -> None:
    def hit(name: str, row: int, score: float) -> dict[str, Any]:
        return {"id": name, "source": "s", "row": row, "score": score, "start_s": 0.0, "end_s": 1.0, "rank": row}

    hits = [hit("a", 0, 0.9), hit("a", 1, 0.8), hit("b", 2, 0.7), hit("a", 3, 0.6), hit("c", 4, 0.5)]
    found = by_video(hits, 2, lambda row: "aabac"[row], moments=1)
    assert [(one["id"], one["rank"], [m["row"] for m in one["moments"]]) for one in found] == [
        ("a", 1, [1]),
        ("b", 2, []),
    ]


@pytest.mark.parametrize("kind", ["shards", "videos"])
def test_videos_of_one_name_in_two_places_are_two(run: Path, tmp_path: Path, kind: str) -> None:
    from vtr.serve.app import make_app

    for n, scene in zip(range(2), synthetic.scenes(5, "train"), strict=False):
        (tmp_path / f"v{n}").mkdir()
        (tmp_path / f"v{n}" / "x.mp4").write_bytes(synthetic.encode(synthetic.render(scene)))
        (tmp_path / f"v{n}" / "x.txt").write_text(synthetic.caption(scene))
        if kind == "shards":
            api.shard("folder", str(tmp_path / f"v{n}"), tmp_path / f"s{n}", workers=1)
            api.embed(run, tmp_path / f"s{n}", tmp_path / "e", **CPU)
        else:
            api.embed(run, None, tmp_path / "e", videos=tmp_path / f"v{n}", **CPU)
    client = client_of(make_app(Finder(tmp_path / "e", device="cpu"), "t"))
    assert client.get("/api/about").json()["videos"] == 2
    assert len(client.get("/api/search", params={"q": "a red circle"}).json()) == 2
    assert [hit["row"] for hit in client.get("/api/like/0").json()["hits"]] == [1]


def test_a_long_video_does_not_hide_the_others() -> None:
    from vtr.serve.app import SPARE, best_videos

    def hit(name: str, row: int) -> dict[str, Any]:
        return {"id": name, "source": "s", "row": row, "score": -row, "start_s": row, "end_s": row + 1, "rank": row}

    rows = [hit("long", row) for row in range(100 * SPARE)] + [hit(name, 9000 + n) for n, name in enumerate("bcd")]
    name_of = {row["row"]: row["id"] for row in rows}.get
    asked: list[int] = []

    def find(count: int) -> list[dict[str, Any]]:
        asked.append(count)
        return rows[:count]

    assert [one["id"] for one in best_videos(find, 3, name_of)] == ["long", "b", "c"]
    assert [one["id"] for one in best_videos(find, 3, name_of, but="long")] == ["b", "c", "d"]
    assert [one["id"] for one in best_videos(find, 9, name_of)] == ["long", "b", "c", "d"], "there are no more"
    asked.clear()
    assert len(best_videos(find, 1, name_of)) == 1
    assert asked == [SPARE], "one look is enough"


def test_a_video_that_may_not_be_read_costs_no_other_hit(run: Path, spans: Path, tmp_path: Path) -> None:
    from vtr.serve.app import make_app

    finder = Finder(spans, device="cpu")
    client = client_of(make_app(finder, "test"))
    hits = client.get("/api/search", params={"q": "a dog"}).json()
    playing = next(one for one in hits if one["plays"])
    path = Path(playing["source"])
    assert path.is_file()
    aside = path.rename(path.with_suffix(".aside"))
    path.symlink_to("/proc/self/mem")  # a file that opens, and whose first byte cannot be read
    try:
        again = client.get("/api/search", params={"q": "a dog"})
        assert again.status_code == 200
        assert not next(one for one in again.json() if one["id"] == playing["id"])["plays"]
    finally:
        path.unlink()
        aside.rename(path)


def test_a_page_of_ten_thousand_hits_has_each_picture_once(run: Path, spans: Path, tmp_path: Path) -> None:
    found = api.search(spans, "a dog", k=99, device="cpu")
    groups = [{"query": f"query {n}", "hits": found} for n in range(-(-10_000 // len(found)))]
    counted: list[int] = []
    api.write_page(spans, groups, tmp_path / "page.html", counted.append)
    text = (tmp_path / "page.html").read_text()
    assert text.count("<li>") >= 10_000
    assert sum(counted) == len(found)
    gone = sum(hit["id"] == "gone.mp4" for hit in found)
    assert text.count("data:image/jpeg") == len(found) - gone
    assert text.count("does not exist") == gone * len(groups), "why there is no picture"


def test_only_the_best_have_pictures_where_there_are_many(
    run: Path, embeddings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vtr.retrieval import page

    monkeypatch.setattr(page, "PICTURES", 3)
    (tmp_path / "q.txt").write_text("a red circle\na dog\n")
    found = api.search(embeddings, queries=tmp_path / "q.txt", k=4, device="cpu")
    api.write_page(embeddings, found, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text.count("data:image/jpeg") == 3
    assert "8 hits; the best ones have pictures, of 3 moments at most" in text
    for group in found:
        assert f'<div class="shown r{group["hits"][0]["row"]}">' in text
