"""What a benchmark is: its splits, its official annotation files and counts; and those files found and read.

A reader says what its `Benchmark` is and turns one annotation file into samples; the rest is done here.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from vtr import plainjson
from vtr.data.annotations import cells
from vtr.data.annotations.media import MediaTree, bare
from vtr.data.annotations.sample import JSON, ReaderOptions, Sample, below, make_key, refuse_duplicates
from vtr.errors import DataError

HELP = "docs/readers.md says which files it needs and where they come from"
FOLDERS = ("annotations", "annotation", "metadata")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Split:
    """One split: the names that its annotation file goes by (patterns; the first one found counts), and its size.

    `videos` and `captions` are the official counts, None where none is published exactly; `about`: they are rounded.
    """

    files: tuple[str, ...]
    videos: int | None = None
    captions: int | None = None
    about: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as published. `default` are the splits taken when none is asked for, `groups` names for several.

    Annotation files are looked for in SOURCE and in its subfolders `folders`; a media file that is not there is
    expected with `suffix`.
    """

    name: str
    title: str
    splits: Mapping[str, Split]
    default: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folders: tuple[str, ...] = FOLDERS
    suffix: str = ".mp4"

    def asked(self, source: str, split: str | None) -> tuple[str, ...]:
        """The splits that `split` (a split, a group, None for the default) means; of one file, those that are in it.

        Raises DataError: no such split, no such path, a file that does not hold that split.
        """
        if split is not None and split not in self.splits and split not in self.groups:
            groups = "".join(f"; {name} is {' and '.join(parts)}" for name, parts in self.groups.items())
            raise DataError(f"{self.title} has no split {split!r}", f"its splits are: {', '.join(self.splits)}{groups}")
        named = self.default if split is None else self.groups.get(split, (split,))
        path = Path(source)
        if path.is_dir():
            return named
        if not path.is_file():
            raise DataError(f"{source} does not exist", f"give the folder of {self.title}: {HELP}")
        inside = tuple(name for name, part in self.splits.items() if _is_named(path.name, part.files))
        both = tuple(name for name in named if name in inside)
        if both or (split is None and inside):
            return both or inside
        if inside:
            raise DataError(
                f"{source} is the file of {' and '.join(inside)}, not of {split}", "give the folder instead"
            )
        if split is None or len(named) > 1:
            names = ", ".join(dict.fromkeys(name for part in self.splits.values() for name in part.files))
            raise DataError(
                f"{source} is not called like an annotation file of {self.title}, which are: {names}",
                "say with --split what it is, or give the folder",
            )
        return named


class Files:
    """The annotation and media files of one benchmark on this disk. Raises DataError for a `--root` that is none."""

    def __init__(self, benchmark: Benchmark, source: str, options: ReaderOptions) -> None:
        path = Path(source)
        self.benchmark = benchmark
        self.folder = path if path.is_dir() else path.parent
        self._given = None if path.is_dir() else path
        self.root = self.folder if options.root is None else options.root
        if not self.root.is_dir():
            raise DataError(f"{self.root} is not a folder", "--root should be the folder of the videos or images")
        self.media = MediaTree(self.root, benchmark.suffix)
        self._json: dict[Path, Any] = {}

    def find(self, *names: str) -> Path | None:
        """The first of the annotation files `names` (patterns) that there is."""
        places = [self.folder, *(self.folder / name for name in self.benchmark.folders)]
        return next((path for name in names for place in places for path in sorted(place.glob(name))), None)

    def need(self, what: str, *names: str) -> Path:
        """As `find`. Raises DataError, saying that `what` needs the file, when there is none."""
        path = self.find(*names)
        if path is None:
            raise DataError(f"{self.folder} has no {' or '.join(names)}, which {what} needs", HELP)
        return path

    def annotation(self, split: str) -> Path | None:
        """The annotation file of `split`: SOURCE itself where that is a file."""
        return self._given or self.find(*self.benchmark.splits[split].files)

    def json(self, path: Path, kind: type[T]) -> T:
        """As `read_json`; a file that several splits stand in is read once."""
        if path not in self._json:
            self._json = {path: read_json(path, kind)}
        value: T = self._json[path]
        return value

    def sample(
        self,
        split: str,
        name: str,
        captions: Iterable[str],
        *,
        at: str = "",
        folder: str = "",
        prefer: Sequence[str] = (),
        key: str = "",
        meta: Mapping[str, JSON] | None = None,
    ) -> Sample:
        """The sample of the media file `name`, which is `at` below `root`, or where `MediaTree.find` finds it."""
        source = at or self.media.find(name, folder=folder, prefer=prefer)
        texts = tuple(text for caption in captions if (text := plain(caption)))
        path = below(self.root, source, f"{self.folder}: an annotation")
        return Sample(make_key(key or bare(name)), path, texts, split, meta or {}, source)


