"""What it cost to ask: time, GPUs, tokens."""

import pyarrow.compute as pc

from jmed.comparison.folders import Folder
from jmed.comparison.runs import Runs
from jmed.comparison.schema import Cost


def costs(runs: Runs) -> list[Cost]:
    """Of each folder that evaluate wrote; nobody knows what imported answers cost."""
    return [
        _cost(system.name, folder)
        for system in runs.systems
        for folder in system.folders
        if folder.job == "evaluate" and folder.record.get("cluster")
    ]


def _cost(run: str, folder: Folder) -> Cost:
    cluster, timing, n = folder.record["cluster"], folder.results["timing"], folder.table.num_rows
    workers, asked, seconds = cluster["workers"], timing["questions_asked"], timing["seconds"]
    gpus = workers["count"] * workers["gpus"]
    tokens_in, tokens_out = (1000 * pc.sum(folder.table[name]).as_py() / n for name in ("tokens_in", "tokens_out"))
    return Cost(
        run=run,
        folder=folder.given,
        questions=n,
        workers=workers["count"],
        gpus=gpus,
        gpu_kinds=cluster["gpu_kinds"],
        processor=str(folder.record.get("machine", {}).get("processor", "")),
        questions_per_second=asked / seconds if asked and seconds else None,
        gpu_seconds_per_1000=1000 * seconds * gpus / asked if asked and gpus else None,
        tokens_in_per_1000=tokens_in,
        tokens_out_per_1000=tokens_out,
        tokens_per_1000=tokens_in + tokens_out,
    )
