"""Teach a model on pooled GPUs: `python jobs/finetune.py --help`."""

import sys

from jmed.configuration.finetune import FinetuneConfig
from jmed.configuration.job import run_job


def work(config: FinetuneConfig) -> None:
    from jmed.distributed.finetune import finetune  # here, so that --help needs neither torch nor ray

    finetune(config)


if __name__ == "__main__":
    sys.exit(run_job("finetune.py", FinetuneConfig, work))
