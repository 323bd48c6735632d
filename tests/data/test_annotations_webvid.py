"""WebVid: a csv, and files where it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from official_helpers import brief, found, put, put_text, warnings

from vtr.data.annotations import ReaderOptions, read
from vtr.errors import DataError

HEADER = "videoid,contentUrl,duration,page_dir,name\n"
ROWS = (
    '21179416,https://x/a.mp4,PT00H00M11S,006001_006050,"Aerial shot, winter forest"\n'
    "5629184,https://x/b.mp4,PT00H00M29S,071501_071550,Senior couple looking\n"
    "21179416,https://x/a.mp4,PT00H00M11S,000001_000050,Winter forest from above\n"
    "5629184,https://x/b.mp4,PT00H00M29S,071501_071550,Senior couple looking\n"
)


@pytest.mark.parametrize("videos", ["videos/", ""])
def test_a_video_twice_is_one_sample(tmp_path: Path, videos: str) -> None:
    put_text(tmp_path, **{"results_2M_train.csv": HEADER + ROWS})
    put(tmp_path, f"{videos}006001_006050/21179416.mp4")
    samples = read("webvid", str(tmp_path))
    assert brief(samples) == [
        ("21179416", "2M-train", ("Aerial shot, winter forest", "Winter forest from above")),
        ("5629184", "2M-train", ("Senior couple looking",)),
    ]
    assert found(samples) == [True, False]
    assert samples[1].source == f"{videos}071501_071550/5629184.mp4"


@pytest.mark.parametrize("videos", ["videos/", ""])
def test_a_video_without_a_page_stands_at_the_top(tmp_path: Path, videos: str) -> None:
    put_text(tmp_path, **{"results_2M_val.csv": f"{HEADER}34,u,d,,x\n"})
    put(tmp_path, f"{videos}34.mp4")
    [sample] = read("webvid", str(tmp_path), ReaderOptions(split="2M-val"))
    assert (sample.source, found([sample])) == (f"{videos}34.mp4", [True])


def test_round_numbers_are_checked_roughly(tmp_path: Path) -> None:
    rows = "".join(f"{n},u,d,p,name {n}\n" for n in range(4900))
    put_text(tmp_path, **{"results_10M_val.csv": HEADER + rows})
    put(tmp_path, *(f"p/{n}.mp4" for n in range(4900)))
    assert warnings("webvid", tmp_path, split="10M-val") == []
    put_text(tmp_path, **{"results_10M_val.csv": HEADER + rows[: rows.index("4000,")]})
    assert warnings("webvid", tmp_path, split="10M-val") == [
        "WebVid 10M-val is not the whole official set: the annotations have 4000 videos (published: about 5000)"
    ]


def test_a_csv_cannot_reach_outside(tmp_path: Path) -> None:
    for row in ("1,u,d,../p,x", "1,u,d,/p,x", "../1,u,d,p,x"):
        put_text(tmp_path, **{"results_2M_val.csv": f"{HEADER}{row}\n"})
        with pytest.raises(DataError, match=r"results_2M_val\.csv line 2 has videoid .* and page_dir"):
            read("webvid", str(tmp_path), ReaderOptions(split="2M-val"))
