"""`webvid`: WebVid, from its csv files with the columns videoid, contentUrl, duration, page_dir, name.

    DIR/results_2M_train.csv   DIR/results_2M_val.csv   DIR/results_10M_train.csv   DIR/results_10M_val.csv
    DIR/videos/<page_dir>/<videoid>.mp4   (or without videos/)

Splits: `2M-train` `2M-val`, both by default, and `10M-train` `10M-val`. `name` is the caption; a video that stands in a
file twice, with another name, gets both. No exact counts are published; a file much shorter than the published round
numbers is announced.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vtr.data.annotations.official import Benchmark, Files, Split, read_official, rows
from vtr.data.annotations.sample import ReaderOptions, Sample
from vtr.errors import DataError

BENCHMARK = Benchmark(
    name="webvid",
    title="WebVid",
    splits={
        "2M-train": Split(("results_2M_train.csv",), 2_500_000, about=True),
        "2M-val": Split(("results_2M_val.csv",), 5_000, about=True),
        "10M-train": Split(("results_10M_train.csv",), 10_700_000, about=True),
        "10M-val": Split(("results_10M_val.csv",), 5_000, about=True),
    },
    default=("2M-train", "2M-val"),
    groups={"2M": ("2M-train", "2M-val"), "10M": ("10M-train", "10M-val")},
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of WebVid in the folder, or the csv, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    # The files are where the csv says: millions of them are not searched for.
    videos = "videos" if (files.root / "videos").is_dir() else ""
    captions: dict[str, tuple[str, dict[str, None]]] = {}
    for where, row in rows(path, "videoid", "page_dir", "name"):
        video, folder = row["videoid"].strip(), row["page_dir"].strip()
        if not video.isalnum() or folder.startswith("/") or ".." in folder:
            raise DataError(f"{where} has videoid {video!r} and page_dir {folder!r}", "download the csv again")
        # A video that was crawled twice may have moved to another page: its first place counts.
        captions.setdefault(video, (folder, {}))[1][row["name"]] = None
    for video, (folder, names) in captions.items():
        yield files.sample(split, video, names, at=str(PurePosixPath(videos, folder, f"{video}.mp4")))
