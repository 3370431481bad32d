"""The guest's time zone."""

from __future__ import annotations

import os
import time

from virtagent.api.system import Timezone
from virtagent.peer.identity import read_line

__all__ = ["local_timezone", "zone_name"]

LOCALTIME = "/etc/localtime"
TIMEZONE = "/etc/timezone"


def zone_name(localtime: str = LOCALTIME, timezone: str = TIMEZONE) -> str:
    """The zone's name in the time zone database: what /etc/localtime links to (localtime(5)), or Debian's file."""
    try:
        _, found, name = os.readlink(localtime).partition("zoneinfo/")
    except OSError:
        found = ""
    return name if found else read_line(timezone)


def local_timezone() -> Timezone:
    """The zone at the moment; a change of /etc/localtime since the agent's start is seen."""
    time.tzset()
    now = time.localtime()
    return Timezone(name=zone_name(), abbreviation=now.tm_zone or "", offset=now.tm_gmtoff or 0)
