"""`python -m harken`: the command line."""

from harken.cli import main

main()
