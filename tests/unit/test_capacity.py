"""How much a worker reserves: Ray Data must always find one whole CPU on some node."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jmed.distributed.capacity import reserved_cpus
from jmed.distributed.fitting import fitting


@given(nodes=st.lists(st.integers(1, 64), min_size=1, max_size=8), cpus=st.integers(1, 8), data=st.data())
def test_whatever_way_workers_are_placed_one_cpu_is_left(nodes: list[int], cpus: int, data: st.DataObject) -> None:
    """Ray places by what a worker reserves, in any order; a node of one CPU may hold workers that reserve none."""
    possible = sum(node // cpus for node in nodes)
    if not possible:
        return
    count = data.draw(st.integers(1, possible))
    reserved = reserved_cpus(cpus, count, nodes)
    assert 0 <= reserved <= cpus
    free = [float(node) for node in nodes]
    for _ in range(count):
        able = [number for number, left in enumerate(free) if left >= reserved - 1e-9]
        assert able, "every worker must find a place"
        free[data.draw(st.sampled_from(able))] -= reserved
    assert max(free) >= 1 - 1e-9


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "workers"),
    [
        ({"CPU": 4.0}, 3, 0.0, 1),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 1.0, 2),
        ({"CPU": 8.0, "GPU": 1.0}, 1, 0.2, 5),
        ({"CPU": 32.0, "GPU": 1.0}, 1, 0.1, 10),
        ({"CPU": 8.0, "GPU": 3.0}, 1, 2.0, 1),
        ({"GPU": 2.0}, 1, 1.0, 0),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 0.4, 4),
        ({"CPU": 0.99}, 0.33, 0.0, 3),
    ],
)
def test_workers_that_fit_on_a_node(node: dict[str, float], cpus: float, gpus: float, workers: int) -> None:
    assert fitting(node, cpus, gpus) == workers
