#!/usr/bin/env python3
"""Write tests/vectors/filters.jsonl: what mongomock answers to random filters.

    pip install mongomock==4.3.0
    python3 scripts/filter_answers.py [OUT]

For development; the build and the tests need only the file. The same version
and seed give the same bytes. The first line names them. Then, for each block,
one line with its documents, and a line for each filter:

    {"documents": [...]}
    {"filter": {...}, "matches": "<hexadecimal; bit i is document i>"}
    {"filter": {...}, "refused": true}

Filters on which mongomock fails in any other way than refusing are left out.
"""

import json
import pathlib
import random
import sys

import mongomock
from mongomock.filtering import filter_applies

SEED = 20260731
BLOCKS = 64
DOCUMENTS = 48
FILTERS = 80

NAMES = ["a", "b", "c", "tags", "loc"]
WORDS = ["", "a", "b", "ab", "abc", "B", "zoo", "1", "caf\u00e9", "10"]
NUMBERS = [-1, 0, 1, 2, 3, 10, 1.0, 1.5, -0.5, 2**53, 2**53 + 1, float(2**53), 2**63, 1e300]
PATTERNS = ["^a", "b$", "a.c", "^$", "[0-9]+", "a|z", "o{2}", "(?i)b", "B"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pick = self.random.choice

    def chance(self, of_hundred):
        return self.random.randrange(100) < of_hundred

    def number(self):
        return self.pick(NUMBERS) if self.chance(30) else self.random.randrange(5)

    def scalar(self):
        kind = self.random.randrange(100)
        if kind < 40:
            return self.number()
        if kind < 75:
            return self.pick(WORDS)
        return self.pick([True, False, None])

    def value(self, levels):
        kind = self.random.randrange(100)
        if levels == 0 or kind < 50:
            return self.scalar()
        if kind < 62:
            return [self.scalar() for _ in range(self.random.randrange(4))]
        if kind < 70:
            return [self.object(levels - 1) for _ in range(self.random.randrange(4))]
        if kind < 76:
            return [self.value(levels - 1) for _ in range(self.random.randrange(4))]
        return self.object(levels - 1)

    def object(self, levels):
        names = self.random.sample(NAMES[:3], self.random.randrange(3))
        return {name: self.value(levels) for name in sorted(names)}

    def document(self):
        names = self.random.sample(NAMES, self.random.randrange(1, 5))
        return {name: self.value(3) for name in sorted(names)}

    def path(self, documents):
        """A path, and a value to be found there or thereabouts."""
        if self.chance(20):
            path = [self.pick(NAMES) for _ in range(self.random.randrange(1, 4))]
            return ".".join(path), self.scalar()
        path, value = [], self.pick(documents)
        while not path or self.chance(60):
            if isinstance(value, dict) and value:
                name = self.pick(sorted(value))
                path.append(name)
                value = value[name]
            elif isinstance(value, list) and value and path:
                position = self.random.randrange(len(value))
                value = value[position]
                if self.chance(30):
                    path.append(str(position))
            else:
                break
        return ".".join(path or [self.pick(NAMES)]), value

    def literal(self, near):
        return near if self.chance(50) else self.value(1)

    def operator(self, near, levels):
        kind = self.random.randrange(100)
        if kind < 10:
            return "$eq", self.literal(near)
        if kind < 20:
            return "$ne", self.literal(near)
        if kind < 45:
            bound = self.pick(WORDS) if self.chance(30) else self.number()
            if self.chance(30) and isinstance(near, (int, float, str)):
                bound = near
            elif self.chance(3):
                bound = self.literal(near)
            return self.pick(["$gt", "$gte", "$lt", "$lte"]), bound
        if kind < 65:
            values = [self.literal(near) for _ in range(self.random.randrange(4))]
            return self.pick(["$in", "$nin"]), values
        if kind < 72:
            return "$exists", self.chance(60)
        if kind < 78:
            return "$size", self.random.randrange(4)
        if kind < 84:
            return "$regex", self.pick(PATTERNS)
        if kind < 90:
            wanted = near if isinstance(near, list) and near else [self.literal(near)]
            return "$all", [self.pick(wanted) for _ in range(self.random.randrange(1, 3))]
        if kind < 94 and levels > 0:
            return "$not", self.condition(near, levels - 1)
        if kind < 99 and levels > 0:
            items = near if isinstance(near, list) else []
            objects = [item for item in items if isinstance(item, dict) and item]
            if objects:
                return "$elemMatch", self.filter(objects, levels - 1)
            inner = self.pick(items) if items else self.scalar()
            return "$elemMatch", self.condition(inner, levels - 1)
        if self.chance(30):
            return self.pick(["$bogus", "$near", "$where"]), 1
        return "$exists", self.chance(50)

    def condition(self, near, levels):
        entries = 1 if self.chance(75) else 2
        return dict(self.operator(near, levels) for _ in range(entries))

    def field(self, documents, levels):
        path, near = self.path(documents)
        return path, self.literal(near) if self.chance(30) else self.condition(near, levels)

    def filter(self, documents, levels):
        if levels > 0 and self.chance(30):
            operator = self.pick(["$and", "$or", "$nor"])
            least = 0 if self.chance(3) else 1
            count = self.random.randrange(least, 4)
            return {operator: [self.filter(documents, levels - 1) for _ in range(count)]}
        if self.chance(1):
            return {self.pick(["$bogus", "$near"]): 1}
        entries = 1 if self.chance(75) else 2
        return dict(self.field(documents, levels) for _ in range(entries))


def answer(filter_, documents):
    try:
        matches = [filter_applies(filter_, document) for document in documents]
    except (mongomock.OperationFailure, NotImplementedError):
        return {"filter": filter_, "refused": True}
    except Exception:  # noqa: BLE001 - a defect of the reference
        return None
    bits = sum(bool(match) << i for i, match in enumerate(matches))
    return {"filter": filter_, "matches": f"{bits:x}"}


def write(line, out):
    json.dump(line, out, separators=(",", ":"), sort_keys=True)
    out.write("\n")


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    path = sys.argv[1] if len(sys.argv) > 1 else root / "tests/vectors/filters.jsonl"
    maker = Maker(SEED)
    with open(path, "w", encoding="ascii", newline="\n") as out:
        write({"reference": f"mongomock {mongomock.__version__}", "seed": SEED}, out)
        for _ in range(BLOCKS):
            documents = [maker.document() for _ in range(DOCUMENTS)]
            write({"documents": documents}, out)
            for _ in range(FILTERS):
                line = answer(maker.filter(documents, 2), documents)
                if line is not None:
                    write(line, out)


if __name__ == "__main__":
    main()
