"""Fold an adapter into its 16-bit base: `python jobs/merge.py --help`."""

import sys

from jmed.configuration.finetune import MergeConfig
from jmed.configuration.job import run_job


def work(config: MergeConfig) -> None:
    from jmed.models.merging import merge  # here, so that --help does not need torch

    merge(config)


if __name__ == "__main__":
    sys.exit(run_job("merge.py", MergeConfig, work))
