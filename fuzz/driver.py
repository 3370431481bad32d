"""What the fuzz targets share: atheris where it is installed, otherwise random mutation from a seed."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

Target = Callable[[bytes], None]

LONGEST = 4096

INTERESTING = [0, 1, 2, 3, 0x7F, 0x80, 0x90, 0x93, 0x94, 0xC0, 0xC1, 0xC7, 0xDC, 0xDD, 0xDF, 0xFF]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One to four random changes."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(changed))
        what = draw.randrange(6)
        if what == 0 and changed:
            changed[at % len(changed)] ^= 1 << draw.randrange(8)
        elif what == 1 and changed:
            changed[at % len(changed)] = draw.choice(INTERESTING)
        elif what == 2:
            changed[at:at] = draw.randbytes(draw.randint(1, 8))
        elif what == 3:
            del changed[at : at + draw.randint(1, 16)]
        elif what == 4:
            changed[at:at] = changed[at : at + draw.randint(1, 64)]
        else:
            del changed[at:]
    return bytes(changed[:LONGEST])


def run(
    target: Target, corpus: Sequence[bytes], *, seed: int, seconds: float = 3600.0, iterations: int = 10**12
) -> int:
    """Mutate the corpus until the time or the count is over; how many inputs were tried.

    Raises:
        Whatever the target lets through, with a note that gives the input.
    """
    draw = random.Random(seed)
    end = time.monotonic() + seconds
    done = 0
    while done < iterations and time.monotonic() < end:
        data = draw.choice(corpus) if corpus and draw.random() < 0.9 else draw.randbytes(draw.randint(0, 200))
        if done >= len(corpus):
            data = mutate(data, draw)
        try:
            target(data)
        except Exception as error:
            error.add_note(f"input: bytes.fromhex({data.hex()!r}), seed {seed}, number {done}")
            raise
        done += 1
    return done


def main(target: Target, corpus: Sequence[bytes]) -> None:
    """The command line: ``--seconds N --seed S``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        import atheris  # noqa: PLC0415 - not everywhere
    except ImportError:
        print(f"{run(target, corpus, seed=options.seed, seconds=options.seconds)} inputs, nothing found")
        return
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={int(options.seconds)}", f"-seed={options.seed}"], target)
    atheris.Fuzz()
