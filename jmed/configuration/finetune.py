"""Every key of the jobs that make models: finetune and merge."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from jmed.configuration.schema import JobConfig, Language, ModelConfig, PositiveInt, Section, WorkerSize

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Format = Literal["text", "alpaca", "chat", "mcqa"]
_FORMATS = {"pretrain": ("text",), "instruct": ("alpaca", "chat", "mcqa")}


class DataSource(Section):
    """One set of training data: a file with its format, or the questions of a benchmark."""

    path: str | None = Field(None, description="JSON-lines file")
    format: Format | None = Field(None, description="text, alpaca, chat or mcqa")
    benchmark: str | None = Field(None, description="a benchmark's name, such as yakugakuqa-2015, instead of a path")
    language: Language | None = Field(None, description="its language; questions of another language are left out")
    weight: Positive = Field(1.0, description="how often each example is seen in an epoch; 0.5: every second one")

    @model_validator(mode="after")
    def _one_kind(self) -> "DataSource":
        if (self.path is None) == (self.benchmark is None):
            raise ValueError('give either "path" and "format", or "benchmark"')
        if (self.path is None) != (self.format is None):
            raise ValueError('"format" (text, alpaca, chat, mcqa) goes with "path", and only with it')
        return self

    @property
    def name(self) -> str:
        return self.benchmark or Path(str(self.path)).name


class LoraSection(Section):
    r: PositiveInt = Field(16, description="rank of the adapter")
    alpha: Positive = Field(32.0, description="the adapter's output is scaled by alpha / r")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.05, description="dropout in front of the adapter")
    targets: Literal["all-linear"] | list[str] = Field(
        "all-linear", description="adapted modules by the end of their names; all-linear: every one but the head"
    )


class ZeroSection(Section):
    stage: Literal[0, 2, 3] = Field(
        2,
        description="tuning full: 2 shares out gradients and optimiser state, 3 the weights too (DeepSpeed); "
        "0: every worker holds everything (small models)",
    )

    @field_validator("stage", mode="before")
    @classmethod
    def _number(cls, stage: object) -> object:
        return int(stage) if isinstance(stage, str) and stage.isdecimal() else stage  # a flag's value is text

    offload: Literal["none", "cpu"] = Field("none", description="cpu: optimiser state, at stage 3 weights too, in RAM")


class MemorySection(Section):
    checkpointing: bool = Field(True, description="keep only each layer's input for the backward pass")
    offload_activations: bool = Field(False, description="keep what is saved for the backward pass in host memory")


class CheckpointSection(Section):
    every_steps: PositiveInt = Field(100, description="steps between two checkpoints")
    keep: Literal["last", "best"] = Field(
        "last", description="best: the result is the epoch with the best mean accuracy in evaluate.benchmarks"
    )


class ContaminationSection(Section):
    benchmarks: list[str] = Field(
        [], description="benchmarks that the training data must not hold; evaluate.benchmarks are always checked"
    )
    action: Literal["refuse", "drop", "report"] = Field(
        "refuse", description="refuse: stop and list what overlaps; drop: leave such examples out; report: only say so"
    )


class ExamSection(Section):
    benchmarks: list[str] = Field([], description="dev benchmarks that the model sits while it learns; none: no exam")
    every_epochs: PositiveInt = Field(1, description="epochs between two exams; one always comes before and at the end")
    languages: list[Language] = Field(["ja", "en"], min_length=1, description="languages of the exam")
    method: Literal["generate", "letters", "options"] = Field("options", description="as in evaluate")
    prompt: str | None = Field(None, description="as in evaluate")
    limit: PositiveInt | None = Field(None, description="only the first n questions of each benchmark")


class FinetuneWorkers(WorkerSize):
    count: PositiveInt | Literal["auto"] | Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] = Field(
        "auto", description="workers; [min, max]: the job shrinks and grows with the cluster (lora and qlora)"
    )
    resize_seconds: Positive = Field(
        30.0, description="seconds between two looks at whether the cluster has room for more workers ([min, max] only)"
    )
    max_restarts: Annotated[int, Field(ge=0)] = Field(
        100, description="so often the job goes on from its last checkpoint after a worker was lost"
    )

    @field_validator("count")
    @classmethod
    def _ordered(cls, count: int | str | list[int]) -> int | str | list[int]:
        if isinstance(count, list) and count[0] > count[1]:
            raise ValueError("[min, max] with min not above max")
        return count


class FinetuneConfig(JobConfig):
    """Teach a model: continued pre-training on text, or instruction tuning on questions and answers."""

    model: ModelConfig = Field(description="the model to teach")
    stage: Literal["pretrain", "instruct"] = Field(
        description="pretrain: text, next token; instruct: question and answer, loss on the answer only"
    )
    tuning: Literal["qlora", "lora", "full"] = Field(
        "qlora", description="qlora: adapter on an NF4 base; lora: adapter on a 16-bit base; full: all weights"
    )
    data: list[DataSource] = Field(
        min_length=1,
        description='JSON list of {"path", "format", "language", "weight"} or {"benchmark", "language", "weight"}',
    )
    sequence_length: PositiveInt = Field(
        2048, description="longest sequence in tokens; longer texts are cut into several"
    )
    too_long: Literal["refuse", "drop"] = Field(
        "refuse", description="what becomes of an instruct example that is longer than sequence_length"
    )
    epochs: PositiveInt | None = Field(None, description="passes over the data; 1 if steps is not given either")
    steps: PositiveInt | None = Field(None, description="optimiser steps, instead of epochs")
    global_batch_size: PositiveInt = Field(32, description="sequences an optimiser step, over all workers")
    batch_tokens: PositiveInt = Field(
        4096, description="token budget of one forward pass, padding included; lower it if memory runs out"
    )
    packing: bool = Field(
        False, description="join short sequences in one row; refused where the model lets one see the other"
    )
    learning_rate: Positive = Field(2e-4, description="highest learning rate")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="how it falls after the warm-up")
    warmup: Fraction = Field(0.03, description="share of the steps in which it rises")
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        "adamw", description="adamw_8bit: bitsandbytes' paged 8-bit AdamW (not with zero.stage 2 and 3)"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="decoupled weight decay")
    max_grad_norm: Positive = Field(1.0, description="longer gradients are cut to this length")
    prompt: str = Field("choice-text", description="template of mcqa and benchmark questions, as in evaluate")
    prompt_file: str | None = Field(None, description="YAML file with templates of your own")
    alpaca: Literal["chat", "plain"] = Field(
        "chat", description="how alpaca data is shown: by the model's chat template, or as plain paragraphs"
    )
    lora: LoraSection = Field(LoraSection(), description="the adapter")
    zero: ZeroSection = Field(ZeroSection(), description="how full tuning is spread")
    memory: MemorySection = Field(MemorySection(), description="time for memory")
    checkpoint: CheckpointSection = Field(CheckpointSection(), description="what is kept on the way")
    contamination: ContaminationSection = Field(ContaminationSection(), description="the gate before training")
    evaluate: ExamSection = Field(ExamSection(), description="the exam in the loop")
    preflight_only: bool = Field(False, description="stop after the memory table, before anything is trained")
    tensorboard: bool = Field(True, description="also write TensorBoard files")
    workers: FinetuneWorkers = Field(FinetuneWorkers(), description="how the work is spread")

    @model_validator(mode="after")
    def _consistent(self) -> "FinetuneConfig":
        for check in (self._check_data, self._check_length, self._check_model, self._check_workers, self._check_exam):
            if problem := check():
                raise ValueError(problem)
        return self

    def _check_data(self) -> str | None:
        allowed = _FORMATS[self.stage]
        for number, source in enumerate(self.data):
            if (source.format or "mcqa") not in allowed:
                found = f"format {source.format!r}" if source.format else "a benchmark"
                return f"data[{number}]: found {found}; stage {self.stage} takes {', '.join(allowed)}"
        return None

    def _check_length(self) -> str | None:
        return "epochs and steps: give one of the two" if self.epochs and self.steps else None

    def _check_model(self) -> str | None:
        if self.model.adapter is not None:
            return "model.adapter: training starts from a whole model; fold the adapter in with jobs/merge.py first"
        if self.model.quantization == "nf4" and self.tuning != "qlora":
            return f"model.quantization: nf4 goes with tuning qlora, found tuning {self.tuning}"
        if self.optimizer == "adamw_8bit" and self.sharded:
            return "optimizer: adamw_8bit does not work with zero.stage 2 and 3; choose adamw"
        return None

    def _check_workers(self) -> str | None:
        if self.sharded and isinstance(self.workers.count, list):
            return "workers.count: [min, max] needs tuning lora or qlora: ZeRO's checkpoints fix the number of workers"
        return None

    def _check_exam(self) -> str | None:
        if self.checkpoint.keep == "best" and not self.evaluate.benchmarks:
            return "checkpoint.keep: best needs evaluate.benchmarks to choose by"
        return None

    @property
    def sharded(self) -> bool:
        """Whether DeepSpeed spreads the model's state over the workers."""
        return self.tuning == "full" and self.zero.stage > 0

    @property
    def quantization(self) -> Literal["none", "nf4"]:
        return "nf4" if self.tuning == "qlora" else "none"

    @property
    def gate_benchmarks(self) -> list[str]:
        """Every benchmark that the training data must not hold."""
        return list(dict.fromkeys([*self.contamination.benchmarks, *self.evaluate.benchmarks]))


class MergeConfig(JobConfig):
    """Fold an adapter into its 16-bit base: a model that plain transformers loads."""

    model: ModelConfig = Field(description="the base, with model.adapter")

    @model_validator(mode="after")
    def _whole(self) -> "MergeConfig":
        if self.model.adapter is None:
            raise ValueError("model.adapter is required: the adapter to fold in")
        if self.model.quantization != "none":
            raise ValueError("model.quantization: an adapter is folded into the 16-bit base, never into a 4-bit one")
        return self
