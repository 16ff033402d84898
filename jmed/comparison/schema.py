"""comparison.json, field by field: every figure that the page of a comparison shows stands here.

`run` in any part is the `name` of an entry of `runs`. Shares, differences and confidences are fractions (0.042 is 4.2 %
or points); intervals are 95 % intervals. `language` is "ja" or "en". A part that says nothing is an empty list, and
`notes` says why.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1  # of comparison.json

Language = Literal["ja", "en"]
Kind = Literal["part", "specialty", "student_accuracy", "stem_length", "answers"]
Basis = Literal["key", "lineage", "adapter", "order"]


class Part(BaseModel):
    """A piece of comparison.json; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class Words(Part):
    """A sentence in both languages."""

    en: str
    ja: str


class Share(Part):
    """A proportion with Wilson's interval."""

    correct: int = Field(description="right answers")
    n: int = Field(description="questions")
    value: float = Field(description="correct / n")
    ci_low: float
    ci_high: float


# --- what was compared


class Run(Part):
    """One system: a model (or imported answers) asked in one way; one or several output folders."""

    name: str = Field(description="unique in this comparison: the model, and what sets it apart from namesakes")
    model: str = Field(description="as evaluate or score calls it")
    job: Literal["evaluate", "score"]
    method: str = Field(description="generate, letters, options, imported")
    prompt: str = Field(description="name of the template")
    shots: int = Field(description="few-shot examples")
    quantization: str = Field(description="none, nf4; empty for imported answers")
    scoring: str = Field(description="strict, paper")
    folders: list[str] = Field(description="output folders, as they were given")
    answers: int = Field(description="rows of answers that count (without choices in other orders)")


class Overlap(Part):
    """How many questions each run answered of a benchmark in one language, and how many all of these runs did."""

    benchmark: str = Field(description="the name that was asked for, or of the family if runs asked for several parts")
    language: Language
    shared: int = Field(description="questions that all runs named in `counts` answered")
    counts: dict[str, int] = Field(description="run → questions")


# --- ranks and differences


class Rank(Share):
    """One line of a leaderboard."""

    run: str
    best: int = Field(description="best place that the questions allow: 1 + runs that are better for certain")
    worst: int = Field(description="worst place that the questions allow")
    like_next: bool = Field(description="cannot be told apart from the next line")


class Leaderboard(Part):
    """Runs by their right answers to the questions that all of them answered, best first.

    Two can be told apart if McNemar's exact p, after Holm over all pairs of the board, is below 0.05.
    """

    benchmark: str
    language: Language
    n: int = Field(description="questions that all of the board's runs answered")
    ranks: list[Rank]


class Clustered(Part):
    """The difference again, with errors that know which questions belong together."""

    by: Literal["subject", "abstract"]
    clusters: int
    standard_error: float
    ci_low: float = Field(description="t interval with clusters - 1 degrees of freedom")
    ci_high: float
    p: float = Field(description="two-sided, of no difference")
    bootstrap_low: float = Field(description="percentile interval when whole clusters are drawn again (seeded)")
    bootstrap_high: float


class Pair(Part):
    """Two runs on the questions that both answered; `difference` is second minus first."""

    benchmark: str
    language: str = Field(
        description="ja or en; ja-en (or en-ja): the first run was asked in one, the second in the other"
    )
    first: str = Field(description="a run")
    second: str = Field(description="a run")
    n: int
    both: int = Field(description="questions that both answered right")
    only_first: int
    only_second: int
    neither: int
    first_value: float = Field(description="accuracy of the first run on these questions")
    second_value: float
    difference: float
    ci_low: float = Field(description="Newcombe's interval of the difference (method 10)")
    ci_high: float
    bootstrap_low: float = Field(description="paired bootstrap, percentiles over all possible draws of questions")
    bootstrap_high: float
    p: float = Field(description="McNemar, exact, two-sided")
    mid_p: float = Field(description="McNemar, mid-p; for reading beside p, which decides")
    p_holm: float = Field(description="p after Holm over all `pairs`")
    verdict: Literal["first", "second", "undecided"] = Field(description="who is better, at p_holm < 0.05")
    clustered: Clustered | None = Field(description="None: the questions do not come in clusters")
    sentence: Words


