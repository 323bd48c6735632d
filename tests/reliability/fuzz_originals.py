"""Little files of every kind that vtr reads, made on the fly."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

TINY = {
    "data.frames": 4, "data.size": 32, "data.resize": 36, "data.words": 24, "data.decoder": "pyav", "data.workers": 0,
    "model.width": 32, "model.depth": 1, "model.heads": 2, "model.patch": 8, "model.tubelet": 2,
    "model.attention": "joint", "model.text_width": 32, "model.text_depth": 1, "model.text_heads": 2,
    "model.vocabulary": 200, "model.embed_dim": 16, "train.steps": 1, "train.min_steps": 0, "train.batch_size": 4,
    "train.precision": "fp32", "train.device": "cpu", "train.unmasked_tail": 0.0,
}  # fmt: skip
CAPTION = "a red circle moves left"


def make_originals(root: Path, *, quick: bool = False) -> None:
    """Writes the originals of all targets below `root`; with `quick` of those that no run is trained for."""
    from vtr import recipe

    make_media(root / "media")
    _tar(root / "tars" / "a.tar", root / "media")
    _tables(root / "tables")
    _benchmarks(root / "benchmarks")
    config = recipe.override(recipe.load("mac-tiny"), TINY)
    config = recipe.override(config, {"data.flip": False})
    (root / "recipes").mkdir()
    (root / "recipes" / "r.toml").write_text(recipe.to_toml(config))
    if not quick:
        _trained(root, config)


def _trained(root: Path, config: Any) -> None:
    """Shards, a run that was trained with them, and all that is made of a run."""
    from vtr import api
    from vtr.retrieval import library, mapped

    shards = root / "shards"
    api.shard("synthetic", "seed:3", shards, split="train", limit=6, workers=1, per_shard=3)
    last = api.pretrain(config, shards, root / "made")
    shutil.copytree(last, root / "checkpoint")
    shutil.copytree(root / "made", root / "run")
    _pth(root / "pth")
    for layout in ("parquet", "npy"):
        where = root / f"export-{layout}"
        api.embed(root / "made", shards, where, format=layout, captions=True, device="cpu", precision="fp32")
        mapped.LARGE = 1
        mapped.read_videos(where, where / library.INDEX_FOLDER)
    (root / "result").mkdir()
    found = api.evaluate(root / "made", shards, device="cpu", precision="fp32", draws=20)
    found.write(root / "result" / "r.json")
    api.export(root / "made", root / "hub")


def make_media(folder: Path) -> None:
    import av
    import numpy as np
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    frames = [np.full((32, 48, 3), (12 * n) % 255, np.uint8) for n in range(12)]
    for n, frame in enumerate(frames):
        frame[8:24, 2 * n : 2 * n + 12] = rng.integers(0, 255, (16, 12, 3), dtype=np.uint8)
    kinds = {"a.mp4": ("mp4", "libx264"), "b.webm": ("webm", "libvpx"), "c.avi": ("avi", "mpeg4"),
             "d.mkv": ("matroska", "libx264"), "e.ts": ("mpegts", "libx264")}  # fmt: skip
    for name, (container, codec) in kinds.items():
        with av.open(str(folder / name), "w", format=container) as out:
            stream: Any = out.add_stream(codec, rate=12)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            for frame in frames:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(stream.encode())
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(folder / "f.gif", save_all=True, append_images=pictures[1:])
    for name, how in (("g.jpg", {}), ("h.png", {}), ("i.webp", {}), ("j.jpg", {"progressive": True})):
        pictures[3].save(folder / name, **how)
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures[4].save(folder / "k.jpg", exif=exif)


def _tar(path: Path, media: Path) -> None:
    path.parent.mkdir()
    about = json.dumps({"captions": [CAPTION, "another"], "split": "test", "fps": 12.0}).encode()
    members = [
        ("0.mp4", (media / "a.mp4").read_bytes()), ("0.txt", CAPTION.encode()),
        ("1.jpg", (media / "g.jpg").read_bytes()),
        ("1.json", about), (f"{'long' * 40}/2.png", (media / "h.png").read_bytes()), (f"{'long' * 40}/2.txt", b"x"),
    ]  # fmt: skip
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _tables(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    rows = [{"video": f"v{n}.mp4", "caption": f"caption {n}, \"so\"", "split": "train", "key": f"k{n}", "more": n / 3}
            for n in range(5)]  # fmt: skip
    text = "video,caption,split\n" + "".join(f'v{n}.mp4,"a caption, {n}",train\n' for n in range(5))
    (folder / "t.csv").write_text(text)
    (folder / "t.tsv").write_text(text.replace(",", "\t"))
    nested = [{**row, "caption": [CAPTION, "b"], "more": {"a": [[1], []], "b": None, "c": {"d": 0.5}}} for row in rows]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in nested))
    pq.write_table(pa.Table.from_pylist(nested), folder / "t.parquet")
    (folder / "lines.txt").write_text("id-1\ta caption\nanother\n\n")


def _benchmarks(folder: Path) -> None:
    """An annotation file of each shape that the readers of benchmarks read."""
    sentence = [{"raw": "Image 1.", "sentid": 1, "tokens": ["x"], "imgid": 1}]
    image = {"filepath": "val2014", "sentids": [1], "filename": "a.jpg", "imgid": 1, "split": "test", "cocoid": 1,
             "sentences": sentence}  # fmt: skip
    trees: dict[str, Any] = {
        "msrvtt/train_val_videodatainfo.json": {
            "videos": [{"category": 9, "video_id": "video0", "split": "train", "id": 0, "start time": 1.0}],
            "sentences": [{"sen_id": 1, "video_id": "video0", "caption": CAPTION}],
        },
        "vatex/vatex_training_v1.0.json": [{"videoID": "Ptf_2VRj-V0_000122_000132", "enCap": ["a", "b"]}],
        "activitynet/train.json": {
            "v_a": {"duration": 8.7, "timestamps": [[6, 8.5], [0.8, 2]], "sentences": ["b", "a"]}
        },
        "didemo/test_data.json": [
            {"description": "x", "video": "1@N04.m4v", "times": [[4, 4], [0, 1]], "num_segments": 6}
        ],
        "coco/dataset_coco.json": {"images": [image], "dataset": "coco"},
        "flickr30k/dataset_flickr30k.json": {"images": [image], "dataset": "flickr30k"},
    }  # fmt: skip
    clip, times = "0001_Film_00.00.51.926-00.00.54.129", "\t00.00.51.926" * 4
    texts = {
        "msvd/AllVideoDescriptions.txt": "# licence\n\na_5_15 a squirrel\nb_1_2 a man\n",
        "msvd/train_list.txt": "a_5_15\n",
        "lsmdc/LSMDC16_annos_training.csv": f"{clip}{times}\tSOMEONE waits.\n",
        "webvid/results_2M_train.csv": "videoid,contentUrl,duration,page_dir,name\n21,u,PT00H00M11S,006_60,A shot\n",
        "cc3m/Train_GCC-training.tsv": "a man\thttp://x.org/a.jpg\na dog\thttp://x.org/b\t0/1.jpg\n",
        "ucf101/ucfTrainTestlist/classInd.txt": "1 ApplyEyeMakeup\r\n2 YoYo\r\n",
        "ucf101/ucfTrainTestlist/trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n",
    }  # fmt: skip
    for name, text in {**{name: json.dumps(tree) for name, tree in trees.items()}, **texts}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _pth(folder: Path) -> None:
    import torch

    folder.mkdir()
    state = {"state_dict": {"a.weight": torch.arange(12.0).view(3, 4), "b": torch.ones(2).half()}, "epoch": 3}
    torch.save(state, folder / "new.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
