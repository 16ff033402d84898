"""What the benchmark files say of the questions: stem, specialty, prohibited choices, students' answers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jmed.comparison.folders import Folder
from jmed.comparison.runs import Group, Key, Runs
from jmed.comparison.schema import Note, Words
from jmed.data import catalogue
from jmed.data.question import Question, family_of
from jmed.data.students import StudentAnswers, read_students
from jmed.errors import UserError
from jmed.runs.hashes import file_hashes
from jmed.storage.address import is_url


@dataclass
class Facts:
    """By (family, language, question id), and the students' answers by (family, question id)."""

    questions: dict[Key, Question] = field(default_factory=dict)
    students: dict[tuple[str, str], StudentAnswers] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def of(self, group: Group, question_id: str) -> Question | None:
        return self.questions.get((*group, question_id))

    def students_of(self, benchmark: str, question_id: str) -> StudentAnswers | None:
        """None: not published, or its file is not there."""
        return self.students.get((family_of(benchmark), question_id))

    def exam(self, exam: str) -> list[Question]:
        """The questions of an examination, each once, in whatever language they are known."""
        found: dict[str, Question] = {}
        for question in self.questions.values():
            if question.exam == exam:
                found.setdefault(question.question_id, question)
        return list(found.values())


def read_facts(runs: Runs, data_root: str) -> Facts:
    """Read the questions of all runs again, from `data_root` or else from where each run found them.

    Files that are missing, or that are not those of the run (by hash), say nothing; a note says which.
    """
    facts = Facts()
    for folder in (folder for system in runs.systems for folder in system.folders):
        root = data_root or str(folder.configuration.get("data_root", ""))
        try:
            _check_files(folder, root)
            for benchmark, language in _asked(folder):
                _read(facts, benchmark, language, Path(root).expanduser())
        except UserError as error:
            facts.notes.append(_missing(folder, str(error)))
    return facts


def _asked(folder: Folder) -> Iterator[tuple[str, str]]:
    columns = (folder.table[name].to_pylist() for name in ("benchmark", "language"))
    yield from sorted(set(zip(*columns, strict=True)))


def _check_files(folder: Folder, root: str) -> None:
    """UserError if the benchmark files are not there, or not those that the run read."""
    if is_url(root):
        raise UserError(f"data_root: {root} is in object storage; give --data_root with a local copy")
    names = folder.configuration.get("benchmarks") or [folder.configuration.get("benchmark", "")]
    path = Path(root).expanduser()
    files = [file for name in dict.fromkeys(names) for file in catalogue.files_of(str(name), path)]
    if file_hashes(files, path) != folder.identity.get("data"):
        raise UserError(f"the benchmark files under {root} are not those that the run read")


def _read(facts: Facts, benchmark: str, language: str, root: Path) -> None:
    family = family_of(benchmark)
    for question in catalogue.load(benchmark, language, root):
        facts.questions.setdefault((family, language, question.question_id), question)
    for question_id, answers in read_students(benchmark, root).items():
        facts.students.setdefault((family, question_id), answers)


def _missing(folder: Folder, why: str) -> Note:
    return Note(
        part="failures",
        text=Words(
            en=f"The questions of {folder.given} are not known: {why}. Give --data_root with the files of the run.",
            ja=f"{folder.given} の問題の情報がありません：{why}。--data_root で評価時のファイルを指定してください。",
        ),
    )
