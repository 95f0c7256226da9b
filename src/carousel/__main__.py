"""`python -m carousel`, the same as the command `carousel`."""

import sys

from .cli.main import main

sys.exit(main())
