"""What `vtr export` wrote, evaluated like the run that it is of; other tools' directories are refused by a way out."""

from __future__ import annotations

import json
import shutil

import pytest

from vtr import api, build
from vtr.errors import RunError

CPU = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module", params=["sentence-transformers", "hf"])
def exported(request, run, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / request.param
    api.export(run, out, to=request.param)
    return {"sentence-transformers": "st", "hf": "hf"}[request.param], out


def test_an_export_is_evaluated_like_its_run(exported, run, test_shards):
    kind, folder = exported
    found = api.evaluate(f"{kind}:{folder}", test_shards, draws=0, **CPU)
    ours = api.evaluate(run, test_shards, draws=0, **CPU)
    for name in ("t2v", "v2t", "split_sha256", "preprocessing", "frames", "words"):
        assert found[name] == ours[name], name
    assert found["model"] == f"{kind}:{folder}"
    assert api.evaluate(found["model"], test_shards, draws=0, **CPU)["weights_sha256"] == found["weights_sha256"]
    assert build.is_here(found["model"])


def test_others_are_refused_by_a_way_out(exported, run, tmp_path):
    kind, folder = exported
    for name, message in (
        (f"{kind}:{tmp_path / 'nowhere'}", "there is no directory"),
        (f"{kind}:{run}", "was not written by vtr export"),
        ("blip:anything", "models of that kind are not known"),
    ):
        with pytest.raises(RunError, match=message) as told:
            build.load_model(name)
        assert "vtr eval --embeddings DIR" in told.value.hint
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(RunError, match="was not written by vtr export"):
        build.load_model(f"{kind}:{tmp_path}")
    shutil.copytree(folder, tmp_path / "torn")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(RunError, match=r"cannot be loaded"):
        build.load_model(f"{kind}:{tmp_path / 'torn'}")
