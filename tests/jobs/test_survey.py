"""The survey on a real Ray."""

from pathlib import Path

import psutil
import pytest
import torch

from jmed.distributed.survey import survey
from tests.jobs.conftest import LocalRay


def test_every_node_says_what_it_has(tmp_path: Path, local_ray: LocalRay) -> None:
    """The output folder need not be there yet."""
    (found,) = survey(tmp_path / "not" / "yet")
    assert found.node == local_ray.address.split(":")[0]
    assert found.cpus == 2
    assert 0 < found.memory <= psutil.virtual_memory().total
    assert found.disk > 0
    assert found.torch == torch.__version__
    assert len(found.gpus) == torch.cuda.device_count()


def test_it_leaves_nothing_behind(tmp_path: Path, local_ray: LocalRay) -> None:
    """No CPU is taken, and no process with it: it would hold a CUDA context."""
    import ray

    before = ray.available_resources()["CPU"]
    survey(tmp_path)
    assert ray.available_resources()["CPU"] == pytest.approx(before)
