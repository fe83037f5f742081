"""Run the tests that need a GPU, and write down how each ended."""

import argparse
import json
import sys
from pathlib import Path

import pytest

ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


class Outcomes:
    """A plugin that lists tests by how they ended."""

    def __init__(self):
        self.found: dict[str, list[str]] = dict(passed=[], failed=[], skipped=[])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One of the three phases of a test; what skips or fails may be any of them."""
        if report.when == 'call' or report.outcome != 'passed':
            self.found[report.outcome].append(report.nodeid)


def main() -> None:
    """Tests that fail are a result; that none could be run is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('files', nargs='*', help='files of tests [all with a test for GPUs]')
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    # To import all others would take longer than these tests.
    every = sorted(Path('tests').rglob('test_*.py'))
    files = args.files or [str(path) for path in every if 'pytest.mark.gpu' in path.read_text()]
    outcomes = Outcomes()
    code = pytest.main(['-q', '-m', 'gpu', *files], plugins=[outcomes])
    if code in ENDED:
        args.out.write_text(json.dumps(outcomes.found))
    sys.exit(0 if code in ENDED else int(code))


if __name__ == '__main__':
    main()
