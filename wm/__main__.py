"""`python -m wm`: the command line, where its script is not on the path."""

import sys

from wm.cli import main

if __name__ == "__main__":
    sys.exit(main())
