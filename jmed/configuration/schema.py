"""Every key of every job: type, default and meaning, in one place."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from jmed.configuration.addresses import refused_address

Language = Literal["ja", "en"]
PositiveInt = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A group of keys; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelConfig(Section):
    path: str = Field(description="model folder, hub id such as Qwen/Qwen2-7B-Instruct, or s3://bucket/folder")
    adapter: str | None = Field(None, description="PEFT adapter folder, hub id or s3://…, used unmerged")
    revision: str | None = Field(None, description="commit, tag or branch of a hub model")
    quantization: Literal["none", "nf4"] = Field("none", description="nf4: 4-bit weights through bitsandbytes")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: float32 on CPU, bfloat16 on GPUs that have it, else float16"
    )


class WorkerSize(Section):
    gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="GPUs a worker; auto: 1 where the cluster has GPUs, else 0"
    )
    cpus: PositiveInt = Field(1, description="CPUs, and torch threads, a worker")
    labels: dict[str, str] = Field(
        {}, description='only on machines with these Ray labels, such as {"jmed-gpu": "l4"}; empty: on any'
    )
    wait_seconds: Annotated[float, Field(ge=0)] = Field(
        0, description="so long the job waits for machines that the cluster does not have yet, and asks it to grow"
    )


class WorkersConfig(WorkerSize):
    count: PositiveInt | Literal["auto"] = Field(
        "auto", description="workers, each with its own copy of the model; auto: as many as cluster and memory hold"
    )


class JobConfig(Section):
    """Keys that all jobs share."""

    output_dir: str = Field(description="folder for the results; workers on other machines must see it too")
    data_root: str = Field("data", description="folder of the benchmark files in their publishers' layout, or s3://…")
    seed: int = Field(0, description="seed of everything random (the choice of few-shot examples)")
    offline: bool = Field(False, description="forbid every network call: models come from folders or the local cache")
    _given: "JobConfig | None" = PrivateAttr(None)

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        if wrong := refused_address(self.model_dump()):
            raise ValueError(wrong)
        return self

    def localised(self, changes: dict[str, Any]) -> Self:
        """The same with other values, such as folders of this machine for addresses; `as_given` stays."""
        copy = self.model_copy(update=changes)
        copy._given = self.as_given
        return copy

    @property
    def as_given(self) -> Self:
        """The configuration as its user wrote it, for run.yaml."""
        return self._given or self  # type: ignore[return-value]


class EvaluateConfig(JobConfig):
    """Ask a model the questions of benchmarks and score its answers."""

    model: ModelConfig = Field(description="the model to examine")
    benchmarks: list[str] = Field(
        min_length=1, description="names (igakuqa, igakuqa-2018, jmmlu-anatomy, …), mini, or jsonl:PATH"
    )
    languages: list[Language] = Field(
        ["ja", "en"], min_length=1, description="languages to ask in, where a benchmark has them"
    )
    method: Literal["generate", "letters", "options"] = Field(
        "generate",
        description="generate: greedy text; letters: log-probability of the option letter; "
        "options: log-probability of the option text",
    )
    prompt: str | None = Field(
        None, description="template name; default: choice-text for generate and options, letters for letters"
    )
    prompt_file: str | None = Field(None, description="YAML file with templates of your own")
    shots: Annotated[int, Field(ge=0, le=100)] = Field(0, description="few-shot examples before each question")
    limit: PositiveInt | None = Field(None, description="only the first n questions of each benchmark")
    scoring: Literal["strict", "paper"] = Field(
        "strict", description="paper: also the paper's exact and gestalt match, as its evaluator computes them"
    )
    max_new_tokens: PositiveInt = Field(256, description="longest generated answer, in tokens")
    repetition_penalty: Annotated[float, Field(gt=0)] | Literal["model"] = Field(
        1.0,
        description="1: plain greedy decoding; model: what the model's generation_config.json says, "
        "which the paper's evaluator applied",
    )
    rotations: Annotated[int, Field(ge=0)] = Field(
        0,
        description="so many questions of each benchmark, drawn by seed, are asked also with their choices in all "
        "rotations; these answers enter no score",
    )
    batch_tokens: PositiveInt = Field(
        8192, description="token budget of a batch (padding included); lower it if memory runs out"
    )
    workers: WorkersConfig = Field(WorkersConfig(), description="how the work is spread")


class ScoreConfig(JobConfig):
    """Score answers that were produced elsewhere."""

    benchmark: str = Field(description="the benchmark that was answered, such as igakuqa-2018")
    predictions: str = Field(
        description="glob of JSONL files; a line has question_id or problem_id, and prediction (letters) "
        "or response (free text)"
    )
    language: Language = Field("ja", description="language the questions were asked in")
    name: str = Field("imported", description="name of the system, for tables and reports")
    scoring: Literal["strict", "paper"] = Field(
        "strict", description="paper: also the paper's exact and gestalt match, as its evaluator computes them"
    )
    prompt: str = Field("none", description="name of the prompt that was used, for tables and reports")


class CompareConfig(JobConfig):
    """Compare runs of evaluate and score, question by question."""

    runs: list[str] = Field(min_length=2, description="output folders of evaluate or score, two or more")
    base: str = Field(
        "",
        description="the one of runs that the others were adapted from; empty: as the models' lineage says, or "
        "else the first",
    )
    metric: Literal["accuracy", "exact_match", "gestalt_accuracy"] = Field(
        "accuracy", description="what counts as right; the paper's two metrics need runs with scoring paper"
    )
    data_root: str = Field(
        "",
        description="folder of the benchmark files, for specialties, students' answers and prohibited choices; empty: "
        "where each run found them",
    )

    @field_validator("runs")
    @classmethod
    def _different(cls, runs: list[str]) -> list[str]:
        if twice := [one for number, one in enumerate(runs) if one in runs[:number]]:
            raise ValueError(f"each run once; {twice[0]!r} is named twice")
        return runs
