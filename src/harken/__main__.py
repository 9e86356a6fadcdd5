"""`python -m harken`: the command line."""

from harken.cli.main import main

main()
