"""Nothing let in, of models: weights, checkpoints, what lies beside them, and settings."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest
from door_helpers import CODE, forged, pickled, shell

from vtr import api, build, recipe
from vtr.errors import ConfigError, InputError, RunError, VtrError


@pytest.mark.parametrize("kind", ["pickle", "zip", "legacy"])
def test_pickles_in_a_checkpoint(mark: Path, kind: str, run: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    last = sorted((out / "checkpoints").glob("step-*"))[-1]
    trap = pickled(mark, kind)
    for name in ("state/optimizer.pt", "model.safetensors", "tokenizer/tokenizer.json", "state/trainer.json"):
        forged(last, name, trap)
    with pytest.raises(VtrError):
        build.load_parts(out)
    shutil.rmtree(out)
    out = shutil.copytree(run, out)
    for step in (out / "checkpoints").glob("step-*"):
        forged(step, "state/optimizer.pt", trap)
    with pytest.raises(RunError, match="cannot be gone on from"):
        api.pretrain(recipe.override(recipe.load(str(nano)), {}), shards, out)


@pytest.mark.parametrize("kind", ["pickle", "zip", "legacy"])
@pytest.mark.parametrize("name", ["frozen", "miles", "simvtp"])
def test_pickles_in_place_of_released_weights(mark: Path, kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(pickled(mark, kind))
    with pytest.raises(VtrError):
        build.load_source(f"{name}:{path}")


def test_metadata_of_safetensors(mark: Path, run: Path, tmp_path: Path) -> None:
    """They are text, and nobody reads them."""
    last = sorted((shutil.copytree(run, tmp_path / "run") / "checkpoints").glob("step-*"))[-1]
    data = (last / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = {"format": "pt", "code": f"__import__('os').system('{shell(mark)}')"}
    text = json.dumps(header).encode()
    forged(last, "model.safetensors", struct.pack("<Q", len(text)) + text + data[8 + size :])
    build.load_parts(last)


def test_hashes_that_name_other_files(run: Path, tmp_path: Path) -> None:
    """Neither is a file outside looked at, nor one that never ends."""
    last = sorted((shutil.copytree(run, tmp_path / "run") / "checkpoints").glob("step-*"))[-1]
    whole = json.loads((last / "sha256.json").read_text())
    for name in ("/dev/zero", "../../../secret", "/etc/passwd"):
        (last / "sha256.json").write_text(json.dumps(whole | {name: "0" * 64}))
        with pytest.raises(RunError, match="names a file outside"):
            build.load_parts(last)
    (last / "zero").symlink_to("/dev/zero")
    (last / "sha256.json").write_text(json.dumps(whole | {"zero": "0" * 64}))
    with pytest.raises(RunError, match="is no plain file"):
        build.load_parts(last)


def remote_code(folder: Path, mark: Path, **auto: str) -> None:
    """Code in a model's directory, and its configuration naming it."""
    for name in ("modeling_evil.py", "evil.py"):
        (folder / name).write_text(CODE.format(str(mark)))
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        path = folder / name
        found = json.loads(path.read_text()) if path.is_file() else {}
        found["auto_map"] = dict.fromkeys(
            ("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor"), "modeling_evil.Evil"
        )
        found["auto_map"]["AutoTokenizer"] = ["modeling_evil.Evil", "modeling_evil.Evil"]
        path.write_text(json.dumps({**found, "trust_remote_code": True, **auto}))


@pytest.mark.parametrize("kind", ["known", "unknown"])
def test_code_in_a_text_model(
    mark: Path, kind: str, distilbert: Path, nano: Path, shards: Path, tmp_path: Path
) -> None:
    """Of a type that transformers knows its own code is used; another is refused."""
    folder = shutil.copytree(distilbert, tmp_path / "text")
    remote_code(folder, mark, **({} if kind == "known" else {"model_type": "evil"}))
    config = recipe.override(
        recipe.load(str(nano)), {"model.text": str(folder), "train.steps": 1, "model.vocabulary": 200}
    )
    if kind == "known":
        api.pretrain(config, shards, tmp_path / "run")
        return
    with pytest.raises(VtrError):
        api.pretrain(config, shards, tmp_path / "run")


def test_a_pickle_in_a_text_model(mark: Path, distilbert: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(distilbert, tmp_path / "text")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickled(mark, "zip"))
    config = recipe.override(recipe.load(str(nano)), {"model.text": str(folder), "train.steps": 1})
    with pytest.raises(VtrError, match="could not be loaded"):
        api.pretrain(config, shards, tmp_path / "run")


def test_a_pickle_in_a_timm_model(mark: Path, timm_vit: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(timm_vit, tmp_path / "vit")
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pth", "model.bin"):
        (folder / name).write_bytes(pickled(mark, "zip"))
    config = recipe.override(recipe.load(str(nano)), {"model.video": f"local-dir:{folder}", "train.steps": 1})
    with pytest.raises(VtrError, match="could not be loaded"):
        api.pretrain(config, shards, tmp_path / "run")


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_code_in_an_image_text_model(mark: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTR_LIMITS", "1000")  # a pickle of some bytes is not the weights of its config
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "evil"}))
    remote_code(folder, mark)
    (folder / "pytorch_model.bin").write_bytes(pickled(mark, "zip"))
    with pytest.raises(VtrError, match="could not be loaded"):
        build.load_model(f"{kind}:{folder}", "cpu")
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(VtrError, match="could not be loaded"):
        build.load_model(f"{kind}:{folder}", "cpu")