SamplesIn: TypeAlias = Callable[[Files, str, Path], Iterator[Sample]]


def read_official(benchmark: Benchmark, source: str, options: ReaderOptions, samples_in: SamplesIn) -> list[Sample]:
    """The samples of the splits that are asked for, as `samples_in(files, split, annotation file)` makes them.

    Without `--split`, a default split whose file is not there is left out (the census announces it).
    Raises DataError: what `Benchmark.asked` and `samples_in` raise, a missing annotation file, no sample, a key twice.
    """
    splits = benchmark.asked(source, options.split)
    files = Files(benchmark, source, options)
    annotations = {split: files.annotation(split) for split in splits}
    for split, path in annotations.items():
        if path is None and (options.split is not None or not any(annotations.values())):
            files.need(f"split {split} of {benchmark.title}", *benchmark.splits[split].files)
    found = (samples_in(files, split, path) for split, path in annotations.items() if path is not None)
    samples = list(islice(chain.from_iterable(found), options.limit))
    if not samples:
        asked = ", ".join(splits)
        raise DataError(f"{source} has no sample of {asked}: its annotation files are empty", HELP)
    refuse_duplicates(samples, source, f"its annotation files are to name every video once; {HELP}")
    return samples


def plain(caption: str) -> str:
    """A caption on one line, single spaces, as valid Unicode."""
    return " ".join(caption.split()).encode("utf-8", "replace").decode("utf-8")


def paragraph(sentences: Iterable[tuple[Sequence[float], str]]) -> str:
    """One text of (time, sentence) pairs: the sentences in the order of their times, ties as they came."""
    return " ".join(plain(text) for _, text in sorted(sentences, key=lambda pair: tuple(pair[0])))


def read_json(path: Path, kind: type[T]) -> T:
    """The JSON file at `path`, a list or an object as `kind` says. Raises DataError."""
    try:
        value = plainjson.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}", "download it again") from error
    if not isinstance(value, kind):
        raise DataError(f"{path} holds a {type(value).__name__}, not a {kind.__name__}", HELP)
    return value


def get(entry: Any, name: str, kind: type[T], where: str) -> T:
    """The field `name` of a JSON object. Raises DataError, naming `where` it stands, when it is not a `kind`."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        has = type(entry).__name__
        if isinstance(entry, dict):  # a field that is there is of another type
            has = ", ".join(f"{field} ({type(value).__name__})" if field == name else field for field in entry)
        raise DataError(f"{where} has no {name} ({kind.__name__}); it has: {has or 'nothing'}", HELP)
    return value


def strings(entry: Any, name: str, where: str) -> list[str]:
    """The list of strings in the field `name` of a JSON object. Raises DataError as `get`."""
    values: list[Any] = get(entry, name, list, where)
    if not all(isinstance(value, str) for value in values):
        raise DataError(f"{where} has something else than texts in {name}", HELP)
    return values


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """(where, text) of each line that is not blank, without its line end. Raises DataError for what is not UTF-8."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:  # a lone carriage return is part of a caption
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path} line {number}", line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}", "save it as UTF-8") from error


def rows(path: Path, *needed: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, row) of a csv file with a header that has the columns `needed`. Raises DataError."""
    try:
        with cells.opened(path) as file:
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                has = ", ".join(reader.fieldnames or ()) or "none"
                raise DataError(f"{path} has no column {missing[0]!r}; its columns are: {has}", HELP)
            for row in reader:
                where = f"{path} line {reader.line_num}"
                if any(row[name] is None for name in needed):
                    raise DataError(f"{where} is cut short: it has too few fields", HELP)
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as csv: {error}", cells.hint(error, "download it again")) from error


def _is_named(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
