"""What a training step takes of memory, counted before anything is trained: on two clips and one layer of each tower.

Every layer of a tower keeps as much as its first, so the whole follows from models of one layer, which take a second or
two where the whole would take long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vtr import build, compute, makers, recipe
from vtr.config import Config
from vtr.data.shares import LEAST, fewest_pieces
from vtr.gather import alone
from vtr.models.recompute import recompute_activations
from vtr.models.sketch import Sketch
from vtr.models.tune import freeze
from vtr.types import Batch

# A weight that is trained has a gradient and two moments of AdamW beside it, all in float32.
TRAINED, RESTING = 16, 4
COPIED = 2  # in half precision the pass keeps a copy
USABLE = 0.85  # of what is free: the rest is for fragments and the system
BERT = 30522  # word pieces of BERT and DistilBERT
WORDS = 1000  # of noise: a text tower with so few costs less memory, and next to no time less
CLIPS = 2


@dataclass(frozen=True)
class Footprint:
    """Bytes: `fixed` whatever the batch, `a_sample` what a step keeps of each clip for its backward pass.

    `parameters`: how many numbers the objective has, its model's among them.
    """

    fixed: int
    a_sample: int
    parameters: int

    def at_once(self, memory: int, spread: int = 1) -> int:
        """How many clips go at once into so many bytes that are free; `spread`: processes that share one model."""
        return max(0, int(USABLE * memory - self.fixed // spread) // self.a_sample)

    def advice(
        self, config: Config, clips: int, memory: int, spread: int = 1, processes: int = 1, *, shared: bool = False
    ) -> str:
        """What to do where the `clips` of a process's step do not go into `memory` at once; what it says, can be done.

        `clips` are what a step really has, after they are limited by the samples that there are; `shared`: `memory` is
        a process's part of one that all `processes` have.
        """
        train, most, least = config.train, self.at_once(memory, spread), LEAST[config.train.accumulate_how]
        sparing = [] if train.checkpointing else ["--set train.checkpointing=true"]
        if most < min(clips, least):
            if shared and (fewer := self._fewer(config, clips * processes, memory * processes, processes)):
                return f"give {fewer}, or take a smaller model"
            first = f"{sparing[0]}, " if sparing and USABLE * memory > self.fixed // spread else ""
            return f"take {first}a smaller model, or more memory: not {('', 'one clip fits', 'two clips fit')[least]}"
        pieces, wished = fewest_pieces(clips, most, train.accumulate_how), -(-clips // most)
        ways = [f"--accumulate {pieces}"] if pieces else []
        if pieces is None or pieces > 2 * wished:  # 61 clips divide into nothing but single ones
            size = max(least, clips // wished)
            ways.append(f"--batch-size {clips // size * size * processes} with --accumulate {clips // size}")
        return f"give {', or '.join(ways + sparing)}"

    def _fewer(self, config: Config, batch: int, memory: int, processes: int) -> str:
        """The most processes below `processes` that one memory has room for, as what to give; "" where it has none."""
        train = config.train
        for some in (some for some in range(processes - 1, 0, -1) if batch % some == 0):
            clips, most = batch // some, self.at_once(memory // some)
            pieces = fewest_pieces(clips, most, train.accumulate_how) if most else None
            if pieces:
                enough = clips % train.accumulate == 0 and clips // train.accumulate <= most
                return f"--num-processes {some}{'' if enough else f' with --accumulate {pieces}'}"
        return ""


def footprint(config: Config, where: torch.device, precision: str) -> Footprint:
    """The footprint of a training of `config` on `where`; its pretrained parts are taken by their shapes alone."""
    vocabulary = BERT if config.model.text else max(WORDS, config.model.vocabulary)
    config = recipe.override(config, {"model.video": "", "model.text": "", "objective.snapshot_wait": False})
    depths = {"model.depth": 1}
    if config.model.kind == "dual":
        depths["model.text_depth"] = 1
    if config.objective.name == "simvtp":
        depths["objective.decoder_depth"] = 1
    with torch.random.fork_rng(devices=[]):
        with torch.device("meta"), _Unfilled():
            whole = _objective(config, vocabulary)
        freeze(whole.model, config.optim.freeze)
        shallow = _objective(recipe.override(config, depths), vocabulary).to(where)
        if config.train.checkpointing:
            recompute_activations(shallow)
        depths_of = {name: len(layers) for name, layers in _towers(whole)}
        autocast = torch.autocast(where.type, compute.DTYPES[precision], enabled=precision != "fp32")
        with autocast, alone():  # one process may ask, while the others wait for it elsewhere
            kept = _kept(shallow, noise(config, CLIPS, where), depths_of)
    weights = sum((TRAINED if one.requires_grad else RESTING) * one.numel() for one in whole.parameters())
    beside = (RESTING if config.train.ema else 0) + (COPIED if precision != "fp32" else 0)
    numbers = sum(one.numel() for one in whole.parameters())
    pixels = 3 * config.data.frames * config.data.size**2  # a clip is bytes
    return Footprint(weights + beside * numbers, kept // CLIPS + pixels, numbers)


class _Unfilled(TorchFunctionMode):
    """Gives weights no values, which they have not on the meta device: torch would load its compiler, for seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, given = func.__name__, kwargs or {}
        if name.endswith("_") and not name.endswith("__") and name != "requires_grad_":  # in place, as `normal_` is
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def _objective(config: Config, vocabulary: int) -> Any:
    words: Any = SimpleNamespace(vocabulary=vocabulary, pad_id=0, mask_id=3)  # all that is asked of a tokenizer
    model = config.model
    text = Sketch(vocabulary, model.text_width, model.text_depth, model.text_heads, config.data.words)
    return makers.make_objective(config, build.make_model(config, words, text_config=text).train(), words)


