"""Any JSON at all in the place of every JSON file that vtr reads: taken, or refused in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vtr import checkpoint, plainjson, recipe
from vtr.data import captions
from vtr.data.annotations import ReaderOptions, read
from vtr.data.annotations.sample import below, make_key
from vtr.errors import DataError, VtrError
from vtr.hub.processor import VtrProcessor
from vtr.retrieval import plan, result
from vtr.retrieval.npy import _manifest

KEYS = st.sampled_from([
    "format", "options", "meta", "parts", "schema", "ranks", "video", "caption", "split", "key", "rows", "images",
    "videos", "sentences", "words", "fixed", "frames", "kind", "root", "items", "",
])  # fmt: skip
SECTIONS = st.sampled_from(["data", "model", "train", "optim", "finetune", "stages", "x"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=5),
    max_leaves=15,
)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def in_the_place_of(name: str, reads: Callable[[Path], object]) -> Callable[[Path, Any], None]:
    def act(folder: Path, value: Any) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
        try:
            reads(path)
        except VtrError as error:
            assert error.message

    return act


READERS: dict[str, Callable[[Path, Any], None]] = {
    "plan": in_the_place_of("plan.json", lambda path: plan.read(path.parent)),
    "manifest": in_the_place_of("manifest.json", lambda path: _manifest(path.parent)),
    "result": in_the_place_of("r.json", result.read),
    "hashes": in_the_place_of("sha256.json", lambda path: checkpoint.check(path.parent)),
    "processor": in_the_place_of("processor_config.json", lambda path: VtrProcessor.from_pretrained(path.parent)),
    "table": in_the_place_of("t.jsonl", lambda path: read("table", str(path))),
    **{
        reader: in_the_place_of(name, lambda path, reader=reader: read(reader, str(path.parent), ReaderOptions()))
        for reader, name in (
            ("msrvtt", "train_val_videodatainfo.json"), ("vatex", "vatex_training_v1.0.json"),
            ("activitynet", "train.json"), ("didemo", "test_data.json"), ("coco", "dataset_coco.json"),
            ("flickr30k", "dataset_flickr30k.json"),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
@FEW
@given(value=ANY)
def test_any_json(name: str, tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / f"any-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    READERS[name](folder, value)


@FEW
@given(value=st.dictionaries(SECTIONS, ANY, max_size=4))
def test_any_recipe(value: dict[str, Any]) -> None:
    try:
        recipe.to_toml(recipe.from_dict(value))
    except VtrError as error:
        assert error.message


@FEW
@given(value=ANY, field=st.none() | KEYS)
def test_any_caption(value: Any, field: str | None) -> None:
    members = {"json": json.dumps(value).encode(), "txt": b"\xff"}
    try:
        assert all(text.strip() for text in captions.read(members, field))
    except VtrError as error:
        assert error.message


@settings(max_examples=300, deadline=None)
@given(name=st.text(alphabet=st.sampled_from("./ab\\~\0é"), max_size=12))
def test_a_path_is_below_its_root_or_refused(name: str) -> None:
    root = Path("/srv/videos")
    try:
        path = below(root, name, "here")
    except DataError:
        return
    import os

    assert Path(os.path.normpath(path)).is_relative_to(root)
    assert Path(os.path.normpath(path)) != root


@settings(max_examples=300, deadline=None)
@given(name=st.text(max_size=200))
def test_a_key_is_a_plain_name(name: str) -> None:
    import re

    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", make_key(name))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_as_json(data: bytes) -> None:
    try:
        plainjson.loads(data)
    except ValueError:
        return


def test_nesting_without_end() -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, b"[" * 100_000):
        with pytest.raises(ValueError, match="nested too deep"):
            plainjson.loads(text)
