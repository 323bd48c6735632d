"""How good a model is: its figures, whether another's are better, and pictures of what it sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr.errors import InputError

if TYPE_CHECKING:
    from vtr.build import Loaded
    from vtr.evaluation import Result


def evaluate(
    run: Path | str | Loaded | None = None,
    shards: Path | str | Sequence[Path | str] = (),
    *,
    embeddings: Path | str | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = 32,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    command: str | None = None,
    together: bool = False,
    **asked: Any,
) -> Result:
    """R@1, R@5, R@10 (percent), MdR and MnR of text-to-video ("t2v") and video-to-text ("v2t"), and how sure they are.

    Of a run or another model (see `vtr.build.load_model`) on all of `shards`, or of `embeddings` alone. `asked` goes
    to `vtr.evaluation.Asked`: the protocol, tricks, the probe. The result is the record of `vtr.retrieval.result`;
    `result.write(FILE)` keeps it with the rank of every query. `together`: called by all processes of a training,
    which share the work.
    """
    from vtr import evaluation
    from vtr.build import load_model

    how = evaluation.Asked(**asked)
    several = [Path(at) for at in ([shards] if isinstance(shards, (str, Path)) else shards)]
    if (run is None) == (embeddings is None):
        raise InputError("nothing, or two things, to evaluate", "give a run and --shards, or --embeddings DIR")
    if embeddings is not None:
        if len(several) > 1:
            raise InputError("embeddings are of one set, several shard directories were given", "give --shards once")
        at = several[0] if several else None
        return evaluation.of_embeddings(Path(embeddings), how, shards=at, command=command)
    loaded = load_model(run, device, precision) if isinstance(run, (str, Path)) else run
    assert loaded is not None  # noqa: S101
    return evaluation.of_model(
        loaded, several, how, batch=batch_size, workers=workers, progress=progress, command=command, together=together
    )


def compare(a: Path | str, b: Path | str, *, column: str = "raw", seed: int = 0) -> dict[str, Any]:
    """A paired test of two result files over the same queries; see `vtr.retrieval.compare`."""
    from vtr.retrieval import result
    from vtr.retrieval.compare import compare as compared

    return compared(result.read(Path(a)), result.read(Path(b)), column=column, seed=seed)


def reconstruct(
    run: Path | str, out: Path | str, *, shards: Path | str | None = None, clips: int = 3
) -> dict[str, Any]:
    """Draws what `run` restores of a few masked clips (SimVTP), or what its words look at (MAC, MILES), into a PNG."""
    from vtr import inspection

    return inspection.reconstruct(Path(run), Path(out), Path(shards) if shards else None, clips)
