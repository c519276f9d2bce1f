"""`trubrics-trace`: see what waits in a spool, and send it.

Each command has a file. Exit codes: 0 done, 1 something is left, 2 it could not be tried.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..errors import TrubricsTraceError
from . import _adopt, _doctor, _flush, _rejected, _status

_EPILOG = """\
examples:
  trubrics-trace status                     what waits on this machine
  trubrics-trace flush                      send what waits for the configured account
  trubrics-trace flush --from local         send what was recorded without credentials
  trubrics-trace rejected list              what a server refused, and why
  trubrics-trace adopt DIR                  take over what was left in another spool
  trubrics-trace doctor myapp.main          find decorators that nobody calls
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (TrubricsTraceError, OSError) as error:  # of a spool that cannot be read
        print(f"trubrics-trace: {error}", file=sys.stderr)  # noqa: T201 - a command line
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    from .. import __version__

    parser = argparse.ArgumentParser(
        prog="trubrics-trace",
        description="Records of LLM calls on this machine: what waits, and sending it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (_status, _flush, _rejected, _adopt, _doctor):
        one = commands.add_parser(
            command.NAME,
            help=command.SUMMARY,
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument(
            "--spool-dir",
            metavar="DIR",
            help="where the spool is (default: where an app of this user keeps it)",
        )
        one.add_argument("--json", action="store_true", help="print JSON, for programs")
        command.add_options(one)
        one.set_defaults(run=command.run)
    return parser
