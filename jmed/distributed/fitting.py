"""How many workers a machine holds."""

import math
from collections.abc import Mapping

TIE = 1e-6  # shares are decimal fractions, which add up to a little less or more than a whole


def fitting(resources: Mapping[str, float], cpus: float, gpus: float) -> float:
    """Workers that need `cpus` and `gpus` each and fit on a machine with these resources, as Ray counts them.

    A share of a GPU is a share of one GPU: at 0.4 each, two GPUs hold four workers. Infinite if a worker needs nothing.
    """
    there = resources.get("GPU", 0.0)
    by_cpus = (resources.get("CPU", 0.0) + TIE) // cpus if cpus else math.inf
    if not gpus:
        return by_cpus
    by_gpus = (there + TIE) // gpus if gpus >= 1 else int(there + TIE) * ((1 + TIE) // gpus)
    return min(by_cpus, by_gpus)
