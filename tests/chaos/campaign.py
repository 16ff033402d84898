"""A campaign: runs that are disturbed again and again, each compared with one that nobody disturbed."""

import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.faults import DRIVER, EVERY, MOUNT, SUBMITTED
from tests.chaos.runs import Difference, Run, compare, soon
from tests.jobs.cluster import LocalCluster

PER_RUN = 8  # faults a run; more would only lengthen it


@dataclass(frozen=True)
class Strike:
    """One fault that struck, and how long it took until the job did something again."""

    job: str
    fault: str
    seconds: float


@dataclass
class Campaign:
    """`jobs`: name → the job's file and flags, without its output folder."""

    cluster: LocalCluster
    jobs: Mapping[str, tuple[str, ...]]
    folder: Path
    dice: random.Random
    disk: Path | None = None  # a small file system of its own
    strikes: list[Strike] = field(default_factory=list)
    runs: int = 0

    def reference(self, job: str) -> Path:
        """The undisturbed run."""
        run = Run(self.cluster, self.jobs[job], self.folder / f"whole-{job}")
        if not run.finished:
            run.start()
            assert run.reap() == 0, run.said
        return run.output

    def throw(self, wanted: Mapping[str, Mapping[str, int]], deadline: float) -> None:
        """Throw so many faults of each kind at each job; Difference at the first result that differs.

        `wanted`: job → fault → how often; `deadline`: of time.monotonic(), after which no new run begins.
        """
        for job, counts in wanted.items():
            for faults in self._shares(counts):
                self._until_struck(job, faults, deadline)

    def _shares(self, counts: Mapping[str, int]) -> Iterator[list[str]]:
        """Faults for one run after the other: those that need a submitted job apart from those that need a driver."""
        every = [fault for fault, count in counts.items() for _ in range(count)]
        self.dice.shuffle(every)
        submitted = [fault for fault in every if fault in SUBMITTED]
        others = [fault for fault in every if fault not in SUBMITTED]
        for fault in submitted:
            more = [others.pop() for _ in range(PER_RUN - 1) if others and others[-1] not in DRIVER | MOUNT]
            yield [*more, fault]
        while others:
            yield [others.pop() for _ in range(min(PER_RUN, len(others)))]

    def _until_struck(self, job: str, faults: list[str], deadline: float) -> None:
        """A run may end before all have struck; the others go to a next one."""
        for _ in range(len(faults) + 2):
            if not faults or time.monotonic() > deadline:
                return
            faults = self._one_run(job, faults)
        raise Difference(f"{job}: runs end before {faults} strike")

    def _one_run(self, job: str, faults: list[str]) -> list[str]:
        """The faults that have not struck when the run has ended."""
        self.runs += 1
        place = self.disk if MOUNT.intersection(faults) and self.disk else self.folder
        run = Run(self.cluster, self.jobs[job], place / f"run-{self.runs}", bool(SUBMITTED.intersection(faults)))
        waiting = list(faults)
        run.start()
        while waiting and run.wait_for_progress():
            soon(self.dice)
            if run.running() and not run.finished:
                self._strike(run, job, waiting)
        while run.running() or not run.finished:
            status = run.reap()
            assert status == 0, f"exit status {status} without a fault: {run.tail()}"
        compare(self.reference(job), run.output)
        print(f"run {self.runs}, {job}: no difference; {len(self.strikes)} faults so far", file=sys.stderr)
        return waiting

    def _strike(self, run: Run, job: str, waiting: list[str]) -> None:
        fault, begun = waiting.pop(), time.monotonic()
        print(f"run {self.runs}, {job}: {fault}", file=sys.stderr)
        if EVERY[fault](run, self.dice):
            run.wait_for_progress()
            self.strikes.append(Strike(job, fault, time.monotonic() - begun))
        else:
            waiting.insert(0, fault)

    def table(self) -> str:
        """Markdown: faults, differences (none: the first one ends the campaign), seconds until the job went on."""
        lines = ["| job | fault | struck | differences | went on after (median, most) |", "|---|---|---|---|---|"]
        for job, fault in dict.fromkeys((strike.job, strike.fault) for strike in sorted(self.strikes, key=str)):
            times = [one.seconds for one in self.strikes if (one.job, one.fault) == (job, fault)]
            middle = statistics.median(times)
            lines.append(f"| {job} | {fault} | {len(times)} | 0 | {middle:.1f} s, {max(times):.1f} s |")
        return "\n".join([*lines, f"| | in {self.runs} runs | {len(self.strikes)} | 0 | |"])
