#!/usr/bin/env python3
"""Cut the small data set in data/ from a larger one.

    python3 scripts/make-data.py SOURCE [OUT]

SOURCE holds wordnet-40k.f16.npy, wordnet-40k.items.jsonl,
wordnet-queries.f16.npy and wordnet-queries.jsonl. OUT is the repository's
data/ folder unless given. Needs numpy. The result is the same bytes each time.
"""

import json
import pathlib
import sys

import numpy as np

ROWS = 5000
QUERIES = 50
NEIGHBOURS = 10
DIMENSION = 384


def vectors(path, rows):
    """The first `rows` rows, as a C-ordered little-endian float16 array."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != np.dtype("<f2") or array.ndim != 2:
        sys.exit(f"{path}: expected a float16 matrix, found {array.dtype} {array.shape}")
    if array.shape[0] < rows or array.shape[1] != DIMENSION:
        sys.exit(f"{path}: expected {rows} or more rows of {DIMENSION}, found {array.shape}")
    return np.ascontiguousarray(array[:rows])


def lines(path, count):
    """The first `count` lines, as bytes; each must be a JSON object with an id."""
    with open(path, "rb") as file:
        result = [line for _, line in zip(range(count), file)]
    if len(result) < count:
        sys.exit(f"{path}: expected {count} or more lines, found {len(result)}")
    ids = {json.loads(line)["id"] for line in result}
    if len(ids) != count:
        sys.exit(f"{path}: ids repeat")
    return b"".join(result)


def unit(array):
    """The rows as float64, scaled to length 1."""
    wide = array.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def save(path, array):
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__.strip())
    source = pathlib.Path(sys.argv[1])
    if len(sys.argv) == 3:
        out = pathlib.Path(sys.argv[2])
    else:
        out = pathlib.Path(__file__).resolve().parent.parent / "data"
    out.mkdir(parents=True, exist_ok=True)

    base = vectors(source / "wordnet-40k.f16.npy", ROWS)
    items = lines(source / "wordnet-40k.items.jsonl", ROWS)
    queries = vectors(source / "wordnet-queries.f16.npy", QUERIES)
    labels = lines(source / "wordnet-queries.jsonl", QUERIES)

    # Exact cosine neighbours, nearest first; of two equally near, the lower row.
    similarity = unit(queries) @ unit(base).T
    order = np.argsort(-similarity, axis=1, kind="stable")
    truth = np.ascontiguousarray(order[:, :NEIGHBOURS], dtype="<i4")

    save(out / "wordnet-5k.f16.npy", base)
    (out / "wordnet-5k.items.jsonl").write_bytes(items)
    save(out / "wordnet-queries-50.f16.npy", queries)
    (out / "wordnet-queries-50.jsonl").write_bytes(labels)
    save(out / "wordnet-5k-truth-top10.i32.npy", truth)


if __name__ == "__main__":
    main()
