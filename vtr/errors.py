"""Every error that vtr raises on purpose, in one tree.

An error says what came, what was wanted and what to do. `message` is the first two, `hint` the third; the command line
prints them as one red line and a hint, and exits with `exit_code` (2: the input was wrong, 1: the work failed).
"""

from __future__ import annotations

# The hint for a model that is not loaded here: its vectors can be evaluated all the same.
OWN_VECTORS = "write its vectors as video.npy, text.npy and caption_video.npy, and give vtr eval --embeddings DIR"


class VtrError(Exception):
    """The root of the tree: catch this to catch all of vtr's own errors."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message

    # Exceptions cross process boundaries (decode workers); the default reduction would lose `hint`.
    def __reduce__(self) -> tuple[type[VtrError], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class InputError(VtrError):
    """What the user gave is wrong: a path, a column, an option. Exit code 2."""

    exit_code = 2


class BusyError(InputError):
    """Another process is writing where this one was told to."""


class ConfigError(InputError):
    """A recipe, a `--set` or a field of a config is wrong."""


class DataError(InputError):
    """A table, a folder, a shard or an index is not what it should be."""


class RunError(InputError):
    """A run directory is missing, of another kind, or was made with another config."""


class VideoError(VtrError):
    """One video cannot be decoded. `kind` is a short word that reports count by.

    Kinds: `missing` `empty` `not-video` `no-frames` `truncated` `corrupt` `unsupported` `too-large` `timeout`.
    """

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.kind = kind

    def __reduce__(self) -> tuple[type[VtrError], tuple[str, ...]]:  # type: ignore[override]
        return type(self), (self.kind, self.message, self.hint)


class WorkError(VtrError):
    """The input was right but the work could not be done: a full disk, too many bad videos, a failed download."""


class Interrupted(VtrError):
    """Stopped by the user or a signal, after saving. Exit code 130, as shells have it."""

    exit_code = 130
