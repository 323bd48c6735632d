"""Whether a shard directory is there as its index has it, and what to say where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vtr.data import index_file
from vtr.data.index_file import Shard
from vtr.data.tar import VIDEO_EXTS
from vtr.errors import DataError


def check_directory(root: Path) -> None:
    """Raises DataError unless `root` is a directory with an index."""
    if not root.is_dir():
        what = "is a file, not a shard directory" if root.exists() else "does not exist"
        raise DataError(f"{root} {what}", "make one: vtr shard READER SOURCE DIR")
    if (root / index_file.NAME).is_file():
        return
    if (root / ".parts").is_dir():
        raise DataError(f"{root} is not sharded to the end", "run the same vtr shard again: it continues")
    if any(root.glob("*.tar")):
        raise DataError(f"{root} has tars but no {index_file.NAME}", f"make it: vtr inspect {root} --index")
    if what := _other(root):
        raise DataError(f"{root} is {what}, not a shard directory", "give the directory that vtr shard wrote")
    raise DataError(f"{root} has no {index_file.NAME}", "give the directory that vtr shard wrote, or make one with it")


def _other(root: Path) -> str:
    """What else than a shard directory `root` is, where that can be seen."""
    if (root / "run.json").is_file():
        return "a run"
    if any(root.glob("emb-*.parquet")) or (root / "img_emb").is_dir() or (root / "text_emb").is_dir():
        return "a folder of embeddings"
    if (root / "sha256.json").is_file():
        return "a checkpoint of a run"
    return "a folder of videos" if any(file.suffix.lower().lstrip(".") in VIDEO_EXTS for file in root.iterdir()) else ""


def unlisted_tars(root: Path, shards: Iterable[Shard]) -> list[str]:
    """The tars in `root` that are none of `shards`."""
    return sorted({tar.name for tar in root.glob("*.tar")} - {shard.name for shard in shards})


def check_shards(root: Path, shards: Iterable[Shard]) -> None:
    """Raises DataError naming the first tar of `root` that is missing or has another size than recorded."""
    for shard in shards:
        try:
            size = (root / shard.name).stat().st_size
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name that no file can have
            raise DataError(
                f"{root / shard.name} is missing, the index names it", "put it back, or shard anew"
            ) from None
        except OSError as error:
            raise DataError(
                f"{root / shard.name} cannot be opened: {error.strerror}", "see that you may read it"
            ) from error
        if size != shard.bytes:
            raise DataError(
                f"{root / shard.name} has {size} bytes, the index says {shard.bytes}", "copy it again, or shard anew"
            )
