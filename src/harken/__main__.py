"""Run the command line as `python -m harken`."""

from harken.cli.main import main

main()
