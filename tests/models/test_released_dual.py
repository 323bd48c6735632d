"""Frozen's and MILES's files give the released models' embeddings, and nothing in them is passed over in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
import released_files as files
import torch

from vtr import api, build, checkpoint, recipe
from vtr.errors import ConfigError, DataError, WorkError
from vtr.models.released import read_dual
from vtr.released import open_released, parse

IDS = torch.tensor([[2, 9, 30, 4, 3, 0, 0], [2, 5, 6, 7, 8, 11, 3], [2, 3, 0, 0, 0, 0, 0]])
MASK = IDS > 0


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """A directory of a text model: its tokenizer is all that is taken from there."""
    from vtr.data import tokenizer
    from vtr.data.index import ShardIndex

    out = tmp_path_factory.mktemp("text")
    index = ShardIndex.open(shards)
    tokenizer.train([c for i in range(len(index)) for c in index.captions(i)], 20, 64).save(out)
    (out / "config.json").write_text('{"model_type": "distilbert", "n_heads": 1}')
    return out


@pytest.mark.parametrize("kind", ["frozen", "miles"])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("parallel", [False, True])
def test_the_released_models_embeddings(tmp_path: Path, kind: str, legacy: bool, parallel: bool) -> None:
    tensors = files.state(64, text_proj="txt_proj" if kind == "frozen" else "text_proj")
    path = files.write(tmp_path / "x.pth", tensors, parallel=parallel, _use_new_zipfile_serialization=not legacy)
    model = build.load_model(f"{kind}:{path}", "cpu", "fp32")
    for frames in (1, 2, 3):
        clips = torch.randn(2, frames, 3, 16, 16)
        torch.testing.assert_close(model.embed_video(clips), files.video_vectors(tensors, clips), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        model.embed_text(IDS, MASK), files.text_vectors(tensors, IDS, MASK), rtol=1e-4, atol=1e-5
    )
    assert model.weights_sha256 == checkpoint.sha256(path)
    assert (model.config.data.frames, model.config.data.size) == (3, 16)


def test_more_frames_and_another_size(tmp_path: Path) -> None:
    """As the encoder does with clips that it has no positions for; and such a model is an encoder of that size."""
    path = files.write(tmp_path / "x.pth", files.state(64))
    own = build.load_model(f"frozen:{path}", "cpu", "fp32")
    other = build.load_model(f"frozen:{path},frames=5,size=32", "cpu", "fp32")
    clips = torch.randn(2, 5, 3, 32, 32)
    torch.testing.assert_close(other.embed_video(clips), own.embed_video(clips), rtol=1e-4, atol=1e-5)
    assert (other.config.data.frames, other.config.data.size, other.config.data.resize) == (5, 32, 37)
    fewer = build.load_model(f"frozen:{path},frames=2", "cpu", "fp32")
    clips = torch.randn(2, 2, 3, 16, 16)
    assert torch.equal(fewer.embed_video(clips), own.embed_video(clips))


def test_what_is_known_and_unused_is_named_with_its_reason(tmp_path: Path) -> None:
    extra = {
        "text_model.embeddings.position_ids": torch.arange(20)[None],
        "video_model.head.weight": torch.zeros(7, files.WIDTH),
    }
    path = files.write(tmp_path / "x.pth", files.state(64) | extra)
    assert set(read_dual(path, "frozen").unused) == set(extra)
    assert (
        "buffer of older transformers" in open_released(f"frozen:{path}").unused["text_model.embeddings.position_ids"]
    )


@pytest.mark.parametrize("name", ["video_model.mask_token", "momentum.weight", "video_model.blocks.0.attn.x"])
def test_what_is_unknown_is_refused(tmp_path: Path, name: str) -> None:
    path = files.write(tmp_path / "x.pth", files.state(64) | {name: torch.zeros(3)})
    pattern = rf"{name.removeprefix('video_model.')}"
    with pytest.raises(ConfigError, match=pattern):
        build.load_model(f"frozen:{path}", "cpu", "fp32")


def test_all_that_is_strange_is_counted(tmp_path: Path) -> None:
    path = files.write(tmp_path / "x.pth", files.state(64) | {f"queue.{i}": torch.zeros(3) for i in range(9)})
    with pytest.raises(ConfigError, match=r"not known: queue\.0, queue\.1, .* and 4 more(?s:.*)of another model"):
        build.load_model(f"miles:{path}", "cpu", "fp32")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    for name in ("vid_proj.0.weight", "video_model.blocks.1.timeattn.qkv.bias", "txt_proj.1.bias"):
        tensors = files.state(64)
        tensors.pop(name)
        path = files.write(tmp_path / "x.pth", tensors)
        with pytest.raises(ConfigError, match="missing"):
            build.load_model(f"frozen:{path}", "cpu", "fp32")
    both = files.state(64) | {"text_proj.1.bias": torch.zeros(files.E)}
    with pytest.raises(ConfigError, match=r"not known: text_proj\.1\.bias"):
        build.load_model(f"frozen:{files.write(tmp_path / 'x.pth', both)}", "cpu", "fp32")


POS, TIME = "video_model.pos_embed", "video_model.temporal_embed"
STRANGE = {
    "pos_embed without a patch": ({POS: (1, 1, 128)}, r"'video\.pos_embed' has 1 places, .* no CLS"),
    "pos_embed of no square": ({POS: (1, 4, 128)}, r"'video\.pos_embed' has 4 places"),
    "pos_embed of two clips": ({POS: (2, 5, 128)}, r"'video\.pos_embed' is \(2, 5, 128\), wanted \(1,"),
    "pos_embed flat": ({POS: (5, 128)}, r"'video\.pos_embed' is \(5, 128\)"),
    "no temporal_embed": ({TIME: (0, 3, 128)}, r"temporal_embed' is \(0, 3, 128\), wanted \(1,"),
    "temporal_embed of two": ({TIME: (2, 3, 128)}, r"temporal_embed' is \(2, 3, 128\)"),
    "temporal_embed empty": ({TIME: (1, 0, 128)}, r"temporal_embed' is \(1, 0, 128\)"),
    "patches not square": ({"video_model.patch_embed.proj.weight": (128, 3, 8, 4)}, r"patch_embed\.weight' is"),
    "no words": ({"text_model.embeddings.word_embeddings.weight": (0, 64)}, r"word_embeddings\.weight' is \(0, 64\)"),
    "a layer far above": ({"text_model.transformer.layer.999999999.x": (1,)}, r"layer\.2\.ffn\.lin1\.weight' is m"),
    "a block far above": ({"video_model.blocks.60000.x": (1,)}, r"blocks\.2\.mlp\.fc1\.weight' is m"),
    "many digits": ({f"video_model.blocks.{'9' * 5000}.x": (1,)}, r"blocks\.2\.mlp\.fc1\.weight' is m"),
    "empty blocks": ({f"video_model.blocks.{i}.x": (1,) for i in range(2, 3000)}, r"blocks\.2\.mlp\.fc1\.weight' is"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE)
def test_a_file_of_strange_shapes_builds_no_model(tmp_path: Path, case: str) -> None:
    """It is refused before anything is built after it: a name with a large number may not fill the memory."""
    changed, said = STRANGE[case]
    tensors = files.state(64) | {name: torch.zeros(shape) for name, shape in changed.items()}
    path = files.write(tmp_path / "x.pth", tensors)
    with pytest.raises(ConfigError, match=rf"no whole frozen checkpoint: .*{said}"):
        read_dual(path, "frozen")


def test_heads_that_do_not_divide(tmp_path: Path, texts: Path) -> None:
    path = files.write(tmp_path / "x.pth", files.state(64))
    with pytest.raises(ConfigError, match=r"64 wide does not divide into 7 heads\n.*text_heads=N"):
        build.load_source(f"frozen:{path},text_heads=7")
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "config.json").write_text('{"n_heads": 0}')
    with pytest.raises(ConfigError, match="does not divide into 0 heads"):
        build.load_source(f"frozen:{path},text={odd}")


def test_a_text_model_with_an_endless_name(tmp_path: Path) -> None:
    """Longer than a file's name can be: what asks for the tokenizer is told in words, and few of them."""
    path = files.write(tmp_path / "x.pth", files.state(64), "x" * 100_000)
    for name in (f"frozen:{path}", f"frozen:{path},text={'y' * 100_000}"):
        loaded = build.load_model(name, "cpu", "fp32")
        with pytest.raises(WorkError, match=r"tokenizer of '[xy]{300}\.\.' could not be loaded") as caught:
            loaded.tokenizer(["a dog"])
        assert len(str(caught.value)) < 1500


