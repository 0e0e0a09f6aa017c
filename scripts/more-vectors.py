#!/usr/bin/env python3
"""Makes a larger set of vectors out of real ones, for measurements.

usage: more-vectors.py X.npy ROWS OUT.npy

The first rows are those of X; every further one is a copy of one of them with normal noise, at a
distance of about 0.35, scaled to length 1. X is a matrix of float16 or float32 whose rows have
length 1. Needs numpy. The result is the same bytes each time, float16.
"""

import sys

import numpy as np

DISTANCE = 0.35
SHARE = 20_000


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__.strip())
    real = np.load(sys.argv[1], allow_pickle=False)
    rows = int(sys.argv[2])
    out = np.lib.format.open_memmap(
        sys.argv[3], mode="w+", dtype="<f2", shape=(rows, real.shape[1]), version=(1, 0)
    )
    random = np.random.Generator(np.random.PCG64(7))
    out[: min(rows, len(real))] = real[:rows]
    for first in range(len(real), rows, SHARE):
        last = min(first + SHARE, rows)
        noise = random.standard_normal((last - first, real.shape[1]))
        some = real[np.arange(first, last) % len(real)] + noise * (DISTANCE / real.shape[1] ** 0.5)
        out[first:last] = some / np.linalg.norm(some, axis=1, keepdims=True)
    out.flush()


if __name__ == "__main__":
    main()
