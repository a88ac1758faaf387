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
        code = _interrupted()
    except Exception as error:
        if not _is_of_interrupt(error):
            raise
        code = _interrupted()
    sys.exit(code if isinstance(code, int) else 0)


def _interrupted() -> int:
    click.echo("\nstopped; what is finished is kept. Run the same command to go on.", err=True)
    return _INTERRUPTED


def _is_of_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error, as when it comes while a class of a module is made."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


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
