"""The command line: verbs only. Whatever can be set is a ``key=value`` of the study."""

from __future__ import annotations

import sys

import click

from synthtrial import __version__
from synthtrial.cli import audits, comparisons, jobs, replications, stores, studies, transfers
from synthtrial.errors import SynthtrialError

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; errors meant for people end in one line, without a traceback."""
    try:
        code = cli(prog_name="synthtrial", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except SynthtrialError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nstopped; what is finished is kept. Run the same command to go on.", err=True)
        code = _INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="synthtrial %(version)s")
def cli() -> None:
    """Controlled trials of synthetic training data.

    STUDY is a YAML file or the name of a shipped study (digits). Every setting can be overridden
    behind it: synthtrial run digits protocol.replicates=10 store.path=/scratch/me
    """


for _module in (studies, replications, jobs, stores, transfers, comparisons, audits):
    for _command in _module.COMMANDS:
        cli.add_command(_command)
