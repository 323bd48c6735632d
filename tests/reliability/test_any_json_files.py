"""Any JSON at all in the place of what vtr itself has written: whole files, and every part of a sound one."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from door_helpers import tar_of, tried
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_any_json import ANY, READERS

import vtr
from vtr import api, exported, initial, plainjson, rundir
from vtr.config import Config
from vtr.data import clipping, foreign, index_file, manifest, patterns, planfile, tokenizer
from vtr.data.annotations import Sample
from vtr.data.foreign_tar import IndexTask
from vtr.data.foreign_tar import read_part as read_indexing
from vtr.data.index import ShardIndex
from vtr.data.limits import DEFAULT
from vtr.data.oneshard import ShardTask
from vtr.data.oneshard import read_part as read_sharding
from vtr.data.plan import make_plan
from vtr.data.tarwriter import Member
from vtr.evaluation.lost import left_out
from vtr.hub.write import card
from vtr.imagetext import modules, openclip, sentence
from vtr.imagetext.named import Named
from vtr.models.released import Released
from vtr.released import _text_heads
from vtr.retrieval import parts
from vtr.training import spread, state
from vtr.training.best import Best
from vtr.training.log import RunLog
from vtr.training.quarantine import Quarantine

FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
MUCH = 10**400  # no float holds it
# Every module that reads JSON, and what is planted for it: below, or in test_any_json.py.
READ_BY = {
    "api/hub.py": ["result.json"],
    "data/annotations/official.py": ["msrvtt", "vatex", "activitynet", "didemo", "coco", "flickr30k"],
    "data/annotations/tablerows.py": ["table"],
    "data/captions.py": ["test_any_caption"],
    "data/clipping.py": ["f/json"],
    "data/foreign.py": ["l/skipped.jsonl"],
    "data/foreign_tar.py": ["q/.indexing/000000.parquet"],
    "data/index_file.py": ["p/index.parquet"],
    "data/manifest.py": ["s/manifest.json", "l/skipped.jsonl"],
    "data/oneshard.py": ["q/.parts/000000.parquet"],
    "data/plan.py": ["n/.parts/plan.json"],
    "data/planfile.py": ["plan.parquet"],
    "data/tokenizer.py": ["tokenizer_config.json/tokenizer_config.json", "tokenizer.json/tokenizer.json"],
    "checkpoint.py": ["hashes"],
    "evaluation/lost.py": ["s/manifest.json", "l/skipped.jsonl"],
    "exported.py": ["hf/config.json"],
    "hub/processor.py": ["processor"],
    "imagetext/modules.py": ["st/modules.json"],
    "imagetext/openclip.py": ["oc/open_clip_config.json"],
    "imagetext/sentence.py": ["st/modules.json"],
    "initial.py": ["m/config.json"],
    "models/configs.py": ["m/config.json"],
    "released.py": ["m/config.json"],
    "retrieval/npy.py": ["manifest"],
    "retrieval/parts.py": ["skipped"],
    "retrieval/plan.py": ["plan"],
    "retrieval/result.py": ["result"],
    "rundir.py": ["r/run.json"],
    "training/best.py": ["r/best.json"],
    "training/log.py": ["r/metrics.jsonl"],
    "training/quarantine.py": ["r/quarantine.jsonl"],
    "training/spread.py": ["zero.json"],
    "training/state.py": ["t/state/trainer.json"],
}
HERE = sorted({name for names in READ_BY.values() for name in names} - {*READERS, "test_any_caption"})
PLAN = make_plan([Sample("a", Path("a.mp4"), ("a",), "train", {}, "a.mp4")], 1, {"reader": "folder"})


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    """Where a value stands in a JSON value: () is the whole, then each key and each item, however deep."""
    yield ()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from ((key, *more) for more in places(inner))


def put(whole: Any, place: tuple[Any, ...], value: Any) -> Any:
    """`whole` with `value` at `place`."""
    if not place:
        return value
    copy = dict(whole) if isinstance(whole, dict) else list(whole)
    copy[place[0]] = put(copy[place[0]], place[1:], value)
    return copy


@dataclass(frozen=True)
class Door:
    """A JSON text: a sound one, how it is put into its place in a folder, and what reads it there."""

    sound: Any
    write: Callable[[str], object]
    reads: tuple[Callable[[], object], ...]


@pytest.fixture(scope="module")
def doors(run: Path, test_shards: Path, embeddings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Door]:
    folder = tmp_path_factory.mktemp("any")
    made: dict[str, Door] = {}

    def text(name: str, sound: Any, *reads: Callable[[], object]) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made[name] = Door(sound, lambda words: path.write_text(words, errors="replace"), reads)

    def in_parquet(name: str, key: bytes, source: Path, *reads: Callable[[], object]) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(source)
        sound = json.loads(table.schema.metadata.get(key, "{}"))
        made[name] = Door(sound, lambda words: pq.write_table(table.replace_schema_metadata({key: words}), path), reads)

    # Shards: what stands beside them, in them, and what is left of them half done.
    for name in ("s", "l", "p"):
        shutil.copytree(test_shards, folder / name)
        (folder / name / "skipped.jsonl").unlink()
    whole = json.loads((test_shards / "manifest.json").read_text())
    beside, listed = ShardIndex.open(folder / "s"), ShardIndex.open(folder / "l")
    text(
        "s/manifest.json", {**whole, "plan": PLAN.record(), "skipped": {"corrupt": 2}},
        lambda: manifest.warnings_of(beside), lambda: left_out(beside),
        lambda: manifest.summarize(folder, manifest.read_finished(folder / "s", PLAN, "x") or {}, nothing_to_do=True),
        lambda: planfile.planned_per_shard(folder / "s"),
    )  # fmt: skip
    line = {"key": "a", "video": "000000.tar/a", "kind": "corrupt", "message": "no picture"}
    (folder / "l" / "manifest.json").unlink()
    tars = patterns.find(str(folder / "l"))
    header = index_file.read_header(folder / "l" / "index.parquet")
    text(
        "l/skipped.jsonl", line, lambda: left_out(listed), lambda: foreign._already(tars, header, DEFAULT, {}),
        lambda: manifest._example((folder / "l" / "skipped.jsonl").read_text()),
    )  # fmt: skip
    text(
        "n/.parts/plan.json", {**PLAN.record(), "source": "x", "census": {}},
        lambda: planfile.planned_per_shard(folder / "n"),
        lambda: getattr(planfile.read_plan(folder / "n", {"reader": "folder"}, 1, "x"), "digests", None),
    )  # fmt: skip
    (folder / "n" / ".parts").joinpath("plan.parquet").touch()
    in_parquet("p/index.parquet", index_file.META, test_shards / "index.parquet", lambda: ShardIndex.open(folder / "p"))
    shard = ShardTask(folder / "q", 0, (), "d")
    part = {"shard": ["000000.tar", 0, 1], "skipped": [line], "digest": "d", "pace": {"clips": 1, "stored_s": 1.0}}
    (folder / "q" / ".parts").mkdir(parents=True)
    shard.tar.touch()
    index = IndexTask(folder / "q", 0, "000000.tar", None, "")
    indexed = {"digest": index.digest(), "skipped": [line], "remarks": {"ignored": 1}, "bytes": 0}
    for name, key, sound, read in (
        ("q/.parts/000000.parquet", b"vtr.part", part, lambda: read_sharding(shard)),
        ("q/.indexing/000000.parquet", b"vtr.indexing", indexed, lambda: read_indexing(index)),
    ):  # fmt: skip
        in_parquet(name, key, test_shards / "index.parquet", read)
        made[name] = Door(sound, made[name].write, (read,))

    def frames() -> None:
        data = (folder / "f" / "json").read_bytes()
        tar_of(folder / "f" / "0.tar", {"k.json": data})
        row = index_file.make_row(
            "k", "0.tar", [Member("json", 512, len(data), zlib.crc32(data))], ["a"], "", "", "frames",
            {"frames": 2, "fps": 1.0, "duration_s": 2.0, "width": 8, "height": 8, "decoder": "jpeg"},
        )  # fmt: skip
        size = (folder / "f" / "0.tar").stat().st_size
        shards = [index_file.Shard("0.tar", size, 1)]
        index_file.write_index(folder / "f" / "index.parquet", index_file.rows_to_table([row]), shards)
        clipping._times(ShardIndex.open(folder / "f"), 0, 2)

    text("f/json", {"times": [0.0, 0.5]}, frames)

    def samples(words: str) -> None:
        """As the metadata of a sample, which stand as JSON in a column."""
        row = {"key": "a", "video": b"a.mp4", "captions": ["a"], "split": "", "meta": words, "source": b"a.mp4"}
        pq.write_table(pa.Table.from_pylist([row], schema=planfile.SCHEMA), folder / "plan.parquet")

    stored = planfile.StoredPlan(folder / "plan.parquet", {}, {})
    made["plan.parquet"] = Door({"n": 1}, samples, (lambda: stored.shard(0),))

    # Runs.
    config = Config()
    kept = json.loads((run / "run.json").read_text())
    copy = shutil.copytree(run, folder / "r")
    text("r/run.json", kept, lambda: rundir.found(copy, kept, config, fresh=False))
    best = {"step": 6, "metric": "t2v R@1", "value": 1.0, "scored_on": "d"}
    text("r/best.json", best, lambda: Best(copy, "t2v R@1", 6, scored_on="d", main=False))
    text("r/metrics.jsonl", {"step": 6, "t2v R@1": 1.0, "scored_on": "d"}, lambda: RunLog(copy / "metrics.jsonl", 6, 6))
    quarantined = {"key": "a", "kind": "corrupt", "message": "no", "shards": "s"}
    text("r/quarantine.jsonl", quarantined, lambda: Quarantine(copy / "quarantine.jsonl"))
    last = sorted((copy / "checkpoints").iterdir())[-1]
    trainer = json.loads((last / "state" / "trainer.json").read_text())
    shutil.copytree(last / "state", folder / "t" / "state")
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])
    text("t/state/trainer.json", trainer, lambda: state.read_state(folder / "t", optimizer, None))
    zero = {"zero_optimization": {"stage": 3, "offload_param": {"device": "none"}}}
    deepspeed = {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(folder / "zero.json")}
    text("zero.json", zero, lambda: spread._zero(deepspeed))

    # Models.
    for name in ("tokenizer.json", "tokenizer_config.json"):
        words = shutil.copytree(last / "tokenizer", folder / name)
        sound = json.loads((words / name).read_text())
        text(f"{name}/{name}", sound, lambda words=words: tokenizer.load(words, 24))
    api.export(run, folder / "hf")
    told = json.loads((folder / "hf" / "config.json").read_text())
    text("hf/config.json", told, lambda: exported.open_exported(f"hf:{folder / 'hf'}"))
    bert = Released({}, {}, {"dim": 64}, 16, "", {})
    text("m/config.json", {"model_type": "clip", "n_heads": 2, "architecture": "vit"},
         lambda: initial._kind(str(folder / "m")), lambda: _text_heads("x", str(folder / "m"), {}, bert))  # fmt: skip
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    named = Named(f"st:{folder}", "st", str(folder / "st"), 0)
    text("st/modules.json", [module], lambda: modules.check_modules(folder / "st", named.whole),
         lambda: sentence._who(folder / "st"))  # fmt: skip
    # Sizes of a model are the library's own matter: what stands here fits none.
    clip = {"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"clean": "lower", "trust_remote_code": True}}}}
    oc = Named(f"open_clip:{folder}", "open_clip", str(folder / "oc"), 2)
    text("oc/open_clip_config.json", clip, lambda: openclip.open_openclip(oc))

    # Results and embeddings.
    numbers = dict.fromkeys(("R@1", "R@5", "R@10", "MdR", "MnR"), 1.0)
    result = {"t2v": numbers, "v2t": {"metrics": numbers}}

    def read_result() -> None:
        told = plainjson.load(folder / "result.json")
        card("hf", config, "0", told if isinstance(told, dict) else None)

    text("result.json", result, read_result)
    text("skipped", [{"id": "a", "kind": "corrupt", "message": "no"}],
         lambda: parts._skipped({"skipped": (folder / "skipped").read_text()}))  # fmt: skip
    return made


@pytest.mark.parametrize("name", HERE)
@FEW
@given(data=st.data(), value=ANY | st.just(MUCH))
def test_any_json(name: str, doors: dict[str, Door], data: st.DataObject, value: Any) -> None:
    door = doors[name]
    place = data.draw(st.sampled_from(list(places(door.sound))))
    door.write(json.dumps(put(door.sound, place, value)))
    for read in door.reads:
        tried(read)


def test_every_module_that_reads_json_is_here(doors: dict[str, Door]) -> None:
    root = Path(vtr.__file__).parent
    calls = re.compile(r"\bplainjson\.loads?\(|\bread_json\(")
    found = {str(path.relative_to(root)) for path in root.rglob("*.py") if calls.search(path.read_text())}
    assert found - {"plainjson.py"} == set(READ_BY)
    assert set(doors) == set(HERE)