def test_more_words_than_there_are_positions(tmp_path: Path) -> None:
    path = files.write(tmp_path / "x.pth", files.state(64))
    assert build.load_source(f"frozen:{path},words=12").config.data.words == 12
    with pytest.raises(ConfigError, match=r"data\.words = 100, .* captions of 20 tokens\n.*PATH,words=20"):
        build.load_source(f"frozen:{path},words=100")


def test_what_a_file_does_not_tell_is_as_published(tmp_path: Path) -> None:
    """Captions are padded to the longest of a batch, for as long as there are positions."""
    path = files.write(tmp_path / "x.pth", files.state(64))
    for kind, published in (("frozen", "contrastive-base"), ("miles", "miles-base")):
        config = open_released(f"{kind}:{path}").config
        assert config.finetune == recipe.load(published).finetune
        assert (config.data.words, config.data.fixed_length, config.data.flip, config.stages) == (20, False, True, ())


def test_files_without_tensors(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": 1}}, tmp_path / "x.pth")
    with pytest.raises(DataError, match=r"x\.pth holds no tensors by name\n  hint: .* under state_dict"):
        build.load_model(f"frozen:{tmp_path / 'x.pth'}")
    with pytest.raises(DataError, match=r"nowhere\.pth cannot be read"):
        build.load_model("miles:nowhere.pth")


def test_options() -> None:
    assert parse("frozen:a,b.pth,frames=8,text=/models/bert") == (
        "frozen", Path("a,b.pth"), {"frames": 8, "text": "/models/bert"}
    )  # fmt: skip
    for wrong, words in {
        "frozen:a.pth,fps=3": "there is no option 'fps'\n  hint: options are: text, frames",
        "frozen:a.pth,frames=0": "frames = '0' is no whole number above 0",
        f"frozen:a.pth,frames={'9' * 5000}": "frames = '9{40}' is no whole number above 0 of up to nine digits",
        "frozen:a.pth,frames=x": "frames = 'x' is no whole number above 0",
        "miles:": r"miles: names no file\n  hint: write miles:PATH\.pth",
    }.items():
        with pytest.raises(ConfigError, match=words):
            parse(wrong)


def test_the_text_model_is_what_the_file_says(tmp_path: Path, texts: Path) -> None:
    path = files.write(tmp_path / "x.pth", files.state(64), "distilbert-base-cased")
    assert open_released(f"frozen:{path}").config.model.text == "distilbert-base-cased"
    assert open_released(f"frozen:{path},text={texts}").config.model.text == str(texts)
    torch.save(files.state(64), tmp_path / "bare.pth")
    assert open_released(f"miles:{tmp_path / 'bare.pth'}").config.model.text == "distilbert-base-uncased"


def test_a_tokenizer_that_cannot_be_had_or_does_not_fit(tmp_path: Path, texts: Path) -> None:
    """Vectors of token ids need none: it is asked for when a caption comes."""
    path = files.write(tmp_path / "x.pth", files.state(50))
    model = build.load_model(f"frozen:{path}", "cpu", "fp32")
    with pytest.raises(
        WorkError, match=r"tokenizer of 'distilbert-base-uncased' could not be loaded(?s:.*)directory.*,text=DIR"
    ):
        model.tokenizer(["a dog"])
    model = build.load_model(f"frozen:{path},text={texts}", "cpu", "fp32")
    with pytest.raises(ConfigError, match=r"has 6\d tokens, the weights have 50(?s:.*)text=NAME"):
        model.tokenizer(["a dog"])


def test_the_verbs_take_it(tmp_path: Path, texts: Path, shards: Path, test_shards: Path) -> None:
    path = files.write(tmp_path / "x.pth", files.state(64))
    name = f"frozen:{path},text={texts}"
    how = {"device": "cpu", "precision": "fp32"}
    result = api.evaluate(name, test_shards, **how)
    assert result["videos"] == 12
    assert result["model"] == name
    api.embed(name, test_shards, tmp_path / "e", **how)
    found = api.search(tmp_path / "e", "a red circle", k=3, device="cpu")
    assert [row["rank"] for row in found] == [1, 2, 3]
    given = {"train.steps": 2, "train.batch_size": 4, "train.precision": "fp32", "train.device": "cpu"}
    given |= {"data.workers": 0, "data.decoder": "pyav"}
    api.finetune(name, shards, tmp_path / "ft", overrides=given)
    tuned = build.load_model(tmp_path / "ft", "cpu", "fp32")
    clips = torch.randn(1, 3, 3, 16, 16)
    assert not torch.equal(tuned.embed_video(clips), build.load_model(name, "cpu", "fp32").embed_video(clips))
    texts.rename(tmp_path / "gone")
    try:
        assert api.evaluate(tmp_path / "ft", test_shards, **how)["videos"] == 12, "a run stands alone"
        with pytest.raises(WorkError, match=r"the tokenizer of .* could not be loaded"):
            api.finetune(name, shards, tmp_path / "other", overrides=given)
        assert not (tmp_path / "other").exists(), "nothing is written before it is there"
    finally:
        (tmp_path / "gone").rename(texts)
