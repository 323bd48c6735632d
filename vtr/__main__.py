"""`python -m vtr`."""

from vtr.cli import main

main()