def _towers(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]


def _kept(objective: nn.Module, batch: Batch, depths: dict[str, int]) -> int:
    """Bytes that a forward pass keeps; what is kept in the one layer of a tower counts as often as `depths` says."""
    inside: dict[str, int] = {}
    with keeping() as sizes:

        def count(name: str, sign: int) -> Callable[..., None]:
            def add(*_: Any) -> None:
                inside[name] = inside.get(name, 0) + sign * sum(sizes.values())

            return add

        for name, layers in _towers(objective):
            for layer in layers:
                layer.register_forward_pre_hook(count(name, -1))
                layer.register_forward_hook(count(name, 1))
        terms = objective(batch, 0)  # held: what is let go of would give its place, and its number, to others
    del terms
    return sum(sizes.values()) + sum((depths[name] - 1) * bytes_ for name, bytes_ in inside.items())


@contextmanager
def keeping() -> Iterator[dict[int, int]]:
    """Fills, while it lasts, {place: bytes} with what is kept for a backward pass beside weights."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not _of_weights(tensor if tensor._base is None else tensor._base):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield sizes


def _of_weights(tensor: Tensor) -> bool:
    """Whether it is a weight, or a copy of one in another precision."""
    if tensor.grad_fn is None:
        return isinstance(tensor, nn.Parameter)
    return all(type(source).__name__ == "AccumulateGrad" for source, _ in tensor.grad_fn.next_functions)


def noise(config: Config, batch_size: int, where: torch.device) -> Batch:
    """A batch of random pixels and full captions."""
    data = config.data
    clips = torch.randint(0, 256, (batch_size, data.frames, 3, data.size, data.size), dtype=torch.uint8)
    ids = torch.randint(5, WORDS, (batch_size, data.words))
    there = torch.ones_like(ids, dtype=torch.bool)
    batch = Batch(clips, ids, there, there, torch.arange(batch_size), torch.ones(batch_size, dtype=torch.bool))
    return batch.to(where)
