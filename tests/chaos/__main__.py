"""`python -m tests.chaos`: the whole fault campaign, bounded in time; exit status 1 at the first difference."""

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.campaign import Campaign
from tests.chaos.faults import EVERY, small_disk
from tests.jobs.cluster import LocalCluster
from tests.jobs.models import build_tiny, training_lines

WANTED = {
    "evaluate": {
        "worker killed": 44, "worker stands still": 8, "driver killed": 6, "driver asked to stop": 3, "node lost": 3,
        "node preempted with notice": 1, "head lost": 1, "second job on the folder": 2, "disk full": 2,
        "disk does not answer": 3,
    },
    "finetune": {
        "worker killed": 16, "worker stands still": 4, "driver killed": 4, "driver asked to stop": 2, "node lost": 1,
        "node preempted with notice": 1, "head lost": 1, "second job on the folder": 1, "disk full": 1,
        "disk does not answer": 2,
    },
}  # fmt: skip


def jobs(model: Path, data: Path) -> dict[str, tuple[str, ...]]:
    """An evaluation of many small batches, and a training with a checkpoint every few steps."""
    return {
        "evaluate": (
            "jobs/evaluate.py", "--model.path", str(model), "--benchmarks", '["mini"]', "--method", "generate",
            "--prompt", "chat", "--max_new_tokens", "100", "--batch_tokens", "900", "--workers.count", "2",
            "--offline", "true",
        ),
        "finetune": (
            "jobs/finetune.py", "--model.path", str(model), "--stage", "instruct", "--tuning", "qlora", "--data",
            json.dumps([{"path": str(data), "format": "mcqa"}]), "--steps", "80", "--global_batch_size", "4",
            "--batch_tokens", "1500", "--learning_rate", "0.003", "--checkpoint.every_steps", "5",
            "--workers.count", "2", "--offline", "true",
        ),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of order and moments; default: the time")
    parser.add_argument("--minutes", type=float, default=45, help="after so many no new run begins")
    parser.add_argument("--only", nargs="*", default=list(EVERY), help="faults by name; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the faults of the whole campaign")
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    wanted = {
        job: {fault: math.ceil(options.share * count) for fault, count in faults.items() if fault in options.only}
        for job, faults in WANTED.items()
    }
    with tempfile.TemporaryDirectory(prefix="jmed-chaos-") as name, LocalCluster() as cluster:
        folder = Path(name)
        cluster.start_head()
        for _ in range(2):
            cluster.add_node()
        disk = small_disk(folder)
        data = folder / "questions.jsonl"
        data.write_text(training_lines(), encoding="utf-8")
        campaign = Campaign(
            cluster, jobs(build_tiny(folder / "model"), data), folder, random.Random(options.seed), disk
        )
        try:
            campaign.throw(wanted, time.monotonic() + 60 * options.minutes)
        finally:
            print(campaign.table())
            if disk:
                subprocess.run(["umount", "--lazy", str(disk)], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
