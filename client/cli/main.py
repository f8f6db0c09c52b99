"""``medfabric``: one command line, one group per kind of user.

Groups are found through the entry points ``medfabric.groups`` and imported when used, so that
``--help`` needs neither grpc nor torch.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points, version
from typing import Any

import click

from client.cli.output import Guarded

# What --help says of a group without importing it.
_SUMMARIES = {
    "network": "Bring a consortium's network up and run it.",
    "admin": "Govern: hospitals, nodes, datasets, plans, models, reputations.",
    "node": "Take part in training: run a node's agent, look at its data.",
    "audit": "Prove from the ledger's blocks what was trained, by whom, on what.",
    "demo": "Watch four hospitals train one model.",
}


class _Groups(Guarded):
    def list_commands(self, ctx: click.Context) -> list[str]:
        found = {point.name for point in entry_points(group="medfabric.groups")}
        return [*(name for name in _SUMMARIES if name in found), *sorted(found - set(_SUMMARIES))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for point in entry_points(group="medfabric.groups", name=cmd_name):
            command = point.load()
            if not isinstance(command, click.Command):
                raise TypeError(f"entry point {point.value} is not a click command")
            return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            names = self.list_commands(ctx)
            formatter.write_dl([(name, _SUMMARIES.get(name, "")) for name in names])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"medfabric {version('medfabric')}")
        ctx.exit()


_EXAMPLES = """\b
Examples:
  medfabric demo
  medfabric network up --devnet --hospitals 4 --dir consortium
  medfabric admin plan list --identity consortium/hospitals/hospital1/users/admin
  medfabric node run node.json
  medfabric audit verify blocks --genesis genesis.block

\b
Commands take --json and -h, and end with exit code 0 when done, 2 for wrong
usage, 3 refused, 4 no answer, 5 a proof failed, 6 something must be installed,
7 a file or data is unusable, 8 the network failed, 130 stopped.
Completion: eval "$(_MEDFABRIC_COMPLETE=bash_source medfabric)"
"""


@click.group(
    cls=_Groups, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXAMPLES
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """MedFabric: hospitals train one model together on a ledger that none of them controls."""


def main() -> Any:
    """Entry point of the console script."""
    # What a peer does not answer is told by its error; grpc's own lines are for its developers.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return cli(prog_name="medfabric")