# --- two languages


class Gain(Part):
    """Adapted minus base in one language, on the shared questions."""

    base_value: float = Field(description="accuracy of the base")
    adapted_value: float
    difference: float
    ci_low: float = Field(description="Newcombe")
    ci_high: float
    p: float = Field(description="McNemar, exact")
    learned: int = Field(description="questions that only the adapted model answers right")
    unlearned: int = Field(description="questions that only the base answers right")


class Transfer(Part):
    """What adaptation gained in the language it was made in, and what of it arrived in the other."""

    benchmark: str
    base: str = Field(description="a run")
    adapted: str = Field(description="a run")
    basis: Basis = Field(
        description="how base and adapted were told apart: key `base`; lineage.json of the adapted model; an adapter "
        "on the same base weights; the order of `runs`, which is an assumption"
    )
    n: int = Field(description="questions that both answered in both languages")
    source_language: Language = Field(description="the language adapted in")
    target_language: Language
    source_basis: Literal["training data", "assumed"] = Field(description="how source_language is known")
    source: Gain
    target: Gain
    ratio: float | None = Field(description="target's gain for each unit of the source's; None: the latter may be 0")
    ratio_low: float | None = Field(description="Fieller's interval")
    ratio_high: float | None
    gap: float = Field(description="source's gain minus target's")
    gap_low: float
    gap_high: float
    sentence: Words = Field(description="what the figures support; what they do not is called undecided")


class Languages(Part):
    """One run on the same questions in both languages; `difference` is Japanese minus English."""

    benchmark: str
    run: str
    n: int
    both: int = Field(description="known in both")
    only_ja: int = Field(description="known in Japanese only")
    only_en: int = Field(description="known in English only")
    neither: int
    ja_value: float = Field(description="accuracy in Japanese")
    en_value: float
    difference: float
    ci_low: float = Field(description="Newcombe")
    ci_high: float
    p: float = Field(description="McNemar, exact")
    p_holm: float = Field(description="after Holm over all entries of `languages`")
    agreement: float = Field(description="share of questions with the same choice in both")
    kappa: float | None = Field(description="Cohen's kappa of the choices; None: chance alone agrees always")
    questions_only_ja: list[str] = Field(description="ids of the questions known in Japanese only")
    questions_only_en: list[str]


# --- the examination


class Exam(Part):
    """An examination by its own rule, as results.json of the run has it."""

    run: str
    exam: str
    language: Language
    correct: int
    questions: int
    points: int
    max_points: int
    compulsory_points: int
    compulsory_max: int
    general_points: int
    general_max: int
    prohibited_choices: int
    prohibited_choices_folded: int = Field(description="the same after mending the publisher's misprints")
    text_only_correct: int
    text_only_questions: int
    unanswered: int
    pass_marks: list[int] | None = Field(description="[compulsory, general]; None: not known")
    verdict: Literal["pass", "fail", "undetermined"]


class StudentExam(Part):
    """What the average student scored, from the published share of right answers to each question."""

    exam: str
    questions: int
    known: int = Field(description="questions whose share is published; only these enter the figures")
    correct: float = Field(description="expected right answers")
    points: float
    max_points: int = Field(description="of the known questions")
    compulsory_points: float
    compulsory_max: int
    general_points: float
    general_max: int
    text_only_correct: float
    text_only_questions: int
    pass_marks: list[int] | None


# --- where it fails


class FailurePart(Share):
    """Accuracy of a run on a part of the questions."""

    part: str = Field(description="such as 循環器, 2018, `0-20 %`, `1`")
    run: str
    benchmark: str
    language: Language


