"""Images as clips of one frame: in both stores, upright, and no way round for a video that is none."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtr.data import image, stored
from vtr.data.annotations import Sample
from vtr.data.index import ShardIndex
from vtr.data.limits import Limits
from vtr.data.shards import write_shards
from vtr.data.store import FrameStore, VideoStore
from vtr.errors import VideoError


def picture(path: Path, size: tuple[int, int] = (60, 40), rotated: bool = False, **options: object) -> Path:
    """A picture that is red on its left and blue on its right, as shown."""
    shown = np.zeros((size[1], size[0], 3), np.uint8)
    shown[:, : size[0] // 2, 0] = shown[:, size[0] // 2 :, 2] = 250
    made, exif = Image.fromarray(shown), Image.Exif()
    if rotated:  # kept lying on its side, as cameras do, with the note that turns it back
        made, exif[0x0112] = made.transpose(Image.Transpose.ROTATE_90), 6
    made.save(path, exif=exif, **options)  # type: ignore[arg-type]
    return path


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    files = [
        picture(tmp_path / "a.jpg", rotated=True, quality=95),
        picture(tmp_path / "b.png"),
        picture(tmp_path / "c.webp", lossless=True),
        picture(tmp_path / "d.jpg", format="PNG"),  # what it is says its bytes, not its name
    ]
    picture(tmp_path / "e.jpg").rename(tmp_path / "e")
    files.append(tmp_path / "e")
    return [Sample(path.stem, path, (path.name,), source=path.name) for path in files]


def test_a_video_store_keeps_the_file(samples: list[Sample], tmp_path: Path) -> None:
    summary = write_shards(samples, tmp_path / "out", reader="cc3m", source="t", workers=1)
    assert (summary.samples, summary.decoders, summary.duration_s) == (5, {"image": 5}, 0.0)
    index = ShardIndex.open(tmp_path / "out")
    assert [index.members(i)[1].ext for i in range(5)] == ["jpg", "png", "webp", "png", "jpg"]
    for i, sample in enumerate(samples):
        assert isinstance(sample.video, Path)
        info = index.info(i)
        assert index.read(i)[index.members(i)[1].ext] == sample.video.read_bytes()
        assert (info.frames, info.width, info.height, info.decoder, info.store) == (1, 60, 40, "image", "video")
        frames = stored.read_frames(index, i, [0, 0, 0])
        assert frames.shape == (3, 40, 60, 3)
        assert frames[2, 20, 10].argmax() == 0
        assert frames[2, 20, 50].argmax() == 2
    with pytest.raises(VideoError, match="a has 1 stored frames, number 1 was asked for") as caught:
        stored.read_frames(index, 0, [0, 1])
    assert caught.value.kind == "no-frames"


def test_a_frame_store_keeps_one_small_frame(samples: list[Sample], tmp_path: Path) -> None:
    store = FrameStore(short_side=20, frames=8)
    summary = write_shards(samples, tmp_path / "out", reader="cc3m", source="t", workers=1, store=store)
    assert summary.decoders == {"image": 5}
    index = ShardIndex.open(tmp_path / "out")
    for i in range(5):
        info = index.info(i)
        assert [member.ext for member in index.members(i)] == ["json", "0000.jpg"]
        assert (info.frames, info.width, info.height, info.decoder, info.store) == (1, 30, 20, "image", "frames")
        about = json.loads(index.read(i, ["json"])["json"])
        assert about["times"] == [0.0]
        assert (about["original"]["width"], about["original"]["height"]) == (60, 40)
        frames = stored.read_frames(index, i, [0, 0])
        assert frames.shape == (2, 20, 30, 3)
        assert (frames[0, 10, 5].argmax(), frames[0, 10, 25].argmax()) == (0, 2)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    whole = picture(tmp_path / "a.jpg", size=(640, 480)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.jpg").write_bytes(b"<html>gone</html>")
    (tmp_path / "thumbnail.mp4").write_bytes(whole)
    samples = [Sample(path.stem, path, ("x",), source=path.name) for path in sorted(tmp_path.iterdir())]
    samples += [Sample("gone", tmp_path / "gone.jpg", ("x",), source="gone.jpg")]
    for store in ("video", "frames"):
        out = tmp_path / store
        write_shards(samples, out, reader="cc3m", source="t", workers=1, max_skipped=0.9, store=store)
        lines = map(json.loads, (out / "skipped.jsonl").read_text().splitlines())
        assert {line["video"]: line["kind"] for line in lines} == {
            "cut.jpg": "corrupt", "page.jpg": "not-video", "thumbnail.mp4": "not-video", "gone.jpg": "missing",
        }  # fmt: skip


def test_unchecked_images_are_still_read_as_images(tmp_path: Path) -> None:
    data = picture(tmp_path / "a.png").read_bytes()
    ready = VideoStore(check=False).prepare(data, "png", Limits())
    assert ready.members == [("png", data)]
    assert ready.facts["decoder"] == "image"


def test_pictures_of_every_kind_become_rgb() -> None:
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16"):
        value = 200 * 256 if mode == "I;16" else 1 if mode == "1" else 0
        file = io.BytesIO()
        Image.new(mode, (32, 16), value).save(file, "JPEG" if mode == "CMYK" else "PNG")
        decoded = image.decode(file.getvalue())
        assert (decoded.shape, decoded.dtype) == ((16, 32, 3), np.uint8), mode
        if mode == "I;16":
            assert (decoded == 200).all(), "scaled, not clipped"
    with pytest.raises(VideoError, match=r"a picture of 32x16, over max_pixels = 100\n  hint: .* larger --max-pixels"):
        image.decode(file.getvalue(), Limits(max_pixels=100))
    with pytest.raises(VideoError, match=r"a picture cannot be decoded.*\n  hint: get the file again"):
        image.decode(b"\x89PNG\r\n\x1a\n")
    assert image.extension(b"RIFF\0\0\0\0AVI ") is None
