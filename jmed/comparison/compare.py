"""The job compare: runs are opened, compared part by part, and written as comparison.json and report.html."""

import sys
from pathlib import Path
from typing import Any

from jmed import __version__
from jmed.comparison import (
    cost,
    exams,
    failures,
    languages,
    lineage,
    notes,
    pairs,
    prompts,
    summary,
    training,
    trust,
)
from jmed.comparison.facts import Facts, read_facts
from jmed.comparison.folders import open_folder
from jmed.comparison.runs import Runs, System
from jmed.comparison.schema import Comparison, Run
from jmed.comparison.systems import make_runs
from jmed.configuration.schema import CompareConfig
from jmed.data.question import family_of
from jmed.report.comparison import write_comparison_page
from jmed.report.terminal_comparison import print_comparison
from jmed.runs.files import write_text
from jmed.runs.folder import RunFolder

FILE, PAGE = "comparison.json", "report.html"


def compare(config: CompareConfig) -> None:
    """Run the whole job; a finished one is shown again."""
    folders = [open_folder(one) for one in config.runs]
    identity = {
        "job": "compare",
        "runs": {folder.given: folder.hashes for folder in folders},
        "base": config.base,
        "metric": config.metric,
        "seed": config.seed,
        "data_root": config.data_root,
    }
    folder = RunFolder(Path(config.output_dir).expanduser().absolute(), identity, [FILE], [PAGE])
    with folder.claim():
        if folder.finished:
            print(f"{folder.path} holds this comparison, finished; nothing is compared again", file=sys.stderr)
            _show(folder, Comparison.model_validate_json((folder.path / FILE).read_text("utf-8")))
            return
        runs = make_runs(folders, config.metric)
        facts = read_facts(runs, config.data_root)
        comparison = make_comparison(runs, facts, config)
        folder.begin(config.as_given, {})
        _write(folder, comparison, runs, facts)
        _show(folder, comparison)


def _write(folder: RunFolder, comparison: Comparison, runs: Runs, facts: Facts) -> None:
    """comparison.json last: with it the comparison is finished."""
    names = {one: runs.names[family_of(one)] for system in runs.systems for one in system.benchmarks}
    known = {(one.benchmark, one.question_id, one.language): one for one in facts.questions.values()}
    write_comparison_page(comparison.model_dump(), runs.systems, folder.path / PAGE, known, names)
    write_text(comparison.model_dump_json(indent=1) + "\n", folder.path / FILE)


def _show(folder: RunFolder, comparison: Comparison) -> None:
    print_comparison(comparison.model_dump())
    print(f"report: {folder.path / PAGE}")


def make_comparison(runs: Runs, facts: Facts, config: CompareConfig) -> Comparison:
    """Every part of comparison.json."""
    found = lineage.descents(runs, config.base)
    parts: dict[str, Any] = {
        "leaderboards": pairs.leaderboards(runs),
        "pairs": pairs.pairs(runs, facts, config.seed),
        "transfer": languages.transfers(runs, found),
        "languages": languages.languages(runs),
        "exams": exams.exams(runs),
        "exam_students": exams.exam_students(runs, facts),
        "failures": failures.failures(runs, facts),
        "students": failures.students(runs, facts),
        "safety": trust.safety(runs, facts),
        "calibration": trust.calibration(runs),
        "position": trust.position(runs),
        "rotations": trust.rotations(runs),
        "prompts": prompts.prompt_scores(runs),
        "prompt_effects": prompts.prompt_effects(runs),
        "prompt_contrasts": prompts.prompt_contrasts(runs),
        "training": training.trainings(runs),
        "cost": cost.costs(runs),
        "tokens": languages.tokens(runs),
    }
    told = (parts[name] for name in ("leaderboards", "pairs", "transfer", "exams", "safety"))
    return Comparison(
        jmed=__version__,
        metric=config.metric,
        seed=config.seed,
        summary=summary.summarise(runs, *told),
        runs=[_run(system) for system in runs.systems],
        overlaps=pairs.overlaps(runs),
        notes=notes.make_notes(runs, facts, found, parts),
        **parts,
    )


def _run(system: System) -> Run:
    folder = system.folders[0]
    return Run(
        name=system.name,
        model=folder.model,
        job="evaluate" if folder.job == "evaluate" else "score",
        method=folder.method,
        prompt=folder.prompt,
        shots=int(folder.way("shots")),
        quantization=str(folder.way("quantization")),
        scoring=str(folder.way("scoring")),
        folders=[one.given for one in system.folders],
        answers=len(system.answers),
    )
