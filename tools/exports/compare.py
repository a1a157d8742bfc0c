"""Compares what others have read of exports with the table of functions.

usage: compare.py TABLE.csv READ.json...
"""

import csv
import json
import sys


def of_functions(shares):
    return {name: tuple(share) for name, share in shares.items() if not name.startswith("[")}


with open(sys.argv[1], newline="") as file:
    rows = csv.DictReader(file)
    expected = of_functions({row["function"]: (int(row["self"]), int(row["total"])) for row in rows})
failed = 0
for path in sys.argv[2:]:
    with open(path) as file:
        read = json.load(file)
    for name, shares in read.items():
        found = of_functions(shares)
        wrong = [it for it in expected.keys() | found.keys() if expected.get(it) != found.get(it)]
        for it in sorted(wrong)[:5]:
            print(f"{name}: {it}: read {found.get(it)}, expected {expected.get(it)}")
        print(f"exports: {name}: {len(found)} functions, {len(wrong)} differ")
        failed += bool(wrong)
print(f"{len(sys.argv) - 2 - failed} passed, {failed} failed")
sys.exit(bool(failed))
