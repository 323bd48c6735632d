"""What the openers of other libraries' models are given and give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vtr.config import Config, DataConfig, ModelConfig
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import OWN_VECTORS, ConfigError
from vtr.models.framewise import FramewiseModel
from vtr.models.sentence import SentenceModel

FRAMES = 8


@dataclass(frozen=True)
class Named:
    """`whole` is `kind:source` with its options; `frames` and `size` are 0 where the model has to say."""

    whole: str
    kind: str
    source: str
    frames: int
    weights: str = ""
    size: int = 0


@dataclass(frozen=True)
class ImageText:
    """An opened model: `name` opens it again from any directory."""

    name: str
    config: Config
    model: FramewiseModel | SentenceModel
    tokenizer: CaptionTokenizer


def missing_directory(source: str) -> bool:
    """Whether `source` is a directory by its form, or since its first folder is there, and is itself not there.

    Else what is misspelt would be sought on the model hub, where a name is NAME or ORG/NAME.
    """
    if Path(source).is_dir():
        return False
    first, *rest = Path(source).parts
    return source.startswith((".", "/")) or len(rest) > 1 or (bool(rest) and Path(first).is_dir())


def config_for(named: Named, size: int, resize: int, fit: str, words: int, patch: int, *, fixed: bool) -> Config:
    """The settings of a clip and a caption, as a run has them. Raises ConfigError: a crop beyond the frame."""
    if resize < size:
        raise ConfigError(
            f"{named.whole} pads frames of {resize} pixels to {size}, which is not done here", OWN_VECTORS
        )
    return Config(
        data=DataConfig(frames=named.frames, size=size, resize=resize, fit=fit, words=words, fixed_length=fixed),
        model=ModelConfig(patch=patch if size % patch == 0 else 1),
    )