def test_code_in_an_export_of_ours(mark: Path, run: Path, tmp_path: Path) -> None:
    """As transformers' classes load it, and ours."""
    from transformers import AutoModel, AutoProcessor

    from vtr import hub

    api.export(run, tmp_path / "hf")
    remote_code(tmp_path / "hf", mark)
    hub.register()
    AutoModel.from_pretrained(tmp_path / "hf")
    try:
        AutoProcessor.from_pretrained(tmp_path / "hf")
    except (ValueError, OSError, TypeError, VtrError) as error:
        assert "trust_remote_code" in str(error) or isinstance(error, VtrError), error
    (tmp_path / "hf" / "model.safetensors").unlink()
    (tmp_path / "hf" / "pytorch_model.bin").write_bytes(pickled(mark, "zip"))
    with pytest.raises(RunError, match="cannot be loaded"):
        AutoModel.from_pretrained(tmp_path / "hf")


def test_modules_of_a_sentence_transformer(mark: Path, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from vtr import hub

    api.export(run, tmp_path / "st", to="sentence-transformers")
    (tmp_path / "st" / "evil.py").write_text(CODE.format(str(mark)))
    modules = [{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]
    (tmp_path / "st" / "modules.json").write_text(json.dumps(modules))
    hub.sentence_transformer(tmp_path / "st")


@pytest.mark.parametrize("kind", ["code beside it", "code on the path", "no name", "no list"])
def test_modules_of_a_model_of_sentence_transformers(
    mark: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused by us, before the library is asked: those before 6.0 import what a directory names."""
    pytest.importorskip("sentence_transformers")
    folder = tmp_path / "st"
    folder.mkdir()
    (folder / "evil.py").write_text(CODE.format(str(mark)))
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Evil"}}))
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "planted.py").write_text(CODE.format(str(mark)))
    monkeypatch.syspath_prepend(tmp_path / "path")
    sound = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    bad = {"code beside it": "evil.Evil", "code on the path": "planted.Evil", "no name": None, "no list": 5}[kind]
    (folder / "modules.json").write_text(json.dumps(5 if bad == 5 else [sound, {**sound, "type": bad}]))
    with pytest.raises(RunError, match=r"wants code that is no part of sentence-transformers|modules\.json is damaged"):
        build.load_model(f"st:{folder}", "cpu")


def test_code_in_a_recipe(mark: Path, shards: Path, nano: Path, tmp_path: Path) -> None:
    command = shell(mark)
    path = tmp_path / "r.toml"
    for value in (
        f"!!python/object/apply:os.system ['{command}']",
        f"__import__('os').system('{command}')",
        f"$({command})",
    ):
        path.write_text(f"[train]\ntracker = {json.dumps(value)}\n")
        with pytest.raises(InputError):
            api.pretrain(str(path), shards, tmp_path / "run")
        with pytest.raises(InputError):
            recipe.override(recipe.load(str(nano)), recipe.parse_sets([f"train.steps={value}"]))
        with pytest.raises(InputError):
            recipe.load(value)


def test_code_beside_a_model_of_open_clip(mark: Path, shards: Path, tmp_path: Path) -> None:
    """Its config may name arguments of its tokenizer, and one of them runs what lies there."""
    pytest.importorskip("open_clip", reason="an extra: pip install '.[open-clip]'")
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 16, "vocab_size": 300, "width": 32, "heads": 2, "layers": 1}
    save_file(CLIP(32, dict(vision), dict(text)).state_dict(), tmp_path / "open_clip_model.safetensors")
    text |= {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
    pixels = {"mean": [0.5] * 3, "std": [0.5] * 3}
    told = {"model_cfg": {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": pixels}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(told))
    auto = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["tok.Evil", "tok.Evil"]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(auto))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "tok.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
        "from transformers import BertTokenizer\nclass Evil(BertTokenizer): pass\n"
    )
    for kind in ("open_clip", "timm"):
        with pytest.raises(ConfigError, match=r"asks in its open_clip_config\.json for tokenizer_kwargs .*trust"):
            api.evaluate(f"{kind}:{tmp_path},frames=2", shards)


ST = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}


BERT = "sentence_bert_config.json"


@pytest.mark.parametrize(
    ("name", "told", "words"),
    [
        (BERT, {"model_args": {"attn_implementation": "a/b"}}, "asks in its config for attn_implementation"),
        (BERT, {"config_args": {"hidden_size": 1 << 20}}, "asks in its config_args for .*hidden_size"),
        (BERT, {"model_kwargs": {"subfolder": "../x"}}, "asks in its model_kwargs for .*subfolder"),
        ("2_Dense/config.json", {"in_features": 10**6, "out_features": 10**6}, "of a module of 1000000000000 numbers"),
        ("2_L/lstm_config.json", {"hidden_dim": 10**5, "in": 10**5}, "is of a module of 10000000000 numbers"),
        ("adapter_config.json", {"base_model_name_or_path": "/etc"}, "is for a model in another folder"),
        ("modules.json", [{**ST, "path": "../elsewhere"}], "has a module outside of its folder"),
    ],
)
def test_what_modules_of_sentence_transformers_ask_for(name: str, told: object, words: str, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from vtr.imagetext.modules import check_modules

    (tmp_path / "modules.json").write_text(json.dumps([ST]))
    check_modules(tmp_path, "st:DIR")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(json.dumps(told))
    with pytest.raises((RunError, ConfigError), match=words):
        build.load_model(f"st:{tmp_path}", "cpu")


@pytest.mark.parametrize("key", ["hf_model_name", "hf_tokenizer_name"])
@pytest.mark.parametrize("place", ["/etc", "./x", "~/x", "HERE"])
def test_a_model_of_open_clip_with_parts_elsewhere(key: str, place: str, tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    place = str(tmp_path) if place == "HERE" else place
    told = {"model_cfg": {"text_cfg": {key: place}}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=f"takes its {key} from a folder"):
        build.load_model(f"open_clip:{tmp_path}", "cpu")
