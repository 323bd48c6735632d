"""Pictures of what a run sees: the parts that were visible are the clip, and the hidden ones are what was restored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_helpers import Cli
from PIL import Image

from vtr import api, build, drawing, inspection, makers, recipe, runfiles
from vtr.data.annotations import Sample
from vtr.data.index import ShardIndex
from vtr.data.shards import write_shards
from vtr.errors import InputError, RunError
from vtr.models.patches import visible_patches

SIMVTP = {
    "objective.name": "simvtp", "objective.mask": "tube", "objective.mask_ratio": 0.75, "objective.word_ratio": 0.5,
    "objective.decoder_width": 8, "objective.decoder_depth": 1, "objective.decoder_heads": 2,
    "model.kind": "unified", "model.embed_dim": 32, "train.steps": 2,
}  # fmt: skip
MILES = {"objective.name": "miles", "objective.mask": "block", "objective.mask_ratio": 0.38, "train.steps": 2}


@pytest.fixture(scope="module")
def runs(nano: Path, shards: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for name, given in (("simvtp", SIMVTP), ("miles", MILES), ("plain", {"objective.name": "contrastive"})):
        config = recipe.override(recipe.load(str(nano)), given | {"train.steps": 2})
        api.pretrain(config, shards, folder / name)
    return {"mac": run} | {name: folder / name for name in ("simvtp", "miles", "plain")}


@pytest.mark.parametrize("name", ["mac", "miles", "simvtp"])
@pytest.mark.parametrize("synthetic", [True, False])
def test_a_sheet_is_drawn(runs, test_shards: Path, tmp_path: Path, name: str, synthetic: bool) -> None:
    out = tmp_path / "deep" / "sheet.png"
    found = api.reconstruct(runs[name], out, shards=None if synthetic else test_shards, clips=2)
    with Image.open(out) as sheet:
        assert sheet.size[0] >= 500
        assert sheet.size[1] > 2 * 3 * 112
        assert len(sheet.getcolors(1 << 20)) > 20, "pictures, not a blank page"
        foot = sheet.convert("L").crop((0, sheet.size[1] - 12, *sheet.size))
        assert (foot.getextrema()[0] < 100) == (name == "simvtp"), "what of a restored tube is true stands at the foot"
    assert len(found["clips"]) == len(found["captions"]) == 2
    if name == "simvtp":
        assert found["words_hidden"] > 0
        assert 0 <= found["words_right"] <= 1
        assert found["pixel_error"] > 0.3, "two steps restore nothing yet"
    else:
        assert len(found["words"]) == 2
        assert all(word in " ".join(found["captions"]) for word in (w.removeprefix("##") for w in found["words"]))


def test_patches_come_back_as_frames() -> None:
    clips = torch.randint(0, 256, (1, 4, 3, 16, 16), dtype=torch.uint8)
    film = drawing.film(visible_patches(clips, None, 4, 2)[0].float(), 4, 2)
    assert torch.equal(film, clips[0].permute(0, 2, 3, 1).float())


def test_what_was_visible_is_the_clip_and_the_rest_is_restored(runs) -> None:
    config, model, words, folder = build.load_parts(runs["simvtp"])
    objective = makers.make_objective(config, model.eval(), words).eval()
    runfiles.read_extras(folder, objective)
    (batch,), _ = inspection._samples(config, words, None, 2)
    with torch.no_grad():
        seen = inspection._restored(objective, batch, words, 0)
        visible, hidden, lost = objective.masks(batch, 0)
        tubes = model.tubes(batch.clips, visible)
        joint = objective.together(tubes, model.words(torch.where(lost, words.mask_id, batch.ids)), batch.attention)
        answers = objective.decoder(joint[:, : tubes.shape[1]], visible, hidden)  # (B,M,P)
    floor = objective.pixel_floor * 255
    for i, (clip, shown, restored) in enumerate(found.rows for found in seen):
        gone = torch.zeros(4, 4, dtype=torch.bool)
        gone.view(-1)[hidden[i, 0]] = True
        gone = gone.repeat_interleave(8, 0).repeat_interleave(8, 1)
        assert gone.float().mean() == 0.75
        assert torch.equal(clip.frames[:, ~gone], batch.clips[i].permute(0, 2, 3, 1).float()[:, ~gone])
        for row in (shown, restored):
            assert torch.equal(row.frames[:, ~gone], clip.frames[:, ~gone])
        assert (shown.frames[:, gone] == inspection.GREY).all()
        # A hidden tube is what the decoder answers, with the true deviation and mean of each colour.
        tubes = [(slot, *divmod(int(cell), 4)) for slot in range(2) for cell in hidden[i, slot]]
        for (slot, row, column), answer in zip(tubes, answers[i], strict=True):
            place = tuple(slice(step * at, step * at + step) for step, at in ((2, slot), (8, row), (8, column)))
            true, drawn = (frames[place].reshape(-1, 3) for frames in (clip.frames, restored.frames))
            wanted = answer.view(-1, 3) * (true.std(0) + floor) + true.mean(0)
            torch.testing.assert_close(drawn, wanted.clamp(0, 255), rtol=1e-4, atol=1e-2)
        assert shown.words.count("_") == int(lost[i].sum())
        assert restored.words


@pytest.mark.parametrize("name", ["mac", "simvtp"])
def test_images_and_videos_on_one_sheet(runs, test_shards: Path, tmp_path: Path, name: str) -> None:
    """They are of different lengths, so each kind is a batch of its own; on the sheet they stand as in the shards."""
    index = ShardIndex.open(test_shards)
    kind = index.members(0)[1].ext
    samples = []
    for number in range(4):
        source = tmp_path / (f"{number}.png" if number in (0, 3) else f"{number}.{kind}")
        if number in (0, 3):
            Image.new("RGB", (48, 48), "red").save(source)
        else:
            source.write_bytes(index.read(number, [kind])[kind])
        samples.append(Sample(str(number), source, (f"caption {number}",)))
    write_shards(samples, tmp_path / "mixed", reader="table", source="t", workers=1)
    found = api.reconstruct(runs[name], tmp_path / "sheet.png", shards=tmp_path / "mixed", clips=4)
    assert found["captions"] == [f"caption {number}" for number in range(4)]
    assert [key.rpartition("/")[2] for key in found["clips"]] == ["0", "1", "2", "3"]
    with Image.open(tmp_path / "sheet.png") as sheet:
        first, second = (
            sheet.getpixel((drawing.LEFT + 50 + step * (drawing.SIDE + drawing.GAP), 60)) for step in (0, 2)
        )
    assert first == (255, 0, 0), "the image"
    assert second == (255, 255, 255), "an image is a clip of one slot: two frames here, and not four"


def test_words_go_on_in_the_next_line() -> None:
    from PIL import ImageFont

    font = ImageFont.load_default()
    text = " ".join(f"word{n}" for n in range(60)) + "\n" + "x" * 300
    found = drawing.lines(text, font, 400)
    assert len(found) > 5
    assert all(font.getlength(line) <= 400 for line in found)
    assert "".join("".join(found).split()) == "".join(text.split()), "nothing is cut off"
    assert drawing.lines("", font, 400) == []
    assert drawing.lines("wide", font, 1) == ["w", "i", "d", "e"]
    assert drawing.lines("y" * 10**6, font, 400)[-1] == ".."


def test_the_sheet_has_room_for_all_captions_and_says_what_is_restored() -> None:
    rows = [drawing.Row("clip", torch.zeros(2, 8, 8, 3), "word " * 60)]
    short = drawing.sheet([rows], ["a caption"])
    long = drawing.sheet([rows], ["a caption " * 40])
    noted = drawing.sheet([rows], ["a caption"], inspection.COLOURS)
    assert short.size[0] == long.size[0] == noted.size[0]
    assert long.size[1] - short.size[1] >= 3 * drawing.LINE
    added = noted.size[1] - short.size[1]
    assert added >= drawing.LINE
    foot = noted.crop((0, noted.size[1] - added, noted.size[0], noted.size[1]))
    assert foot.convert("L").getextrema()[0] < 100, "something is written there"
    assert "true mean" in inspection.COLOURS


def test_perfect_answers_would_have_no_error(runs) -> None:
    """The error that is told is that of the training's target."""
    from vtr.objectives.simvtp import pixel_targets

    clips = torch.randint(0, 256, (2, 4, 3, 16, 16), dtype=torch.uint8)
    hidden = torch.arange(16).expand(2, 2, -1)
    true = visible_patches(clips, hidden, 4, 2).flatten(1, 2).float()
    for floor in (1e-6, 0.05):
        ours = inspection._standard(true.view(*true.shape[:2], 3, -1), floor)
        torch.testing.assert_close(ours, pixel_targets(clips, hidden, 4, 2, floor), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_drawn_is_said(runs, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sheet\.jpg is no PNG\n.*ends in \.png"):
        api.reconstruct(runs["mac"], tmp_path / "sheet.jpg")
    with pytest.raises(RunError, match=r"by contrastive, which hides nothing that can be drawn\n.*mac, simvtp or"):
        api.reconstruct(runs["plain"], tmp_path / "sheet.png")
    with pytest.raises(RunError, match="is a shard directory, not a run"):
        api.reconstruct(shards, tmp_path / "sheet.png")


def test_the_verb(runs, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "sheet.png"
    done = cli("inspect", runs["simvtp"], "--reconstruct", out, "--clips", "1", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["words_hidden"] > 0
    assert out.is_file()
    plain = cli("inspect", runs["simvtp"], "--reconstruct", out, "--clips", "1")
    assert plain.out.splitlines()[-1] == str(out)
    assert "words_right: " in plain.out
