"""Makes this directory's helper modules importable as mypy names them, ``tests.protocol...`` (tests are no package)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
