"""Counts the cases of an Autobahn report: `verdict.py index.json CASES`, with the number of cases that were to run."""

import json
import sys

GOOD = {"OK", "INFORMATIONAL"}

with open(sys.argv[1], encoding="utf-8") as report:
    cases = next(iter(json.load(report).values()))
bad = {name: case for name, case in cases.items() if {case["behavior"], case["behaviorClose"]} - GOOD}
for name, case in sorted(bad.items()):
    print(f"FAIL {name}: {case['behavior']}, close {case['behaviorClose']}")
missing = int(sys.argv[2]) - len(cases)
if missing:
    print(f"FAIL {missing} cases did not run")
failed = len(bad) + max(missing, 0)
print(f"{len(cases) - len(bad)} passed, {failed} failed, 0 skipped")
sys.exit(1 if failed else 0)
