"""How a command ends: every error becomes one line on standard error and an exit status (contract of the command line).

Commands raise; only here is it decided what people see. A fault of ours says so and never shows a traceback unasked.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

from krm.cli import output

FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130
READER_GONE: Final = 141

_SERVER_MODULES: Final = frozenset(
    {"redis", "hiredis", "fastapi", "starlette", "uvicorn", "strawberry", "aiohttp", "re2", "zstandard", "pandas"}
    | {"pyarrow", "prometheus_client", "numpy", "uvloop", "influxdb_client"}
)


class _Usage(Protocol):
    """What typer raises for a wrong command line, whichever click it is built on."""

    exit_code: int
    ctx: object

    def format_message(self) -> str: ...


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; raises nothing."""
    output.prepare()
    try:
        status = _run(sys.argv[1:] if arguments is None else list(arguments))
        output.finish()
        return status
    except KeyboardInterrupt:
        output.abandon()
        return INTERRUPTED
    except BrokenPipeError:
        output.abandon()
        return READER_GONE
    except OSError as error:
        output.abandon()
        what = f"{error.filename}: " if error.filename else ""
        output.say(f"{what}{error.strerror or error}{_room(error)}")
        return FAILED
    except Exception as error:  # noqa: BLE001 (the end of the program: there is nobody else to tell people)
        return explain(error)


def _room(error: OSError) -> str:
    return "; the output is not complete" if error.errno == errno.ENOSPC else ""


def _run(arguments: list[str]) -> int:
    import typer
    from typer.main import get_command

    from krm.cli.app import CONTEXT, app, with_completion

    if "_KRM_COMPLETE" in os.environ:
        with_completion()(arguments, prog_name="krm")
        return 0
    # Straight to the command: on the way through the group, typer loads what takes longer than all of --help may.
    known: dict[str, Any] = getattr(get_command(app), "commands", {})
    command, name = known.get(arguments[0] if arguments else ""), f"krm {' '.join(arguments[:1])}"
    if command is not None:
        arguments = arguments[1:]
    else:
        command, name, arguments = get_command(with_completion()), "krm", arguments or ["--help"]
    try:
        with command.make_context(name, arguments, **CONTEXT) as context:
            status = command.invoke(context)
            return status if isinstance(status, int) else 0
    except typer.Exit as end:
        return int(end.exit_code)


def explain(error: Exception) -> int:
    """Say what went wrong; returns the exit status."""
    if hasattr(error, "format_message"):
        return _explain_usage(cast("_Usage", error))
    from krm import errors

    if isinstance(error, errors.KrmError):
        output.say(str(error))
        return error.exit_status
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.partition(".")[0] in _SERVER_MODULES:
        output.say(
            f"this needs {missing.partition('.')[0]}, which is not installed:"
            " pip install 'kubernetes-resource-monitor[demo]' brings all that krm demo, run and the servers need"
        )
        return FAILED
    client_status = _client_status(error)
    if client_status is not None:
        output.say(str(error))
        return client_status
    if os.environ.get("KRM_LOG_LEVEL", "").lower() == "debug":
        import traceback

        traceback.print_exception(error)
    output.say(
        f"this is a fault of krm: {type(error).__name__}: {error} (KRM_LOG_LEVEL=debug shows where); please report it"
    )
    return FAILED


def _client_status(error: Exception) -> int | None:
    """The exit status for an error of the client, None for another error; the client is imported if it raised it."""
    client_errors = sys.modules.get("krm_client.errors")
    if client_errors is None or not isinstance(error, client_errors.KrmError):
        return None
    return WRONG_USAGE if isinstance(error, client_errors.KrmUsageError) else FAILED


def _explain_usage(error: _Usage) -> int:
    path = getattr(error.ctx, "command_path", "krm") if getattr(error, "ctx", None) else "krm"
    message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    output.say(f"{message} (see {path} --help)")
    return error.exit_code
