"""`msrvtt`: MSR-VTT, from its videodatainfo json files; split 1k-A from JSFusion's csv.

    DIR/train_val_videodatainfo.json   DIR/test_videodatainfo.json   (or DIR/MSRVTT_data.json, which is both)
    DIR/MSRVTT_JSFUSION_test.csv       DIR/MSRVTT_train.9k.csv       DIR/**/video0.mp4 ...

Splits: `train` `val` `test` (together `full`, the default; 20 captions a video) and `1k-A-train` (9000 videos with all
their captions) `1k-A-test` (1000 videos with the one caption of the csv), together `1k-A`, also called `jsfusion`.
Without the 9k list the training videos are the 9000 that are not in the csv, which is what the list says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vtr.data.annotations.official import (
    FOLDERS,
    HELP,
    Benchmark,
    Files,
    Split,
    get,
    lines,
    read_official,
    rows,
)
from vtr.data.annotations.sample import JSON, ReaderOptions, Sample
from vtr.errors import DataError

BOTH = "MSRVTT_data.json"
TRAIN_VAL = "train_val_videodatainfo.json"
TEST = "test_videodatainfo.json"
JSFUSION = "MSRVTT_JSFUSION_test.csv"
LISTS = ("MSRVTT_train.9k.csv", "train_list_jsfusion.txt")
ONE_K_A = ("1k-A-train", "1k-A-test")
NAMES = {"train": "train", "val": "validate", "test": "test"}  # ours and the json's

BENCHMARK = Benchmark(
    name="msrvtt",
    title="MSR-VTT",
    splits={
        "train": Split((TRAIN_VAL, BOTH), 6513, 130_260),
        "val": Split((TRAIN_VAL, BOTH), 497, 9_940),
        "test": Split((TEST, BOTH), 2990, 59_800),
        "1k-A-train": Split((BOTH, TRAIN_VAL), 9000, 180_000),
        "1k-A-test": Split((JSFUSION,), 1000, 1000),
    },
    default=("train", "val", "test"),
    groups={"full": ("train", "val", "test"), "1k-A": ONE_K_A, "jsfusion": ONE_K_A},
    folders=(*FOLDERS, "train_val_annotation", "test_annotation", "msrvtt_data"),
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of MSR-VTT in the folder, or the annotation file, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    if split == "1k-A-test":
        for where, row in rows(path, "video_id", "sentence"):
            if not row["sentence"].strip():
                raise DataError(f"{where} has no sentence", "download it again: each of the 1000 videos has one")
            yield files.sample(split, row["video_id"], [row["sentence"]])
        return
    videos, captions = _load(files, path)
    if split == "1k-A-train":
        # The 9000 are from all three official splits, so the file of the test split is needed beside the other.
        if path.name == TRAIN_VAL:
            more = _load(files, files.need("split 1k-A-train", TEST))
            videos, captions = videos | more[0], captions | more[1]
        names = _training_list(files, videos)
    else:
        names = [name for name, part in videos.items() if part == NAMES[split]]
    for name in names:
        if name not in captions:
            raise DataError(f"{path} has no caption of {name}, which is in split {split}", "download it again")
        meta: dict[str, JSON] = {"official_split": videos[name]} if split == "1k-A-train" and name in videos else {}
        yield files.sample(split, name, captions[name], meta=meta)


def _load(files: Files, path: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The official split and the captions of each video of a videodatainfo file, in its order."""
    info = files.json(path, dict)
    videos: dict[str, str] = {}
    for n, video in enumerate(get(info, "videos", list, str(path))):
        where = f"{path} videos[{n}]"
        videos[get(video, "video_id", str, where)] = get(video, "split", str, where)
    captions: dict[str, list[str]] = {}
    for n, sentence in enumerate(get(info, "sentences", list, str(path))):
        where = f"{path} sentences[{n}]"
        captions.setdefault(get(sentence, "video_id", str, where), []).append(get(sentence, "caption", str, where))
    return videos, captions


def _training_list(files: Files, videos: dict[str, str]) -> list[str]:
    path = files.find(*LISTS)
    if path is not None:
        return [text.strip() for _, text in lines(path) if text.strip() != "video_id"]
    test = files.need("split 1k-A-train", *LISTS, JSFUSION)
    held_out = {row["video_id"] for _, row in rows(test, "video_id")}
    if not held_out & videos.keys():
        raise DataError(f"{test} names no video of the annotations", HELP)
    return [name for name in videos if name not in held_out]
