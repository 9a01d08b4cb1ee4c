"""Runs every test. Prints one line for each, and at the end "N passed, M failed, K skipped"."""

import logging
import sys
import unittest


class Report(unittest.TestResult):
    passed = 0

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.passed += 1
        print("ok  ", test.shortDescription(), flush=True)

    def addFailure(self, test: unittest.TestCase, error) -> None:
        super().addFailure(test, error)
        print("FAIL", test.shortDescription() or test, self.failures[-1][1], flush=True)

    def addError(self, test: unittest.TestCase, error) -> None:
        super().addError(test, error)
        print("FAIL", test.shortDescription() or test, self.errors[-1][1], flush=True)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        print(f"skip {test.shortDescription()}: {reason}", flush=True)


# Asynchronous tests run in asyncio's debug mode, which logs warnings on a busy machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)

report = Report()
unittest.defaultTestLoader.discover("tests", top_level_dir=".").run(report)
failed = len(report.failures) + len(report.errors)
print(f"{report.passed} passed, {failed} failed, {len(report.skipped)} skipped")
sys.exit(failed > 0)
