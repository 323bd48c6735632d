"""The Typer application, and what all verbs share: errors, streams, flags that everybody uses."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import typer
from typer.core import TyperCommand, TyperGroup

from vtr import bounds
from vtr.plainjson import finite
from vtr.plaintext import printable, tell
from vtr.version import __version__

# All that Typer finds wrong with a command line; it exports two kinds of it alone.
Misused: Any = typer.BadParameter.__base__
FLOW = (
    "shard", "inspect", "pretrain", "finetune", "eval", "embed", "search", "export", "bench", "recipes", "env",
)  # fmt: skip


class InFlow(TyperGroup):
    """The verbs in the order in which data goes through them, not that of the alphabet."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, for `vtr --help`."""
        return sorted(super().list_commands(ctx), key=FLOW.index)

    def invoke(self, ctx: Any) -> Any:
        """Does what the verb does, or shows its help, which is there whatever the environment says."""
        if "--help" not in ctx.args:
            bounds.at_most(1)  # whether it is a number, whoever gave it
        return super().invoke(ctx)


def once_called(**old: str) -> type[TyperCommand]:
    """A command that takes each of these parameters by an `old` name too, which no help and no shell shows."""

    class Renamed(TyperCommand):
        def make_parser(self, ctx: Any) -> Any:
            parser = super().make_parser(ctx)
            for param in self.params:
                if param.name in old:
                    alias = copy.copy(param)
                    alias.opts = [old[param.name]]
                    alias.add_to_parser(parser, ctx)
            return parser

    return Renamed


# Options by their parameters' names, what they are about, and the options of which one must be given too.
Needs: TypeAlias = tuple[Iterable[str], str, Sequence[str]]


def refuse_idle(
    ctx: Any,
    needs: Iterable[Needs] = (),
    beside: Mapping[str, Iterable[str]] | None = None,
    *,
    alone: Iterable[str] = (),
) -> None:
    """Raises InputError for an option of this command line that would do nothing.

    That is one which `needs` another that is not given, one that is idle `beside` another that is, and any but those
    that need it beside one that works `alone`.
    """
    from vtr.errors import InputError

    needs = tuple(needs)
    given = [name for name in ctx.params if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    flags = {param.name: param.opts[0] for param in ctx.command.params if param.param_type_name == "option"}
    for names, says, partners in needs:
        for name in names:
            if name in given and not set(partners).intersection(given):
                wanted = " or ".join(flags[partner] for partner in partners)
                raise InputError(f"{flags[name]} {says}, and none is asked for", f"add {wanted}, or take it out")
    idle = {mode: set(names) for mode, names in (beside or {}).items()}
    for mode in alone:
        idle[mode] = set(flags) - {name for names, _, partners in needs if mode in partners for name in names}
        idle[mode] -= {mode, "as_json"}
    for mode, names in idle.items():
        for name in given:
            if mode in given and name in names:
                hint = f"take it out, or give a command of its own without {flags[mode]}"
                raise InputError(f"{flags[name]} does nothing beside {flags[mode]}", hint)


def examples(*lines: str) -> str:
    """The epilog of a verb: commands to copy, each short enough for one line of a terminal."""
    return "Examples:\n\n" + "\n\n".join(f"  {line}" for line in lines)


app = typer.Typer(
    name="vtr",
    cls=InFlow,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Video-text retrieval by masked pretraining: shard, pretrain, finetune, eval, embed, search.",
    epilog=examples(
        "vtr shard synthetic seed:0 shards --limit 500",
        "vtr pretrain mac-tiny --shards shards --out runs/first --steps 100",
        "vtr embed runs/first --shards shards --out embeddings",
        'vtr search embeddings "a red circle moves left"',
    ),
)


def _version(asked: bool) -> None:
    if asked:
        print_text(f"vtr {__version__}")
        raise typer.Exit


def _limits(times: float | None) -> None:
    """To where the bounds are asked for, which worker processes inherit."""
    if times is not None:
        os.environ[bounds.NAME] = f"{times:g}"


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    limits: float | None = typer.Option(
        None,
        "--limits",
        metavar="TIMES",
        min=1,
        max=bounds.MOST,
        callback=_limits,
        help="Raise the limits on files of strangers that have no option of their own so many times.",
    ),
) -> None:
    pass


def print_text(text: str) -> None:
    """Lines of results on stdout, without what could steer the terminal."""
    sys.stdout.write(printable(text, but="\n\t") + "\n")
    sys.stdout.flush()  # a reader that has gone (`| head`) shows here, where Typer ends quietly for it


def as_json(value: Any) -> str:
    """JSON text; a figure that is not finite becomes null, for JSON has no NaN."""
    return json.dumps(finite(value), indent=1, default=str)


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    print_text(as_json(value))


def progress(*columns: Any) -> Any:
    """A rich progress display on stderr that leaves no trace; where stderr is no terminal, none at all."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def columns() -> tuple[Any, ...]:
    """Of a progress display: what is done, a bar, how much of how much, and how long it will take yet."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """A counter on stderr; the block gets a function to add to it."""
    from rich.progress import SpinnerColumn, TextColumn

    with progress(SpinnerColumn(), TextColumn("{task.completed} {task.description}")) as bar:
        task = bar.add_task(what, total=None)
        yield lambda more: bar.advance(task, more)


def fail(message: str, hint: str) -> None:
    """One red line and a hint, on stderr."""
    tell("error", message, "bold red")
    tell("hint", hint, "yellow")


def say(message: str) -> None:
    """One plain line on stderr."""
    sys.stderr.write(printable(message) + "\n")


def _fail_misused(error: Any) -> None:
    """What Typer found wrong with the words of a command; of one without any it has printed the help."""
    if type(error).__name__ != "NoArgsIsHelpError":
        path = error.ctx.command_path
        fail(f"{path}: {error.format_message().rstrip('.')}", f"{error.ctx.get_usage()}; see {path} --help")


def _no_memory(error: BaseException) -> bool:
    """Whether Python, numpy or torch (which says it in a RuntimeError, of either device) could get no more memory."""
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory")
    )


def main() -> None:
    """The entry point: runs a verb, and turns vtr's own errors into a red line, a hint and an exit code."""
    from vtr.errors import Interrupted, VtrError

    try:
        code = app(prog_name="vtr", standalone_mode=False)  # what is wrong comes out of it, and an exit as its code
        if code != Interrupted.exit_code:  # Typer turns a Ctrl-C into this exit, and says nothing
            sys.exit(code)
        raise KeyboardInterrupt
    except Misused as error:
        _fail_misused(error)
        sys.exit(error.exit_code)
    except VtrError as error:
        fail(error.message, error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted", "what was finished is kept; run the same command to go on")
        sys.exit(Interrupted.exit_code)
    except (MemoryError, RuntimeError) as error:
        if not _no_memory(error):
            raise
        fail(
            f"memory ran out: {str(error).strip().splitlines()[0] if str(error).strip() else 'no more could be had'}",
            "use a smaller --batch-size, fewer --workers, less data.cache_gb, or a smaller model",
        )
        sys.exit(1)
    except OSError as error:
        from vtr.atomic import NO_ROOM

        fail(
            f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}",
            "make room, and run the same command again" if error.errno in NO_ROOM else "see that the path can be used",
        )
        sys.exit(1)