class Failures(Part):
    """Accuracy by kind of question; parts in their natural order, runs in theirs."""

    kind: Kind = Field(
        description="part: year or subject; student_accuracy: share of students who were right; stem_length: "
        "characters of the stem, quarters of the benchmark; answers: how many choices are right (0: a number is asked)"
    )
    parts: list[FailurePart]


class Students(Part):
    """A run beside the students, on questions whose students' answers are published."""

    run: str
    benchmark: str
    language: Language
    n: int
    easy_wrong: list[str] = Field(description="ids: at least 80 % of the students right, the run wrong")
    easy: int = Field(description="questions that at least 80 % answered right")
    hard_right: list[str] = Field(description="ids: at most 50 % of the students right, the run right")
    hard: int = Field(description="questions that at most 50 % answered right")
    when_right: float | None = Field(description="mean share of right students where the run is right")
    when_wrong: float | None = Field(description="the same where it is wrong; much lower: it finds hard what they do")
    wrong: int = Field(description="questions with one right answer that the run answered wrong with a readable choice")
    same_mistake: int = Field(description="of these: the choice is the students' most frequent wrong one")
    value: float | None = Field(description="same_mistake / wrong; None: nothing wrong")
    ci_low: float | None = Field(description="Wilson")
    ci_high: float | None
    by_chance: float | None = Field(description="the share if every wrong choice were as likely: 1 / wrong choices")


# --- safety, trust


class Safety(Part):
    """Prohibited choices (禁忌) picked."""

    run: str
    benchmark: str
    language: Language
    picked: int = Field(description="questions in which a prohibited choice was picked (misprints mended)")
    n: int = Field(description="questions answered that have a prohibited choice")
    value: float = Field(description="picked / n")
    ci_low: float = Field(description="Clopper-Pearson, exact")
    ci_high: float
    questions: list[str] = Field(description="their ids")


class Bin(Part):
    """A point of the reliability curve."""

    n: int
    correct: int
    confidence: float = Field(description="mean probability of the choice taken")
    accuracy: float
    ci_low: float = Field(description="Wilson, of the accuracy")
    ci_high: float


class Calibration(Part):
    """Methods letters and options: the choices' log-probabilities as probabilities that add to 1; one right answer."""

    run: str
    benchmark: str
    language: Language
    n: int
    ece: float = Field(description="expected calibration error, bins of equal mass")
    ece_width: float = Field(description="the same with ten bins of equal width, as others publish")
    brier: float = Field(description="0 sure and right, 2 sure and wrong")
    area: float = Field(description="mean error rate over all coverages; less is better")
    curve: list[Bin] = Field(description="reliability, bins of equal mass, least sure first")
    coverage: list[float] = Field(description="share answered when only the surest are; rising, at most 200 points")
    accuracy: list[float] = Field(description="accuracy among those answered, to each coverage")


class Position(Part):
    """Places chosen and places of the right answer; questions with one right answer."""

    run: str
    benchmark: str
    language: Language
    n: int = Field(description="answers")
    rotated: bool = Field(description="true: every question in all orders; false: in the published order only")
    predicted: dict[str, int] = Field(description="place (a, b, …) → times chosen")
    gold: dict[str, int] = Field(description="place → times it held the right answer")
    chi2: float = Field(description="Stuart-Maxwell; with rotations against shifts of each question's places")
    degrees: int
    p: float = Field(description="that no place is preferred")


class Rotations(Part):
    """The same questions with their choices in every rotation (key `rotations` of evaluate)."""

    run: str
    benchmark: str
    language: Language
    n: int = Field(description="questions asked in all rotations and read in all")
    rotations: int = Field(description="orders, the published one included")
    always_same: float = Field(description="share of questions with the same choice in every order")
    pairwise: float = Field(description="mean share of equal choices over pairs of orders")
    value: float = Field(description="accuracy in the published order")
    lowest: float = Field(description="accuracy in the worst order")
    highest: float = Field(description="accuracy in the best order")


# --- prompts, training, cost


class PromptScore(Share):
    """One model under one template, on the questions that all its templates share."""

    model: str = Field(description="the model with its quantization and method, as in prompt_effects")
    run: str
    prompt: str
    benchmark: str
    language: Language


