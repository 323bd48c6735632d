"""`folder`: every video under a folder, its captions in a `.txt` file of the same name beside it, one a line.

    dogs/run.mp4    dogs/run.txt    "a dog runs over grass" / "a brown dog running"

Folders are searched to any depth; hidden files are left out. The key is the path below the folder. A video without a
`.txt`, or with an empty one, is not sharded; it is named in `skipped.jsonl` (kind `no-caption`). A folder names no
splits: all its videos are train, or what `--split` calls them, which is said.
"""

from __future__ import annotations

import errno
from pathlib import Path

from vtr.data.annotations.media import videos_below
from vtr.data.annotations.sample import ReaderOptions, Sample, make_key, refuse_duplicates, select
from vtr.errors import DataError


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The videos under the folder `source`, in the order of their paths.

    Raises DataError: no such folder, no video in it, no caption for any video, two videos with one key, a caption file
    that is not UTF-8; a split that is asked for, where a part of the videos lies in a folder of that name.
    """
    root = Path(source)
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"{source} {what}", "the folder reader wants a folder of videos with a .txt beside each")
    paths = videos_below(root)
    if options.split is not None:
        _refuse_a_part(paths, root, options.split)
        options.announce(f"{source} is a folder, which names no splits: all its videos are taken as {options.split}")
    samples = [_sample(path, root, options.split or "train") for path in paths]
    refuse_duplicates(samples, source)
    samples = select(samples, options, source)
    if not any(sample.captions for sample in samples):
        first = paths[0].relative_to(root)
        raise DataError(
            f"no video in {source} has a caption: there is no {first.with_suffix('.txt')} beside {first}, for one",
            "put the captions of NAME.mp4 into NAME.txt, one a line; for a table of captions use the table reader",
        )
    return samples


def _refuse_a_part(paths: list[Path], root: Path, split: str) -> None:
    """Raises DataError where only some of `paths` lie in the folder `split` of `root`: those alone were meant."""
    within = {name for path in paths for name in path.relative_to(root).parts[:-1][:1] if name.lower() == split.lower()}
    if within and not all(path.relative_to(root).parts[0] in within for path in paths):
        part = root / min(within)
        raise DataError(
            f"{root} has videos inside and outside of {part}, and a folder names no splits: --split {split} would take "
            f"all of them as {split}",
            f"give {part} in place of {root}, or leave --split out",
        )


def _sample(path: Path, root: Path, split: str) -> Sample:
    relative = path.relative_to(root)
    return Sample(
        key=make_key(relative.with_suffix("")),
        video=path,
        captions=_captions(path.with_suffix(".txt")),
        split=split,
        source=relative.as_posix(),
    )


def _captions(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # of NAME.ts a longer NAME.txt
            return ()
        raise DataError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    return tuple(line for line in map(str.strip, text.splitlines()) if line)
