"""Pressure stall information (Documentation/accounting/psi.rst)."""

from __future__ import annotations

from virtagent.api.stats import Pressure, Stall

__all__ = ["RESOURCES", "parse_pressure", "read_pressure"]

FOLDER = "/proc/pressure"
RESOURCES = ("cpu", "memory", "io", "irq")


def parse_pressure(text: str) -> Pressure:
    """The lines "some" and "full" of one resource; what has another form is left out."""
    found: dict[str, Stall] = {}
    for line in text.splitlines():
        kind, *words = line.split() or [""]
        if kind in ("some", "full"):
            fields = dict(word.split("=", 1) for word in words if "=" in word)
            try:
                found[kind] = Stall(
                    avg10=float(fields["avg10"]),
                    avg60=float(fields["avg60"]),
                    avg300=float(fields["avg300"]),
                    total=int(fields["total"]) / 1e6,
                )
            except (KeyError, ValueError):
                continue
    return Pressure(some=found.get("some"), full=found.get("full"))


def read_pressure(folder: str = FOLDER) -> dict[str, Pressure]:
    """Each resource that this kernel tells of: none if it was built or started without (psi=0)."""
    found = {}
    for name in RESOURCES:
        try:
            with open(f"{folder}/{name}", encoding="ascii", errors="replace") as file:
                found[name] = parse_pressure(file.read())
        except OSError:
            continue
    return found
