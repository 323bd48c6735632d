"""`python -m vtr`."""

from vtr.cli import main

if __name__ == "__main__":  # processes that are started anew import this module too
    main()
