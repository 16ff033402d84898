"""Compare runs of evaluate and score, question by question: `python jobs/compare.py --help`."""

import sys

from jmed.configuration.job import run_job
from jmed.configuration.schema import CompareConfig


def work(config: CompareConfig) -> None:
    from jmed.comparison.compare import compare

    compare(config)


if __name__ == "__main__":
    sys.exit(run_job("compare.py", CompareConfig, work))
