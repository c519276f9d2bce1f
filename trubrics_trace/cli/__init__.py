"""`trubrics-trace`: see what a spool holds, take it away, and send it.

Each command has a file, with its summary, its options and what its exit codes mean. For
all of them 2 is: it could not be tried.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from ..errors import TrubricsTraceError
from ._terminal import let_all_be_written, look_away, painted

# Each has a file of that name, which is loaded where it is asked for: who only looks does
# not wait for what sends.
_COMMANDS = (
    "status",
    "tail",
    "export",
    "report",
    "flush",
    "rejected",
    "adopt",
    "erase",
    "doctor",
)
_INTERRUPTED = 130  # as shells say it: 128, and the number of SIGINT

_EPILOG = """\
examples:
  trubrics-trace status                     what waits on this machine
  trubrics-trace tail --user alice -f       what alice asks, as she asks it
  trubrics-trace export --format csv        take records away
  trubrics-trace report --html report.html  users, threads, stop rate, tokens, as a page
  trubrics-trace flush                      send what waits for the configured account
  trubrics-trace flush --from local         send what was recorded without credentials
  trubrics-trace rejected list              what a server refused, and why
  trubrics-trace adopt DIR                  take over what was left in another spool
  trubrics-trace erase --user alice         forget a user
  trubrics-trace doctor myapp.main          look for what goes wrong in practice

exit codes:
  0    done
  1    something is left, or amiss
  2    it could not be tried
  130  stopped with Ctrl-C

Of each command, `trubrics-trace COMMAND --help` tells more. Colours are for a terminal
alone; NO_COLOR=1 takes them from there, too.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    let_all_be_written()
    words = sys.argv[1:] if arguments is None else arguments
    asked = [word for word in words[:1] if word in _COMMANDS]
    options = _parser(asked or _COMMANDS).parse_args(words)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        look_away()
        return 0
    except (TrubricsTraceError, OSError) as error:  # of a spool that cannot be read
        said = painted(f"trubrics-trace: {error}", "red", sys.stderr)
        print(said, file=sys.stderr)  # noqa: T201 - a command line
        return 2
    return code


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    from .. import __version__

    parser = argparse.ArgumentParser(
        prog="trubrics-trace",
        description="Records of LLM calls on this machine: what waits, and sending it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in names:
        command = import_module(f"{__name__}._{name}")
        one = commands.add_parser(
            name,
            help=command.SUMMARY,
            description=command.__doc__,
            epilog=_told(command.EXIT_CODES),
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


def _told(exit_codes: Mapping[int, str]) -> str:
    codes = {**exit_codes, 2: "it could not be tried"}
    lines = [f"  {code:<4} {meaning}" for code, meaning in sorted(codes.items())]
    return "\n".join(["exit codes:", *lines])
