"""`python -m onedpiece`: the command, where its script is not on the path."""

import sys

from onedpiece.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
