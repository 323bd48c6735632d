"""Reranking by the matching head of a trained SimVTP, against its own objective and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vtr import api, build, makers, recipe, runfiles
from vtr.checkpoint import resolve
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset
from vtr.errors import InputError, RunError
from vtr.evaluation.match import matcher

CPU = {"device": "cpu", "precision": "fp32"}
SIMVTP = {
    "objective.name": "simvtp", "objective.mask": "tube", "objective.mask_ratio": 0.75, "objective.word_ratio": 0.5,
    "objective.decoder_width": 8, "objective.decoder_depth": 1, "objective.decoder_heads": 2,
    "model.kind": "unified", "model.embed_dim": 32, "data.resize": 37,
}  # fmt: skip


@pytest.fixture(scope="module")
def simvtp(nano, shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "simvtp"
    api.pretrain(recipe.override(recipe.load(str(nano)), SIMVTP), shards, out)
    return out


def test_it_is_a_column_apart(simvtp, test_shards):
    plain = api.evaluate(simvtp, test_shards, draws=20, **CPU)
    found = api.evaluate(simvtp, test_shards, vtm=True, vtm_top=4, draws=20, **CPU)
    for name in ("t2v", "v2t", "intervals", "nan"):
        assert plain[name] == found[name]
    column = found["columns"]["+VTM rerank"]
    assert set(column) == {"t2v", "v2t", "intervals", "assumes"}
    assert "first 4 candidates" in column["assumes"]
    for way in ("t2v", "v2t"):
        # Only the order within the first four is another one.
        raw, again = (scored.ranks[0][way] for scored in found.columns)
        behind = raw.better >= 4
        np.testing.assert_array_equal(raw.expected()[behind], again.expected()[behind])
        assert (again.expected()[~behind] <= 4).all()
    assert found.seconds["encoders"] > plain.seconds["encoders"] * 0.5
    assert set(found.ranks().column("column").to_pylist()) == {"raw", "+VTM rerank"}


def test_log_odds_are_those_of_the_objective(simvtp, test_shards):
    loaded = build.load_model(simvtp, "cpu", "fp32")
    objective = makers.make_objective(loaded.config, loaded.embedder.model, loaded.tokenizer)
    runfiles.read_extras(resolve(simvtp), objective)
    objective.eval()
    index = ShardIndex.open(test_shards)
    clip = ClipDataset(index, build.clip_shape(loaded.config))[0, 3].clip[None]
    tokens = loaded.tokenizer([index.captions(i)[0] for i in range(6)])
    ids, seen = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.attention)
    odds = matcher(loaded).log_odds(clip, ids, seen)
    assert odds.std() > 0
    with torch.no_grad():
        tubes = objective.model.tubes(clip.expand(6, *clip.shape[1:]))
        joint = objective.together(tubes, objective.model.words(ids), seen)
        # Cross-entropies of "together" and of "not": log(1 + exp(-odds)) and log(1 + exp(odds)).
        yes, no = objective.match(joint, seen, 1), objective.match(joint, seen, 0)
    torch.testing.assert_close(odds, no - yes, atol=1e-5, rtol=1e-5)


def test_all_candidates_are_ordered_by_hand(simvtp, test_shards):
    found = api.evaluate(simvtp, test_shards, vtm=True, draws=0, **CPU)
    loaded = build.load_model(simvtp, "cpu", "fp32")
    index, by = ShardIndex.open(test_shards), matcher(loaded)
    dataset = ClipDataset(index, build.clip_shape(loaded.config))
    matrix = np.zeros((12, 12))
    for video in range(12):
        for caption in range(12):
            tokens = loaded.tokenizer(index.captions(caption)[:1])
            odds = by.log_odds(
                dataset[0, video].clip[None], torch.from_numpy(tokens.ids), torch.from_numpy(tokens.attention)
            )
            matrix[caption, video] = round(float(odds[0]), 4)
    ranks = found.columns[1].ranks[0]
    for way, scores in (("t2v", matrix), ("v2t", matrix.T)):
        own = np.diag(scores)[:, None]
        # To 4 decimals: what a batch's padding changes in the last bits may move a pair over a rounding edge.
        better, above = (scores > own + 2e-4).sum(1), (scores > own - 2e-4).sum(1)
        assert (ranks[way].better >= better).all()
        assert (ranks[way].better + ranks[way].equal <= above).all()


def released(run, path, *, head=True):
    """The weights of a run in the layout of SimVTP's own file of pretraining, and the name that opens it."""
    folder = resolve(run)
    state = load_file(folder / "model.safetensors")
    ours, theirs = load_file(folder / runfiles.EXTRAS), {}
    for name, value in state.items():
        if name == "patch_embed.weight":  # (D,3*t*p*p), and (D,3,t,p,p) there
            theirs["encoder.patch_embed.proj.weight"] = value.view(32, 3, 2, 8, 8)
        elif name == "patch_embed.bias":
            theirs["encoder.patch_embed.proj.bias"] = value
        elif name.startswith("embeddings."):
            theirs[f"text_{name}"] = value
        elif name != "log_temperature":
            theirs[f"encoder.{name}"] = value
    if head:
        theirs |= {f"vtm_head.{kind}": ours[f"match_head.{kind}"] for kind in ("weight", "bias")}
    torch.save({"model": theirs}, path)
    return f"simvtp:{path},text={folder / 'tokenizer'},frames=4,size=32,words=24,heads=2"


