"""`python -P -m outcore`: the command line, where the script is not on the path."""

import sys

from outcore.cli import main

sys.exit(main())
