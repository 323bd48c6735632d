"""The files that make a folder a run, and those that only its training needs: written, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vtr import checkpoint, recipe
from vtr.config import Config
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import RunError, VtrError
from vtr.models.dual import DualEncoder
from vtr.models.embedder import Model
from vtr.models.weights import matching

if TYPE_CHECKING:
    from torch import Tensor, nn

TOKENIZER = "tokenizer"
TEXT = "text"  # the configuration of a text model that is not our own
TRAINED = "trained.safetensors"  # the weights as they train on, where a checkpoint offers their average
EXTRAS = "objective.safetensors"  # what training alone needs: decoders, heads, a snapshot


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
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        matching(module, others | load_file(path), str(path))
    except (OSError, SafetensorError, VtrError) as error:
        why = error.message if isinstance(error, VtrError) else str(error)
        raise RunError(f"{path.parent} cannot be gone on from: {why}", "start over with --fresh") from error
