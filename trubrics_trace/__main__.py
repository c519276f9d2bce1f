"""`python -m trubrics_trace` is `trubrics-trace`."""

import sys

from .cli import main

sys.exit(main())
