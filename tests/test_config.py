"""Settings are checked when they are made, and say what is wrong."""

from __future__ import annotations

import pytest

from vtr.config import (
    HEEDED,
    OBJECTIVES,
    OWN,
    Config,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimConfig,
    TrainConfig,
)
from vtr.errors import ConfigError

WRONG = [
    (DataConfig, {"frames": 0}, r"data\.frames = 0, it must be at least 1"),
    (DataConfig, {"words": 2}, r"data\.words = 2, it must be at least 3"),
    (DataConfig, {"workers": -1}, r"data\.workers = -1, it must be at least 0"),
    (DataConfig, {"cache_gb": -0.5}, r"data\.cache_gb = -0\.5, it must be at least 0"),
    (DataConfig, {"decoder": "ffmpeg"}, r"data\.decoder = 'ffmpeg' is unknown\n.*choose one of: auto, pyav"),
    (DataConfig, {"crop_min": 0.0}, r"data\.crop_min = 0\.0, it must be above 0"),
    (DataConfig, {"size": 64, "resize": 60}, r"data\.resize = 60 is below data\.size = 64"),
    (ModelConfig, {"depth": 0}, r"model\.depth = 0, it must be at least 1"),
    (ModelConfig, {"vocabulary": 31}, r"model\.vocabulary = 31, it must be at least 32"),
    (ModelConfig, {"attention": "full"}, r"model\.attention = 'full' is unknown\n.*divided, joint"),
    (ModelConfig, {"pool": "max"}, r"model\.pool = 'max' is unknown"),
    (ModelConfig, {"temperature": 0.0}, r"model\.temperature = 0\.0, it must be above 0"),
    (ModelConfig, {"width": 100}, r"model\.width = 100 does not divide into model\.heads = 12"),
    (ModelConfig, {"text_width": 100}, r"model\.text_width = 100 does not divide into model\.text_heads"),
    (ModelConfig, {"width": 6, "heads": 2, "positions": "sincos"}, r"model\.width = 6 does not divide by 4"),
    (ObjectiveConfig, {"name": "clip"}, r"objective\.name = 'clip' is unknown\n.*mac, simvtp, miles, contrastive"),
    (ObjectiveConfig, {"mask_ratio": 1.0}, r"objective\.mask_ratio = 1\.0, it must be at least 0 and below 1"),
    (ObjectiveConfig, {"word_ratio": -0.1}, r"objective\.word_ratio = -0\.1"),
    (ModelConfig, {"kind": "joint"}, r"model\.kind = 'joint' is unknown\n.*dual, unified, twin"),
    (ModelConfig, {"kind": "twin"}, r"embed_dim = 256, a twin encoder's vectors have model\.width = 768\n.*embed_dim"),
    (ModelConfig, {"drop_path": 1.0}, r"model\.drop_path = 1\.0"),
    (ObjectiveConfig, {"mask": "rows"}, r"objective\.mask = 'rows' is unknown\n.*per_frame, tube, block"),
    (ObjectiveConfig, {"predict_head": "big"}, r"objective\.predict_head = 'big' is unknown\n.*none, linear, mlp"),
    (ObjectiveConfig, {"decoder_heads": 5}, r"decoder_width = 384 does not divide into objective\.decoder_heads = 5"),
    (ObjectiveConfig, {"pixel_floor": 0.0}, r"objective\.pixel_floor = 0\.0, it must be at least 1e-06"),
    (ObjectiveConfig, {"predict_weight": -1.0}, r"objective\.predict_weight = -1\.0, it must be at least 0"),
    (OptimConfig, {"lr": 0.0}, r"optim\.lr = 0\.0, it must be above 0"),
    (OptimConfig, {"lr": float("nan")}, r"optim\.lr = nan"),
    (OptimConfig, {"beta2": 1.0}, r"optim\.beta2 = 1\.0"),
    (OptimConfig, {"clip": -1.0}, r"optim\.clip = -1\.0"),
    (TrainConfig, {"epochs": -1.0}, r"train\.epochs = -1\.0, it must be above 0"),
    (TrainConfig, {"steps": -1}, r"train\.steps = -1, it must be at least 0"),
    (TrainConfig, {"batch_size": 1}, r"train\.batch_size = 1, it must be at least 2"),
    (TrainConfig, {"precision": "fp64"}, r"train\.precision = 'fp64' is unknown\n.*auto, fp32, bf16, fp16"),
    (TrainConfig, {"seed": -1}, r"train\.seed = -1, it must be at least 0 and below 2\^32"),
    (TrainConfig, {"seed": 2**32}, r"train\.seed = 4294967296"),
    (TrainConfig, {"keep": 0}, r"train\.keep = 0, it must be at least 1"),
]


@pytest.mark.parametrize(("section", "values", "words"), WRONG, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_a_wrong_setting_is_named(section: type, values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        section(**values)


def test_what_is_heeded_is_said_of_each_objective() -> None:
    """One that is not among them would have all of its settings refused, as if it looked at none."""
    assert HEEDED.keys() == set(OBJECTIVES) - {OWN}


def test_clips_divide_into_patches() -> None:
    with pytest.raises(
        ConfigError, match="clips of 4 frames of 72 pixels do not divide into patches of 1 frames of 16"
    ):
        Config(data=DataConfig(size=72))
    with pytest.raises(ConfigError, match="clips of 3 frames"):
        Config(data=DataConfig(frames=3), model=ModelConfig(tubelet=2))


def test_a_rank_beyond_reason() -> None:
    with pytest.raises(ConfigError, match=r"model\.lora_rank = 4611686018427387904, it must be at most 65536"):
        ModelConfig(lora_rank=2**62)


@pytest.mark.parametrize("name", ["mac", "miles", "simvtp"])
def test_an_objective_has_its_encoder(name: str) -> None:
    other = ModelConfig() if name == "simvtp" else ModelConfig(kind="unified", embed_dim=768)
    with pytest.raises(ConfigError, match=rf"objective\.name = '{name}' trains no {other.kind} encoder\n.*{name}-tiny"):
        Config(model=other, objective=ObjectiveConfig(name=name))
    Config(model=other, objective=ObjectiveConfig(name="contrastive"))


def test_simvtp_has_no_tail_without_masks() -> None:
    model = ModelConfig(kind="unified", embed_dim=768)
    with pytest.raises(ConfigError, match=r"train\.unmasked_tail = 0\.1: without masks SimVTP has nothing to restore"):
        Config(model=model, objective=ObjectiveConfig(name="simvtp"), train=TrainConfig(unmasked_tail=0.1))


def test_steps_make_epochs_needless() -> None:
    assert TrainConfig(steps=3, epochs=0.0).steps == 3
