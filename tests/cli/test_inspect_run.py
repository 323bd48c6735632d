"""Pictures of what a run sees: the parts that were visible are the clip, and the hidden ones are what was restored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_helpers import Cli
from PIL import Image

from vtr import api, build, inspection, makers, recipe, runfiles
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
    film = inspection._film(visible_patches(clips, None, 4, 2)[0].float(), 4, 2)
    assert torch.equal(film, clips[0].permute(0, 2, 3, 1).float())


def test_what_was_visible_is_the_clip_and_the_rest_is_restored(runs) -> None:
    config, model, words, folder = build.load_parts(runs["simvtp"])
    objective = makers.make_objective(config, model.eval(), words).eval()
    runfiles.read_extras(folder, objective)
    batch, _ = inspection._samples(config, words, None, 2)
    with torch.no_grad():
        blocks, _ = inspection._restored(objective, batch, words, 0)
        _, hidden, lost = objective.masks(batch, 0)
    for i, (clip, shown, restored) in enumerate(blocks):
        gone = torch.zeros(4, 4, dtype=torch.bool)
        gone.view(-1)[hidden[i, 0]] = True
        gone = gone.repeat_interleave(8, 0).repeat_interleave(8, 1)
        assert gone.float().mean() == 0.75
        assert torch.equal(clip.frames[:, ~gone], batch.clips[i].permute(0, 2, 3, 1).float()[:, ~gone])
        for row in (shown, restored):
            assert torch.equal(row.frames[:, ~gone], clip.frames[:, ~gone])
        assert (shown.frames[:, gone] == inspection.GREY).all()
        assert not torch.equal(restored.frames[:, gone], clip.frames[:, gone])
        assert shown.words.count("_") == int(lost[i].sum())
        assert restored.words


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
    with pytest.raises(RunError, match=r"trained by contrast alone, which hides nothing\n.*mac, simvtp or miles"):
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
