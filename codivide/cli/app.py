"""The command line: ``codivide fit | predict | audit | clean | serve | plot | noise | consensus``, and some more.

A command is a function of its name in a file of this wing, and a line in ``COMMANDS``. None of these files imports
torch before its command runs, so that ``codivide --help`` is instant.
"""

import errno
import io
import sys
import time
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from codivide.cli.clock import running
from codivide.core.allocator import tune_allocator
from codivide.core.errors import InputError
from codivide.core.memory import settle, short_of
from codivide.core.stopping import Stopped, stoppable
from codivide.core.version import VERSION

if TYPE_CHECKING:
    import typer

COMMANDS = {  # command: the file that it is in
    "fit": "fit",
    "predict": "predict",
    "audit": "audit",
    "clean": "clean",
    "serve": "clean",
    "plot": "inspect",
    "noise": "inspect",
    "consensus": "consensus",
    "methods": "inspect",
    "demo": "demo",
    "bench": "bench",
}


def application(arguments: list[str]) -> "typer.Typer":
    """The application, with the one command that is asked for, or with all where none is or help on all.

    The method flags of ``fit`` are made only when ``fit`` is asked for, since they need torch.
    """
    import typer

    from codivide.cli.flags import Command, Group, spread
    from codivide.cli.method_flags import method_flags

    app = typer.Typer(
        cls=Group,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        *,
        version: Annotated[
            bool,
            typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_show_version),
        ] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    ) -> None:
        """Train classifiers on labels you cannot trust, and find which labels are wrong.

        Begin with: codivide fit photos/ --out run; then codivide audit run --open

        Options of a command: codivide COMMAND --help
        """

    asked = [name for name in arguments[:1] if name in COMMANDS]
    for name in asked or COMMANDS:
        file = COMMANDS[name]
        command = getattr(import_module(f"codivide.cli.{file}"), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            more = method_flags(arguments) if asked == ["fit"] else []
            app.command(name, cls=Command)(spread(command, more))
    return app


def _show_version(*, asked: bool) -> None:
    if asked:
        import typer

        print(f"codivide {VERSION}")
        raise typer.Exit


def main() -> None:
    """Run the command line; a wrong input is one line and exit code 2."""
    since = time.monotonic()
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of classes that the encoding of a terminal or pipe lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    tune_allocator()
    try:
        if (said := settle()) is not None:
            _tell(said)
        from codivide.cli.progress import plain_warnings

        with running(since), plain_warnings(), stoppable(_tell):
            sys.exit(_call(arguments))
    except Stopped as stopped:
        print("stopped", file=sys.stderr)
        sys.exit(stopped.code)
    except InputError as error:
        _fail(str(error), debug=debug)
    except OSError as error:
        more = " with --resume" if "fit" in arguments[:1] else ""
        full = f"no space left on the disk; what was written before is intact: free some and run again{more}"
        where = f"{error.filename}: " if error.filename else ""
        _fail(full if error.errno == errno.ENOSPC else f"{where}{error.strerror or error}", debug=debug)
    except Exception as error:
        if not short_of(error):
            raise
        _fail(_memory(error), debug=debug)
    except KeyboardInterrupt:  # while something is imported; typer catches what comes later
        print("stopped", file=sys.stderr)
        sys.exit(130)


def _call(arguments: list[str]) -> int:
    """Run a command; its exit code. A flag or argument that is wrong is an InputError, as all that is wrong is."""
    import typer

    usage_error: Any = typer.BadParameter.__mro__[1]  # typer has no public name for it
    try:
        return application(arguments)(arguments, prog_name="codivide", standalone_mode=False) or 0
    except typer.Abort:
        raise KeyboardInterrupt from None
    except usage_error as error:
        context = error.ctx
        if not (said := error.format_message().rstrip(".")):  # no argument at all: typer has shown the help
            return 2
        where = f" {context.command_path.partition(' ')[2]}".rstrip() if context is not None else ""
        raise InputError(f"{said}; codivide{where} --help shows what there is") from None


def _memory(error: BaseException) -> str:
    said = str(error).partition("\n")[0][:200]
    advice = "close what else takes memory, or give less data, a smaller --image-size, --batch-size or --cache-limit"
    return f"there is not enough memory{f' ({said})' if said else ''}; {advice}"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(message: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    try:
        from rich.markup import escape

        from codivide.fit.progress import err_console

        err_console.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)
    except Exception as error:
        if not short_of(error):
            raise
        print(f"error: {message}", file=sys.stderr)  # what colours it does not fit into the memory
    sys.exit(2)


if __name__ == "__main__":
    main()
