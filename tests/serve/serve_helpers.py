"""Videos to serve."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np

from vtr.data import synthetic

RIGHT_TO_LEFT = "كلب يركض على الشاطئ"


def folder_of_videos(folder: Path) -> None:
    """long.mp4 (four scenes), old.avi (MPEG-4 part 2) and gone.mp4, with captions that a page may stumble over."""
    folder.mkdir(parents=True)
    scenes = [synthetic.render(scene) for scene, _ in zip(synthetic.scenes(5, "train"), range(4), strict=False)]
    (folder / "long.mp4").write_bytes(synthetic.encode(np.concatenate(scenes)))
    (folder / "long.txt").write_text("several <i>things</i> move\n")
    (folder / "gone.mp4").write_bytes(synthetic.encode(scenes[1]))
    (folder / "old.avi").write_bytes(mpeg4(scenes[2]))
    (folder / "old.txt").write_text(f"{RIGHT_TO_LEFT} <script>document.title = 'owned'</script>\n", encoding="utf-8")
    (folder / "gone.txt").write_text(f"{'verylong' * 500}\n")


def mpeg4(frames: Any) -> bytes:
    """An AVI of a codec that browsers do not play."""
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as out:
        stream: Any = out.add_stream("mpeg4", rate=10)
        stream.height, stream.width = frames.shape[1:3]
        for picture in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        out.mux(stream.encode())
    return file.getvalue()
