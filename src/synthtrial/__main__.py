"""``python -m synthtrial``: the command line, for launchers that start Python modules."""

from synthtrial.cli import main

main()
