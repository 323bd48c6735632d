"""Thousands of videos through one process: its memory and its open files stay as they were.

Run by hand with other numbers: VTR_DECODES=20000 VTR_CLIPS=5000 pytest tests/reliability/test_long_runs.py -m slow -s
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

DECODES, CLIPS = int(os.environ.get("VTR_DECODES", "2000")), int(os.environ.get("VTR_CLIPS", "300"))
DECODING = """
import json, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from vtr.data import image, video
files = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]
kinds = [path.suffix for path in sorted(Path(sys.argv[1]).iterdir())]
infos = [None if kind in ('.jpg', '.bad') else video.probe(data) for data, kind in zip(files, kinds)]
def look():
    status = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)
    return int(status['RssAnon'].split()[0]) / 1024, len(os.listdir('/proc/self/fd'))
seen, count = [], int(sys.argv[2])
for n in range(count):
    at = n % len(files)
    if kinds[at] == '.jpg':
        image.decode(files[at])
    elif kinds[at] == '.bad':
        try:
            video.check(files[at])
        except Exception as error:
            assert type(error).__name__ == 'VideoError', error
    else:
        frames = infos[at].frames
        video.read_frames(files[at], [0, frames // 2, frames - 1], ('pyav', infos[at].decoder)[n // len(files) % 2])
    if n % max(1, count // 40) == 0:
        seen.append(look())
print(json.dumps(seen))
"""


def files(folder: Path) -> Path:
    """Videos of several containers and codecs, pictures, and damaged ones."""
    from fuzz_originals import make_media

    make_media(folder)
    for name in ("f.gif", "h.png", "i.webp"):
        (folder / name).unlink()
    data = (folder / "a.mp4").read_bytes()
    for n in range(3):
        (folder / f"z{n}.bad").write_bytes(data[: len(data) // 4 * (n + 1)])
    return folder


def flat(seen: list[list[float]], what: str) -> None:
    """The last third holds no more memory than the second, by 2 % or 4 MB, and no more files than the first."""
    third = len(seen) // 3
    before, after = (max(m for m, _ in part) for part in (seen[third : 2 * third], seen[2 * third :]))
    opened = [max(d for _, d in part) for part in (seen[:third], seen[2 * third :])]
    print(f"{what}: {before:.1f} MB -> {after:.1f} MB, descriptors {opened[0]:.0f} -> {opened[1]:.0f}")
    assert after <= max(1.02 * before, before + 4)
    assert opened[1] <= opened[0]


@pytest.mark.slow
def test_decoding_holds_no_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DECODING, str(files(tmp_path / "v")), str(DECODES)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    flat(json.loads(done.stdout), f"{DECODES} decodes")


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def look(pid: int) -> tuple[float, float] | None:
    """(MB of memory that are of no file, open files) of a process and its children; None as one of them ends."""
    memory = opened = 0.0
    try:
        for one in family(pid):
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
            status = dict(line.split(":", 1) for line in lines if ":" in line)
            memory += int(status["RssAnon"].split()[0]) / 1024
            opened += len(os.listdir(f"/proc/{one}/fd"))  # noqa: PTH208
    except (OSError, KeyError):
        return None
    return memory, opened


@pytest.mark.slow
def test_embedding_holds_no_memory(run: Path, tmp_path: Path) -> None:
    """From the first vectors on; what it finds grows by a row a clip, which is little."""
    from vtr.data import synthetic

    clips = tmp_path / "v"
    clips.mkdir()
    scenes = synthetic.scenes(7, "train")
    some = [synthetic.encode(synthetic.render(next(scenes))) for _ in range(50)]
    for n in range(CLIPS):
        (clips / f"{n:05d}.mp4").write_bytes(some[n % len(some)])
    command = [sys.executable, "-m", "vtr", "embed", run, "--videos", clips, "--out", tmp_path / "e", "--device", "cpu"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    seen = []
    while process.poll() is None:
        if list((tmp_path / "e").glob("emb-*.parquet")) and (now := look(process.pid)) is not None:
            seen.append(list(now))
        time.sleep(0.05)
    assert process.returncode == 0, (tmp_path / "log").read_text()
    assert len(seen) >= 9
    flat(seen[: -max(1, len(seen) // 20)], f"{CLIPS} clips embedded")
