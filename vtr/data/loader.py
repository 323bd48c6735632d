"""Items to batches: workers decode ahead, under a watch, and captions are tokenized.

Letters: B batch, T frames. A batch is the same whoever makes it: see `vtr.data.dataset`.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from vtr import bounds
from vtr.data.child import TO_ALL, obey_parent, signals_held
from vtr.data.crew import Beat
from vtr.data.dataset import ClipDataset, ClipShape, Item
from vtr.data.memory import bound_memory, check_shared, keep_memory
from vtr.data.parcels import Packing, Parcel, Ring
from vtr.data.reading import Reading
from vtr.data.tokenizer import CaptionTokenizer
from vtr.data.watch import Watch, quiet_children
from vtr.errors import VtrError, WorkError
from vtr.types import Batch

__all__ = ["AHEAD", "ClipDataset", "ClipShape", "Errors", "Item", "batches", "workers_watched"]

# (key, kind, message) of each sample of a batch that could not be read.
Errors: TypeAlias = list[tuple[str, ...]]  # key, kind, message; of a mixture also the shards it is of
Slot: TypeAlias = tuple[int, int]
TIME_LIMIT_S = 60.0
LOCKS = 12  # torch's loader makes fewer, for itself and for each worker
AHEAD = 3  # batches that each worker has ready or under way


class Batches(Dataset[Any]):
    """Addresses (epoch, sample) of a batch -> its parcel: clips stacked, captions tokenized; or an error of ours.

    Errors come as values: raised in a worker, torch would bury them in a traceback.
    """

    def __init__(self, dataset: ClipDataset, tokenizer: CaptionTokenizer, ring: Ring | None = None) -> None:
        self.dataset, self.tokenizer, self.ring = dataset, tokenizer, ring

    def __getitems__(self, addresses: list[Slot]) -> Parcel | VtrError:
        """What torch's loader calls with a batch of a batch sampler."""
        packing = Packing(len(addresses), self.ring)
        try:
            # All draws first: a clip fills the cache, and between clips their code would come from memory each time.
            draws = [self.dataset.draw(address) for address in addresses]
            items = []
            for row, draw in enumerate(draws):
                item = self.dataset.read(draw)
                packing.put(row, item.clip)
                items.append(item.without_clip())
        except VtrError as error:
            packing.drop()
            return error
        return self._sealed(packing, items)

    def _sealed(self, packing: Packing, items: list[Item]) -> Parcel:
        tokens = self.tokenizer([item.caption for item in items])
        small = {
            "ids": torch.from_numpy(tokens.ids),
            "attention": torch.from_numpy(tokens.attention),
            "maskable": torch.from_numpy(tokens.maskable),
            "samples": torch.tensor([item.sample for item in items]),
            "ok": torch.tensor([item.error is None for item in items]),
        }
        reading = Reading()
        for item in items:
            if item.error is None:
                reading.count(item.path, item.seconds)
        errors = [(item.key, *item.error) for item in items if item.error is not None]
        return packing.seal(small, tuple(item.key for item in items), errors, reading)


def batches(
    dataset: ClipDataset,
    slots: Iterable[list[Slot]],
    tokenizer: CaptionTokenizer,
    workers: int,
    pin: bool = False,
    time_limit_s: float | None = None,
    reading: Reading | None = None,
) -> Generator[tuple[Batch, Errors]]:
    """(Batch, errors) of each of `slots`, lists of (epoch, sample); workers decode ahead, one thread each.

    A sample whose decoding takes a worker longer than `time_limit_s`, or crashes it, becomes an error of the batch, and
    the workers start anew from that batch on; with no `workers` it is decoded here, without a limit. `reading` counts
    what was decoded. Raises what reading a sample raises beside VideoError; use it inside `workers_watched`.
    """
    source, pending = iter(slots), deque[list[Slot]]()
    limit_s = bounds.at_most(TIME_LIMIT_S) if time_limit_s is None else time_limit_s
    again = True
    while again:
        again = False
        watch = Watch(workers, limit_s)
        rows, processes = _start(dataset, _replay(pending, source), tokenizer, workers, pin, watch)
        with watch.over(processes):
            try:
                for found in rows:
                    pending.popleft()
                    if isinstance(found, VtrError):
                        raise found
                    batch, errors, counts = found.open()
                    del found  # the clips are then held by who gets them alone
                    if reading is not None:
                        reading.add(counts)
                    yield batch, errors
                    del batch
            except RuntimeError as error:
                lost = watch.lost(processes) if "DataLoader worker" in str(error) else {}
                if not lost:
                    raise
                for sample, kind in lost.items():
                    dataset.lost[sample] = _loss(dataset, sample, kind, limit_s)
                again = True


