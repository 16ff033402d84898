"""The short form of `make chaos`: some of its faults, thrown at random moments at both jobs."""

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.__main__ import jobs
from tests.chaos.campaign import Campaign
from tests.chaos.faults import MOUNT, small_disk
from tests.jobs.cluster import LocalCluster

EVALUATE = {"worker killed": 1, "driver killed": 1, "node lost": 1, "disk full": 1}
FINETUNE = {"worker killed": 1, "node preempted with notice": 1}
SHORT = {"evaluate": ("--limit", "30"), "finetune": ("--steps", "40")}


@pytest.fixture
def campaign(tmp_path: Path, tiny_model: Path, training_questions: Path) -> Iterator[Campaign]:
    disk = small_disk(tmp_path / "disk")
    with LocalCluster() as cluster:
        cluster.start_head(submit=False)
        for _ in range(2):
            cluster.add_node()
        seed = int(time.time())
        print(f"seed {seed}")  # shown if the test fails
        short = {name: (*job, *SHORT[name]) for name, job in jobs(tiny_model, training_questions).items()}
        yield Campaign(cluster, short, tmp_path, random.Random(seed), disk)
    if disk:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_faults_change_nothing(campaign: Campaign) -> None:
    """Faults that need a file system of their own are left out where none may be mounted."""
    wanted = {
        job: {fault: count for fault, count in faults.items() if campaign.disk or fault not in MOUNT}
        for job, faults in (("evaluate", EVALUATE), ("finetune", FINETUNE))
    }
    campaign.throw(wanted, time.monotonic() + 1200)
    print(campaign.table())
    assert len(campaign.strikes) == sum(sum(faults.values()) for faults in wanted.values())
