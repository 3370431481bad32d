"""``python -m benchmarks.counted``."""

import sys

from benchmarks.counted.command import main

sys.exit(main())
