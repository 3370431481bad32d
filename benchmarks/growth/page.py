"""docs/growth.md, made by ``make growth``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.growth.fit import COUNTED, TIMED, UPPER
from benchmarks.growth.rounds import Grown, Measured
from benchmarks.growth.table import HEADINGS, row, span

__all__ = ["page"]

HEAD = """# How cost grows

Made by `make growth`; do not edit.

Curves, not points: each quantity is measured over geometric steps. Its exponent is the slope of log(cost) over
log(what grows) over the last {upper} points, by least squares through the medians of the rounds ({rounds} here); its
interval is two standard errors to each side, of a bootstrap over the rounds and of the points about the line.
A verdict is *super-linear* only if the lower end of the interval is above 1 by more than the tolerance, and *flat* if
it is at most the tolerance. Tolerances are {timed.linear} (linear) and {timed.flat} (flat) for times and memory, since
caches and pages change the price of a unit by a factor of two over such a range, and {counted.linear} for what is
counted. What the interval leaves open is as expected. "One more" is what grew from the smallest to the largest, divided
by how many more there are. What grows faster than expected is a defect, and `make growth` exits with 1.

![How cost grows: one panel for each curve, both axes logarithmic](growth.svg)

"""


def environment_line(environment: Mapping[str, Any]) -> str:
    """Where this was measured, in one paragraph."""
    known: defaultdict[str, Any] = defaultdict(lambda: "?", environment)
    packages = ", ".join(f"{name} {version}" for name, version in sorted((environment.get("versions") or {}).items()))
    load = ", ".join(f"{each:.1f}" for each in environment.get("load") or ())
    return (
        f"Measured on {str(known['date'])[:16]}: {known['kernel']}, {known['cpus']} CPUs ({known['cpu']}), "
        f"{known['python']} ({known['build']}), asyncio's own loop, {packages}, "
        f"virtagent {'compiled' if environment.get('compiled') else 'interpreted'}; load at the beginning {load}. "
        "Absolute values drift with the machine, exponents hardly do."
    )


def section(found: Sequence[Grown]) -> str:
    """One curve."""
    curve = found[0].curve
    lines = [f"## {curve.title}: {span(found)}", "", curve.note, ""]
    lines.append("| " + " | ".join(HEADINGS) + " |")
    lines.append("|" + "---|" * len(HEADINGS))
    for each in found:
        cells = list(row(each))
        if each.is_defect:
            cells[5] = f"**{cells[5]}**"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(curves: Sequence[Sequence[Grown]], environment: Mapping[str, Any], measured: Measured) -> str:
    """The whole page.

    Args:
        curves: what grew how.
        environment: the environment record.
        measured: how many rounds there were, how long they took, and what could not be measured.
    """
    head = HEAD.format(upper=UPPER, rounds=len(measured.rounds), timed=TIMED, counted=COUNTED)
    parts = [head + environment_line(environment) + f" The run took {measured.seconds:.0f} s."]
    parts += [f"Not measured: {line}" for line in measured.failed]
    parts += [section(found) for found in curves]
    return "\n\n".join(parts) + "\n"
