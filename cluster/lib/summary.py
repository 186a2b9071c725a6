"""Adds up the JUnit reports of a test run and prints "N passed, N failed"; exits 1 where something failed or none ran."""

import pathlib
import sys
import xml.etree.ElementTree as ElementTree

passed = failed = skipped = 0
for name in ("swift-swift-testing.xml", "aarch64.xml", "e2e.xml"):
    report = pathlib.Path(sys.argv[1]) / name
    cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    if not cases:
        print(f"no results in {report}")
        failed += 1
    for case in cases:
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
sys.exit(1 if failed else 0)
