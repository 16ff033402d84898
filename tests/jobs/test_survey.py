"""The survey on a real Ray."""

from pathlib import Path

import psutil
import pytest
import torch

from jmed.distributed.survey import survey
from tests.jobs.conftest import LocalRay


@pytest.mark.parametrize("gpus", [False, True])
def test_every_node_says_what_it_has(tmp_path: Path, local_ray: LocalRay, gpus: bool) -> None:
    """The output folder need not be there yet."""
    (found,) = survey(tmp_path / "not" / "yet", gpus)
    assert found.node == local_ray.address.split(":")[0]
    assert found.cpus == 2
    assert 0 < found.memory <= psutil.virtual_memory().total
    assert found.disk > 0
    assert found.torch == (torch.__version__ if gpus else "")
    assert len(found.gpus) == (torch.cuda.device_count() if gpus else 0)


def test_it_leaves_nothing_behind(tmp_path: Path, local_ray: LocalRay) -> None:
    """No CPU is taken, and no process with it: it would hold a CUDA context."""
    import ray

    before = ray.available_resources()["CPU"]
    survey(tmp_path, gpus=True)
    assert ray.available_resources()["CPU"] == pytest.approx(before)
