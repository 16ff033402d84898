"""How a fine-tuned model learned: its loss, and its exam by epoch, from the logs that finetune left."""

from pathlib import Path
from typing import Any

from jmed.comparison.figures import spread
from jmed.comparison.folders import read_record
from jmed.comparison.lineage import training_folders
from jmed.comparison.runs import Runs
from jmed.comparison.schema import Training, TrainingExam, TrainingStep
from jmed.errors import UserError
from jmed.report.learning import mean_losses
from jmed.training.files import EXAM_LOG, TRAIN_LOG
from jmed.training.log import read_log

_POINTS = 500  # of a curve


def trainings(runs: Runs) -> list[Training]:
    """Every stage that led to a run's model and whose folder is still there."""
    return [
        training
        for system in runs.systems
        for folder in training_folders(system)
        if (training := _training(system.name, folder))
    ]


def _training(run: str, folder: Path) -> Training | None:
    """None: it has not made a step yet."""
    try:
        steps, exams = read_log(folder / TRAIN_LOG), read_log(folder / EXAM_LOG)
        configuration = read_record(folder / "run.yaml")["configuration"]
        return _read(run, folder, configuration, steps, exams) if steps else None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"runs: the training of {run} left logs in {folder} that cannot be read ({error}); take the folder away to "
            "compare without them"
        ) from None


def _read(
    run: str, folder: Path, configuration: dict[str, Any], steps: list[dict[str, Any]], exams: list[dict[str, Any]]
) -> Training:
    _, first, last = mean_losses(steps)
    shown = spread(len(steps), _POINTS)
    return Training(
        run=run,
        name=folder.name,
        stage=configuration["stage"],
        tuning=configuration["tuning"],
        n_steps=len(steps),
        first_loss=first,
        last_loss=last,
        tokens=sum(row["tokens"] for row in steps),
        seconds=sum(row["seconds"] for row in steps),
        steps=[TrainingStep(**{key: steps[number][key] for key in TrainingStep.model_fields}) for number in shown],
        exams=[TrainingExam(**{key: row[key] for key in TrainingExam.model_fields}) for row in exams],
    )
