"""The files that make a folder a run, and those that only its training needs: written, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from vtr import checkpoint, recipe
from vtr.config import Config
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import ConfigError, RunError
from vtr.models.dual import DualEncoder
from vtr.models.embedder import Model
from vtr.models.snapshot import Snapshot
from vtr.models.weights import matching

if TYPE_CHECKING:
    from torch import nn

TOKENIZER = "tokenizer"
TEXT = "text"  # the configuration of a text model that is not our own
TRAINED = "trained.safetensors"  # the weights as they train on, where a checkpoint offers their average
EXTRAS = "objective.safetensors"  # what training alone needs: decoders, heads, a snapshot
AFRESH = "start over with --fresh"


def write_run(folder: Path, config: Config, model: Model, tokenizer: CaptionTokenizer) -> None:
    """Writes what makes a folder a run: config.toml, model.safetensors, tokenizer/, of a pretrained text text/."""
    (folder / checkpoint.CONFIG).write_text(recipe.to_toml(config), "utf-8")
    _write(folder / checkpoint.WEIGHTS, model.state_dict())
    tokenizer.save(folder / TOKENIZER)
    if config.model.text and isinstance(model, DualEncoder):
        # Its architecture, so that the run needs neither the hub nor the directory it came from.
        model.text.model.config.save_pretrained(folder / TEXT)


def extras(objective: nn.Module) -> dict[str, Tensor]:
    """What an objective has beside its model, by name."""
    return {name: value for name, value in objective.state_dict().items() if not name.startswith("model.")}


def write_extras(folder: Path, objective: nn.Module) -> None:
    """Writes what training alone needs, where the objective has such parts."""
    state = extras(objective)
    if state:
        _write(folder / EXTRAS, state)


def read_extras(folder: Path, objective: nn.Module) -> None:
    """What `write_extras` wrote, back into an objective of the same config. Raises RunError when it does not fit."""
    if extras(objective):
        whole = {name: value for name, value in objective.state_dict().items() if name.startswith("model.")}
        _read(folder / EXTRAS, objective, whole)


def carry_extras(folder: Path, objective: nn.Module) -> None:
    """What `write_extras` wrote of one stage, into the next one's objective: all that has its name and shape there.

    A snapshot is left out: it begins as a copy of the model that the stage begins with. Raises RunError for a damaged
    file.
    """
    if not (folder / EXTRAS).is_file():
        return
    copies = tuple(f"{name}." for name, part in objective.named_modules() if isinstance(part, Snapshot))
    own = {name: value for name, value in extras(objective).items() if isinstance(value, Tensor)}
    same = {
        name: value
        for name, value in _held(folder / EXTRAS).items()
        # An extra state is no weight: whether a stage waits before it predicts is its setting.
        if name in own and own[name].shape == value.shape and not name.startswith(copies)
        if not name.endswith("_extra_state")
    }
    objective.load_state_dict(same, strict=False)


def write_trained(folder: Path, model: Model) -> None:
    """Writes the weights that training goes on from, beside their average, which is the run's model."""
    _write(folder / TRAINED, model.state_dict())


def read_trained(folder: Path, model: Model) -> None:
    """What `write_trained` wrote, back into the model. Raises RunError when it does not fit."""
    _read(folder / TRAINED, model, {})


def _write(path: Path, state: dict[str, Tensor]) -> None:
    from safetensors.torch import save

    data = save({name: value.detach().contiguous().cpu() for name, value in state.items()}, metadata={"format": "pt"})
    path.write_bytes(data)  # by Python, not by the library: a full disk is then an OSError that names itself


def _read(path: Path, module: nn.Module, others: dict[str, Tensor]) -> None:
    """Fills `module` with what `path` and `others` hold."""
    try:
        matching(module, others | _held(path), str(path))
    except ConfigError as error:
        raise RunError(f"{path.parent} cannot be gone on from: {error.message}", AFRESH) from error


def _held(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path.parent} cannot be gone on from: {error}", AFRESH) from error