def _start(
    dataset: ClipDataset,
    slots: Iterator[list[Slot]],
    tokenizer: CaptionTokenizer,
    workers: int,
    pin: bool,
    watch: Watch,
) -> tuple[Iterator[Any], list[Any]]:
    """The loader's rows, and its processes."""
    # The cache is anonymous memory, which only forked children share; so is the ring.
    context = multiprocessing.get_context("fork" if dataset.cache is not None else None) if workers else None
    if context is not None:
        check_shared(context, LOCKS * (1 + workers))
    first = next(slots, None)
    ring = None
    if context is not None and first is not None and context.get_start_method() == "fork":
        shape = dataset.shape
        ring = Ring(workers, len(first) * shape.frames * 3 * shape.size**2)
    if first is not None:
        slots = chain([first], slots)
    with warnings.catch_warnings(), quiet_children(), signals_held():
        # As many as were asked for, be it more than there are processors: reading waits on disks too.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader = DataLoader(
            Batches(dataset, tokenizer, ring),
            batch_sampler=slots,
            collate_fn=_as_it_is,
            num_workers=workers,
            pin_memory=pin,
            multiprocessing_context=context,
            worker_init_fn=partial(_settle, watch.memory),
            prefetch_factor=AHEAD if workers else None,
        )
        rows = iter(loader)
    processes = list(getattr(rows, "_workers", []))
    for process in processes:
        # How torch, or Python at its exit, ends one that does not end by itself: SIGTERM they do not hear.
        process.terminate = process._popen.terminate = process.kill
    return rows, processes


def _replay(pending: deque[list[Slot]], source: Iterator[list[Slot]]) -> Iterator[list[Slot]]:
    """What is `pending` (handed out, but not come back), then `source`, all of which is noted in `pending`."""
    yield from list(pending)
    for slots in source:
        pending.append(slots)
        yield slots


def _loss(dataset: ClipDataset, sample: int, kind: str, time_limit_s: float) -> tuple[str, str]:
    key = dataset.index.key(sample)
    if kind == "timeout":
        return "timeout", f"{key} in {dataset.index.where} was not decoded within {time_limit_s:g} s"
    return "corrupt", f"{key} in {dataset.index.where} crashes its decoder"


@contextmanager
def workers_watched() -> Iterator[None]:
    """Around the use of `batches`: a worker that dies, of which torch tells by a signal, becomes a WorkError."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkError(
            f"a decoding process ended: {str(error).splitlines()[0]}",
            "run the same command again; if memory ran out, use fewer --workers or less data.cache_gb",
        ) from error


def _as_it_is(parcel: Any) -> Any:
    return parcel


def _settle(memory: list[Any], worker: int) -> None:
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads for a few captions cost more than they save
    info: Any = get_worker_info()
    if info is not None:  # its dataset is this process's own
        info.dataset.dataset.beat = Beat(memory[worker])
    # Until it ended it would hold the lock of the run, which a fork inherits. A signal to all is for the parent, which
    # finishes its step and needs this process for it.
    obey_parent(TO_ALL)
    keep_memory()
    bound_memory()