def test_a_released_file_has_its_head(simvtp, test_shards, tmp_path):
    name = released(simvtp, tmp_path / "x.pth")
    theirs, ours = build.load_model(name, "cpu", "fp32"), build.load_model(simvtp, "cpu", "fp32")
    assert theirs.embedder.model.pool_includes_pad
    index = ShardIndex.open(test_shards)
    clip = ClipDataset(index, build.clip_shape(theirs.config))[0, 3].clip[None]
    words = [index.captions(i)[0] for i in range(6)]
    odds = []
    for loaded in (theirs, ours):
        tokens = loaded.tokenizer(words)
        odds.append(matcher(loaded).log_odds(clip, torch.from_numpy(tokens.ids), torch.from_numpy(tokens.attention)))
    assert odds[0].std() > 0
    torch.testing.assert_close(odds[0], odds[1], atol=1e-5, rtol=1e-5)
    found = api.evaluate(name, test_shards, vtm=True, vtm_top=4, draws=0, **CPU)
    assert set(found["columns"]) == {"+VTM rerank"}
    bare = released(simvtp, tmp_path / "bare.pth", head=False)
    with pytest.raises(RunError, match=r"bare\.pth has no matching head"):
        api.evaluate(bare, test_shards, vtm=True, draws=0, **CPU)


def test_odds_do_not_depend_on_how_far_captions_are_padded(simvtp, test_shards, tmp_path):
    loaded = build.load_model(released(simvtp, tmp_path / "x.pth"), "cpu", "fp32")
    index, by = ShardIndex.open(test_shards), matcher(loaded)
    clip = ClipDataset(index, build.clip_shape(loaded.config))[0, 0].clip[None]
    ids = torch.from_numpy(loaded.tokenizer(["a red circle"]).ids)
    wide = torch.nn.functional.pad(ids, (0, 8), value=loaded.tokenizer.pad_id)
    narrow, padded = (by.log_odds(clip, one, one != loaded.tokenizer.pad_id) for one in (ids, wide))
    torch.testing.assert_close(narrow, padded, atol=1e-6, rtol=1e-5)


def test_what_has_no_head_is_refused(run, simvtp, test_shards, shards, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="has no matching head, which --vtm reranks with"):
        api.evaluate(run, test_shards, vtm=True, **CPU)
    tuned = tmp_path / "tuned"
    twin = {"model.kind": "twin", "train.epochs": 1.0}
    api.finetune(simvtp, shards, tuned, overrides=twin)
    with pytest.raises(InputError, match="has no matching head"):
        api.evaluate(tuned, test_shards, vtm=True, **CPU)
    with pytest.raises(InputError, match="--vtm-top 0 reranks nothing"):
        api.evaluate(simvtp, test_shards, vtm=True, vtm_top=0, **CPU)
    with pytest.raises(InputError, match="--vtm needs the model"):
        api.evaluate(embeddings=tmp_path, vtm=True)
    loaded = build.load_model(simvtp, "cpu", "fp32")
    monkeypatch.setattr(runfiles, "EXTRAS", "gone.safetensors")
    with pytest.raises(RunError, match=r"gone\.safetensors cannot be read"):
        matcher(loaded)
