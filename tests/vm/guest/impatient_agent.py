#!/usr/bin/python3
"""`virtagentd` with a keepalive of half a second instead of five: tests need not wait 15 s to see silence."""

import sys

from virtagent.cli.daemon import main
from virtagent.peer.options import PeerOptions

defaults = PeerOptions.__init__.__kwdefaults__
assert defaults is not None
defaults["keepalive"] = 0.5
sys.exit(main())