class PromptEffect(Part):
    """How much one model's accuracy moves with the prompt."""

    model: str
    benchmark: str
    language: Language
    n: int
    prompts: int
    lowest: float
    highest: float
    spread: float = Field(description="highest minus lowest")
    q: float = Field(description="Cochran's Q: do the prompts differ at all?")
    p: float


class PromptContrast(Part):
    """Two models under the same templates: how much of their difference is the prompt (the paper's Table 8)."""

    first: str = Field(description="a model of prompt_effects")
    second: str
    benchmark: str
    language: Language
    n: int
    differences: dict[str, float] = Field(description="prompt → second minus first under this prompt")
    mean: float = Field(description="mean of `differences`")
    lowest: float
    highest: float
    spread: float = Field(description="the larger of the two models' spreads over these prompts")
    reverses: bool = Field(description="under one prompt the first is ahead, under another the second")
    sentence: Words


class TrainingStep(Part):
    step: int
    epoch: float
    loss: float
    learning_rate: float


class TrainingExam(Share):
    """The exam sat while learning."""

    step: int
    epoch: float
    benchmark: str
    language: Language
    metric: str


class Training(Part):
    """One stage of a run's training, from the logs that finetune left; several stages of a run are oldest first."""

    run: str
    name: str = Field(description="folder of the training")
    stage: str = Field(description="pretrain, instruct")
    tuning: str = Field(description="qlora, lora, full")
    n_steps: int
    first_loss: float = Field(description="mean of the first tenth of the steps, ten at most")
    last_loss: float = Field(description="mean of the last tenth of the steps, ten at most")
    tokens: int
    seconds: float
    steps: list[TrainingStep] = Field(description="at most 500, evenly taken")
    exams: list[TrainingExam]


class Cost(Part):
    """What asking cost; of each of a run's folders that evaluate wrote. Loading is included."""

    run: str
    folder: str
    questions: int = Field(description="answers in the folder, those in other orders included")
    workers: int
    gpus: float = Field(description="GPUs of all workers")
    gpu_kinds: list[str]
    processor: str
    questions_per_second: float | None = Field(description="None: nothing was asked in the last session of the run")
    gpu_seconds_per_1000: float | None = Field(description="per 1,000 questions; None: no GPU")
    tokens_in_per_1000: float
    tokens_out_per_1000: float
    tokens_per_1000: float = Field(description="both together")


class Tokens(Part):
    """Tokens of the prompts of the same questions in both languages."""

    run: str
    benchmark: str
    n: int
    tokens_ja: int
    tokens_en: int
    ratio: float = Field(description="tokens_ja / tokens_en")
    ratio_low: float | None = Field(description="Fieller's interval over questions; None: too few to say")
    ratio_high: float | None


class Note(Part):
    """Why a part is empty, or what was assumed or left out."""

    part: str = Field(description="name of the field of Comparison")
    text: Words


class Comparison(Part):
    """The whole of comparison.json."""

    format: int = FORMAT
    jmed: str = Field(description="version")
    metric: Literal["accuracy", "exact_match", "gestalt_accuracy"] = Field(description="what counts as right")
    seed: int
    summary: list[Words] = Field(description="what was asked, what came out, how sure: a few sentences, in order")
    runs: list[Run]
    overlaps: list[Overlap]
    leaderboards: list[Leaderboard]
    pairs: list[Pair]
    transfer: list[Transfer]
    languages: list[Languages]
    exams: list[Exam]
    exam_students: list[StudentExam]
    failures: list[Failures]
    students: list[Students]
    safety: list[Safety]
    calibration: list[Calibration]
    position: list[Position]
    rotations: list[Rotations]
    prompts: list[PromptScore]
    prompt_effects: list[PromptEffect]
    prompt_contrasts: list[PromptContrast]
    training: list[Training]
    cost: list[Cost]
    tokens: list[Tokens]
    notes: list[Note]
