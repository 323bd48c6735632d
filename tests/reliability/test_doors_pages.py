"""Nothing let in, of results: pages, exports, arrays, tables of vectors, and things that unfold."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import threading
import zipfile
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from door_helpers import CPU, HTML, Trap

from vtr import api, build, recipe
from vtr.data import annotations, image
from vtr.data.index_file import NAME
from vtr.errors import DataError, VtrError


class Tags(HTMLParser):
    """The tags of a page, and attributes that would run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found += [tag, *(name for name, _ in attrs if name.startswith("on"))]


@pytest.fixture(scope="module")
def hostile(run: Path, clip: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export whose captions and file names are HTML."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "v").mkdir()
    for n in range(3):
        name = HTML.replace("/", "")[:60] + str(n)
        (folder / "v" / f"{name}.mp4").write_bytes(clip)
        (folder / "v" / f"{name}.txt").write_text(HTML)
    api.embed(run, None, folder / "e", videos=folder / "v", **CPU)
    return folder / "e"


def test_html_in_results(mark: Path, hostile: Path, tmp_path: Path) -> None:
    hits = api.search(hostile, "a", device="cpu")
    assert HTML in hits[0]["caption"]
    api.write_page(hostile, [{"query": HTML, "hits": hits}], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert not {"script", "onerror", "iframe"} & set(Tags(text).found)
    assert text.count("&lt;script&gt;") >= 4
    assert "default-src 'none'" in text


def test_the_search_page_writes_text_only() -> None:
    """Whatever it shows of captions and names goes in as text, and its own policy forbids the rest."""
    import vtr.serve

    page = Path(vtr.serve.__file__).with_name("page")
    code = (page / "app.js").read_text()
    assert "textContent" in code
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", code)
    assert not {name for name in Tags((page / "index.html").read_text()).found if name.startswith("on")}


def test_the_page_answers_for_its_own_rows(hostile: Path, clip: bytes, tmp_path: Path) -> None:
    """A row that names a file elsewhere has no video, though the file is there."""
    testclient = pytest.importorskip("fastapi.testclient")
    from vtr.finder import Finder
    from vtr.serve.app import make_app

    (tmp_path / "secret.mp4").write_bytes(clip)
    for name in ("../../secret.mp4", str(tmp_path / "secret.mp4")):
        copy = shutil.copytree(hostile, tmp_path / f"e{len(name)}")
        file = copy / "emb-00000.parquet"
        table = pq.read_table(file)
        place = table.column_names.index("source")
        table = table.set_column(place, "source", pa.array([name] * len(table), pa.string()))
        pq.write_table(table, file)
        client = testclient.TestClient(make_app(Finder(copy, device="cpu"), "x"), "http://127.0.0.1")
        assert client.get("/video/0").status_code == 404
        assert client.get("/frame/0/0.jpg").status_code == 400
        for path in ("/video/99", "/video/-1", "/video/..%2f..%2fsecret.mp4", "/frame/0/99.jpg", "/secret.mp4"):
            assert client.get(path).status_code in (404, 422), path


def test_a_plan_that_leads_out(hostile: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(hostile, tmp_path / "e")
    plan = json.loads((copy / "plan.json").read_text())
    for name in ("../secret.mp4", "/etc/passwd"):
        plan["parts"][0]["items"][0][0] = name
        (copy / "plan.json").write_text(json.dumps(plan))
        with pytest.raises(DataError, match="is damaged"):
            api.search(copy, "a", device="cpu")


def test_a_caption_cannot_steer_a_terminal(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vtr.cli.app import fail
    from vtr.plaintext import warn

    fail("a\x1b]0;owned\x07b", "c\x1b[2Jd")
    warn("\x9bnaughty")
    err = capsys.readouterr().err
    assert "a ]0;owned b" in err
    assert "\x1b" not in err.replace("\x1b[1;31m", "").replace("\x1b[33m", "").replace("\x1b[0m", "")


def test_pickles_in_arrays(mark: Path, run: Path, shards: Path, tmp_path: Path) -> None:
    trap = np.array([[Trap(mark)]], dtype=object)
    api.embed(run, shards, tmp_path / "e", format="npy", captions=True, **CPU)
    for name in ("img_emb/img_emb_00000.npy", "text_emb/text_emb_00000.npy"):
        copy = shutil.copytree(tmp_path / "e", tmp_path / name.replace("/", "-"))
        np.save(copy / name, trap, allow_pickle=True)
        for act in (lambda at: api.search(at, "a", device="cpu"), lambda at: api.evaluate(embeddings=at, draws=0)):
            with pytest.raises(DataError, match="cannot be read as npy"):
                act(copy)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("video.npy", "text.npy"):
        np.save(plain / name, np.eye(2, dtype=np.float32))
    for name in ("video.npy", "text.npy", "text_video.npy"):
        if (plain / name).is_file():
            (plain / name).unlink()
        np.save(plain / name, trap, allow_pickle=True)
    with pytest.raises(DataError):
        api.evaluate(embeddings=plain, draws=0)


@pytest.mark.filterwarnings("ignore")
def test_metadata_of_parquet(mark: Path, embeddings: Path, shards: Path, run: Path, tmp_path: Path) -> None:
    """Whatever stands in it, in our own keys too, is text to us: a pickle is not opened."""
    trap = pickle.dumps(Trap(mark))

    def planted(source: Path, path: Path, *, ours: bool = False) -> None:
        table = pq.read_table(source)
        kept = table.schema.metadata or {}
        assert kept or not ours
        field = table.schema.field(0).with_metadata(
            {b"ARROW:extension:name": b"evil", b"ARROW:extension:metadata": trap}
        )
        schema = table.schema.set(0, field).with_metadata(
            (dict.fromkeys(kept, trap) if ours else kept) | {b"pandas": trap}
        )
        pq.write_table(pa.Table.from_arrays(table.columns, schema=schema), path)
        assert pq.read_schema(path).metadata[b"pandas"] == trap

    for folder, name, act in (
        (embeddings, "emb-00000.parquet", lambda at: api.search(at, "a", device="cpu")),
        (shards, NAME, api.inspect_shards),
    ):  # fmt: skip
        copy = shutil.copytree(folder, tmp_path / name.split(".")[0])
        planted(folder / name, copy / name)
        act(copy)
        planted(folder / name, copy / name, ours=True)
        with pytest.raises(VtrError):
            act(copy)
    pq.write_table(pa.table({"video": ["a.mp4"], "caption": ["c"]}), tmp_path / "t.parquet")
    planted(tmp_path / "t.parquet", tmp_path / "u.parquet")
    annotations.read("table", str(tmp_path / "u.parquet"))


def test_a_result_that_names_other_files(run: Path, test_shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "r" / "a.json"
    path.parent.mkdir()
    api.evaluate(run, test_shards, draws=0, **CPU).write(path)
    assert api.compare(path, path)["verdict"] == "no evidence of a difference"
    record = json.loads(path.read_text())
    shutil.move(path.with_name("a.ranks.parquet"), tmp_path / "elsewhere.parquet")
    for name in ("../elsewhere.parquet", str(tmp_path / "elsewhere.parquet"), "..", "", 5, None):
        path.write_text(json.dumps(record | {"ranks": name}))
        with pytest.raises(DataError, match="do not lie beside it"):
            api.compare(path, path)


def test_an_index_of_faiss_that_is_none(mark: Path, embeddings: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    copy = shutil.copytree(embeddings, tmp_path / "e")
    api.search(copy, "a", index="faiss", device="cpu")
    (file,) = (copy / ".index").glob("*.faiss")
    data = file.read_bytes()
    for planted in (pickle.dumps(Trap(mark)), data[: len(data) // 2], b""):
        file.write_bytes(planted)
        with pytest.raises(DataError, match="is damaged, or not of these embeddings"):
            api.search(copy, "a", index="faiss", device="cpu")


def test_pictures_and_members_that_unfold(tmp_path: Path) -> None:
    """Each is refused before memory of its size is taken."""
    import resource

    from PIL import Image

    png = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(png, "PNG")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(VtrError, match="pixels"):
        image.decode(png.getvalue())
    zipped = tmp_path / "x.pth"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(200 << 20))
    with pytest.raises(VtrError):
        build.load_source(f"frozen:{zipped}")
    deep = tmp_path / "deep.jsonl"
    for text in (
        "[" * 100_000,
        '{"video": ' + "[" * 900 + "]" * 900 + ', "caption": "x"}',
        '{"a":' * 3000,
        "9" * 10_000,
    ):
        deep.write_text(text + "\n")
        with pytest.raises(DataError):
            annotations.read("table", str(deep))
    (tmp_path / "r.toml").write_text("a = " + "[" * 5000)
    with pytest.raises(VtrError, match="is not TOML"):
        recipe.load(str(tmp_path / "r.toml"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10, "KB"


def test_an_export_asks_no_server(run: Path, shards: Path, tmp_path: Path) -> None:
    """A plan names any URL as the place of its shards: only one that the user gave is asked."""
    pytest.importorskip("fsspec", reason="the extra remote is not installed")
    pytest.importorskip("aiohttp", reason="the extra remote is not installed")
    from vtr.retrieval.library import Library
    from vtr.retrieval.media import Media

    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    api.embed(run, shards, tmp_path / "e", **CPU)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/steal"
        plan = json.loads((tmp_path / "e" / "plan.json").read_text())
        for part in plan["parts"]:
            part["root"] = url
        (tmp_path / "e" / "plan.json").write_text(json.dumps(plan))
        rows = Library(tmp_path / "e").rows
        for given in (None, "http://127.0.0.1:1/steal", str(shards)):
            media = Media(tmp_path / "e", rows, given)
            assert media.place(0) is None
            with pytest.raises(VtrError, match=r"say that this video is at http://127.*\n.*with --shards"):
                media.picture(0, 0, 1)
        assert asked == []
        assert Media(tmp_path / "e", rows, url).place(0) is None
        assert asked
        assert {path.split("/")[1] for path in asked} == {"steal"}
        server.shutdown()
