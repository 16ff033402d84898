"""lm-evaluation-harness beside jmed: the same prompts character for character, the same log-probabilities."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from jmed.configuration.schema import EvaluateConfig, ModelConfig
from jmed.data import catalogue
from jmed.evaluation.items import Item
from jmed.evaluation.marks import best_options
from jmed.evaluation.plan import Plan, plan_evaluation
from jmed.inference.encoding import encode_options, encode_prompt
from jmed.inference.engine import Engine
from jmed.inference.request import Request
from jmed.models.loading import load_model
from jmed.models.source import find_model
from jmed.models.tiny import build_tiny_model
from jmed.prompts.render import render
from jmed.prompts.template import find_template

lm_eval = pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness, which the dev extra installs")

Doc = dict[str, Any]
Asked = tuple[str, tuple[str, ...]]  # prompt, continuations

TOLERANCE = 1e-4
CONTEXT = 4096
TASKS = {
    "medmcqa": "medmcqa/medmcqa.yaml",
    "medqa": "medqa/medqa.yaml",
    "pubmedqa": "pubmedqa/pubmedqa.yaml",
}
SUBJECTS = ("anatomy", "college_medicine", "human_sexuality", "professional_medicine")


# --- prompts


def read_lines(path: Path) -> list[Doc]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def medmcqa_docs(root: Path) -> dict[str, Doc]:
    """Rows as the harness's own copy on the hub has them, which counts the right answers from zero."""
    return {row["id"]: {**row, "cop": row["cop"] - 1} for row in read_lines(root / "medmcqa" / "dev.json")}


def medqa_docs(root: Path) -> dict[str, Doc]:
    rows = read_lines(root / "medqa" / "phrases_no_exclude_test.jsonl")
    return {str(line): _medqa_doc(row) for line, row in enumerate(rows, 1)}


def _medqa_doc(row: Doc) -> Doc:
    endings = {f"ending{i}": row["options"][letter] for i, letter in enumerate("ABCD")}
    return {"sent1": row["question"], "sent2": "", **endings, "label": "ABCD".index(row["answer_idx"])}


def pubmedqa_docs(root: Path) -> dict[str, Doc]:
    rows = json.loads((root / "pubmedqa" / "ori_pqal.json").read_text("utf-8"))
    test = json.loads((root / "pubmedqa" / "test_ground_truth.json").read_text("utf-8"))
    keys = ("QUESTION", "CONTEXTS", "final_decision")
    return {number: {key: row[key] for key in keys} for number, row in rows.items() if number in test}


def mmlu_docs(root: Path, split: str, subject: str) -> dict[str, Doc]:
    with (root / "mmlu" / split / f"{subject}_{split}.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    return {
        f"{subject}-{number}": {"question": row[0], "choices": row[1:5], "answer": "ABCD".index(row[5])}
        for number, row in enumerate(rows, 1)
    }


DOCS = {"medmcqa": medmcqa_docs, "medqa": medqa_docs, "pubmedqa": pubmedqa_docs}


def harness_asks(task: str, docs: dict[str, Doc], shots: Sequence[Doc] = (), **changes: Any) -> dict[str, Asked]:
    """What the harness's own task gives the model for each doc, by question id; only the download is replaced."""
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(Path(lm_eval.__path__[0]) / "tasks" / task) | {"num_fewshot": len(shots)} | changes
    asked = datasets.Dataset.from_list([{"question_id": number, **doc} for number, doc in docs.items()])
    examples = datasets.Dataset.from_list(list(shots)) if shots else asked
    names = {config.get(f"{kind}_split") for kind in ("training", "validation", "test", "fewshot")} - {None}
    splits = {name: asked if name == config["test_split"] else examples for name in names}
    built = ConfigurableTask(config={**config, "custom_dataset": lambda **_: splits})
    built.build_all_requests()
    found: dict[str, Asked] = {}
    for instance in built.instances:
        number, (prompt, continuation) = instance.doc["question_id"], instance.args
        _, continuations = found.get(number, (prompt, ()))
        found[number] = prompt, (*continuations, continuation)
    return found


def plan(root: Path, tokenizer: Any, **keys: Any) -> Plan:
    config = EvaluateConfig(model=ModelConfig(path="none"), output_dir="none", data_root=str(root), **keys)
    return plan_evaluation(config, tokenizer, CONTEXT)


def jmed_asks(root: Path, benchmark: str, shots: int = 0, limit: int | None = None) -> dict[str, Asked]:
    """What jmed gives the model for each question, by question id."""

    def no_tokens(texts: list[str]) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0] for _ in texts]}

    planned = plan(root, no_tokens, benchmarks=[benchmark], method="letters", shots=shots, limit=limit)
    return {item.question.question_id: (item.request.prompt, item.request.continuations) for item in planned.items}


def assert_same(ours: dict[str, Asked], theirs: dict[str, Asked]) -> None:
    assert ours.keys() == theirs.keys()
    for number, asked in theirs.items():
        assert ours[number] == asked


@pytest.mark.parametrize("benchmark", TASKS)
def test_prompts_are_those_of_the_harness(data_root: Path, benchmark: str) -> None:
    expected = harness_asks(TASKS[benchmark], DOCS[benchmark](data_root))
    assert len(expected) in (500, 1273, 4183)
    assert_same(jmed_asks(data_root, benchmark), expected)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_mmlu_prompts_are_those_of_the_harness(data_root: Path, subject: str) -> None:
    expected = harness_asks(f"mmlu/default/mmlu_{subject}.yaml", mmlu_docs(data_root, "test", subject))
    assert len(expected) > 100
    assert_same(jmed_asks(data_root, f"mmlu-{subject}"), expected)


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("count", [2, 5])
def test_mmlu_examples_are_those_of_the_harness(data_root: Path, subject: str, count: int) -> None:
    docs = dict(list(mmlu_docs(data_root, "test", subject).items())[:10])
    dev = list(mmlu_docs(data_root, "dev", subject).values())
    expected = harness_asks(f"mmlu/default/mmlu_{subject}.yaml", docs, dev, num_fewshot=count)
    assert len(expected) == 10
    assert all(prompt.count("Answer:") == count + 1 for prompt, _ in expected.values())
    assert_same(jmed_asks(data_root, f"mmlu-{subject}", count, limit=10), expected)


@pytest.mark.parametrize("benchmark", TASKS)
def test_examples_are_written_as_the_harness_writes_them(data_root: Path, benchmark: str) -> None:
    """Which examples are drawn is each program's own; given the same ones, both write the same text."""
    docs = DOCS[benchmark](data_root)
    questions = catalogue.load(benchmark, "en", data_root)
    shots, asked = questions[:3], questions[3:9]
    template = find_template("letters", "en", benchmark, None)
    ours = {}
    for question in asked:
        prompt = render(question, template, "letters", shots, None)
        ours[question.question_id] = prompt.text, prompt.continuations
    expected = harness_asks(
        TASKS[benchmark],
        {number: docs[number] for number in ours},
        [docs[shot.question_id] for shot in shots],
        fewshot_config={"sampler": "first_n"},
    )
    assert_same(ours, expected)


# --- log-probabilities


@dataclass(frozen=True)
class Pair:
    """The same model in both programs."""

    engine: Engine
    harness: Any  # lm_eval.models.huggingface.HFLM


@pytest.fixture(scope="module", autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer(qwen2_tokenizer: Path) -> Any:
    return AutoTokenizer.from_pretrained(qwen2_tokenizer, local_files_only=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """Qwen2's shape and real tokenizer, random weights."""
    return build_tiny_model(tmp_path_factory.mktemp("base"), tokenizer, hidden=64, layers=2, context=CONTEXT)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A LoRA adapter whose B matrices are random, so that it changes every answer."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def plain(base: Path) -> Pair:
    return load_pair(base, None)


@pytest.fixture(scope="module")
def adapted(base: Path, adapter: Path) -> Pair:
    return load_pair(base, str(adapter))


def load_harness(base: Path, adapter: str | None = None, batch_size: int = 1, device: str = "cpu") -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(base), peft=adapter, dtype="float32", device=device, batch_size=batch_size)


def load_pair(base: Path, adapter: str | None) -> Pair:
    """The model of a folder in both programs."""
    config = ModelConfig(path=str(base), adapter=adapter, dtype="float32")
    loaded = load_model(find_model(config, offline=True))
    harness = load_harness(base, adapter, batch_size=4, device=loaded.device.type)
    return Pair(Engine(loaded), harness)


def jmed_scores(engine: Engine, batches: Sequence[Sequence[Item]]) -> dict[str, tuple[float, ...]]:
    """Log-probabilities by item id."""
    found = {}
    for batch in batches:
        for answer in engine.answer([item.request for item in batch]):
            assert answer.error is None
            found[answer.item_id] = answer.logprobs
    return found


def harness_scores(harness: Any, items: Sequence[Item]) -> dict[str, tuple[float, ...]]:
    """Log-probabilities by item id, through the harness's public way in."""
    from lm_eval.api.instance import Instance

    pairs = [(item.request, text) for item in items for text in item.request.continuations]
    instances = [Instance("loglikelihood", {}, (request.prompt, text), 0) for request, text in pairs]
    scores = harness.loglikelihood(instances, disable_tqdm=True)
    return _by_item(pairs, scores)


def harness_scores_of_tokens(harness: Any, items: Sequence[Item], tokenizer: Any) -> dict[str, tuple[float, ...]]:
    """As `harness_scores`, but told which tokens to score, where the two programs split a text differently."""
    pairs, split = [], []
    for item in items:
        encoded = encode_options(tokenizer, item.request, CONTEXT)
        for text, sequence in zip(item.request.continuations, encoded.sequences, strict=True):
            pairs.append((item.request, text))
            start = encoded.start
            split.append(((item.request.prompt, text), list(sequence[:start]), list(sequence[start:])))
    return _by_item(pairs, harness._loglikelihood_tokens(split, disable_tqdm=True))


def _by_item(pairs: list[tuple[Request, str]], scores: list[tuple[float, bool]]) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for (request, _), (logprob, _) in zip(pairs, scores, strict=True):
        found[request.item_id] = (*found.get(request.item_id, ()), logprob)
    return found


def assert_equal_scores(ours: dict[str, tuple[float, ...]], theirs: dict[str, tuple[float, ...]]) -> None:
    assert ours.keys() == theirs.keys()
    for item_id, logprobs in theirs.items():
        assert ours[item_id] == pytest.approx(logprobs, abs=TOLERANCE, rel=0), item_id
        assert len(set(logprobs)) > 1
        assert best_options(ours[item_id], 1) == [logprobs.index(max(logprobs))]


def merges(item: Item, tokenizer: Any) -> bool:
    """Whether a token lies across the border of prompt and continuation."""
    prompt = encode_prompt(tokenizer, item.request.prompt.rstrip())
    return encode_options(tokenizer, item.request, CONTEXT).start != len(prompt)


LETTERED = ("igakuqa-2018", "medqa", "medmcqa", "mmlu-anatomy", "pubmedqa")


@pytest.mark.parametrize("benchmark", LETTERED)
def test_letters_have_the_log_probabilities_of_the_harness(
    data_root: Path, tokenizer: Any, plain: Pair, benchmark: str
) -> None:
    planned = plan(data_root, tokenizer, benchmarks=[benchmark], method="letters", limit=3)
    assert len(planned.items) == (6 if benchmark == "igakuqa-2018" else 3)
    assert not any(merges(item, tokenizer) for item in planned.items)
    assert_equal_scores(jmed_scores(plain.engine, planned.batches), harness_scores(plain.harness, planned.items))


@pytest.mark.parametrize(
    ("benchmark", "prompt", "languages"),
    [("igakuqa-2018", "letters", ["ja", "en"]), ("igakuqa-2018", "choice-text", ["ja"]), ("medqa", "letters", ["en"])],
)
def test_options_have_the_log_probabilities_of_the_harness(
    data_root: Path, tokenizer: Any, plain: Pair, benchmark: str, prompt: str, languages: list[str]
) -> None:
    planned = plan(
        data_root, tokenizer, benchmarks=[benchmark], languages=languages, method="options", prompt=prompt, limit=2
    )
    assert not any(merges(item, tokenizer) for item in planned.items)
    assert_equal_scores(jmed_scores(plain.engine, planned.batches), harness_scores(plain.harness, planned.items))


def test_a_merged_border_scores_the_whole_token(data_root: Path, tokenizer: Any, plain: Pair) -> None:
    """English `choice-text` ends in "]\\n", one token; the harness would score what follows "]" without a line break.

    jmed scores the sequence that the model really sees; the harness agrees once it is told the same border.
    """
    planned = plan(data_root, tokenizer, benchmarks=["igakuqa-2018"], languages=["en"], method="options", limit=2)
    assert all(merges(item, tokenizer) for item in planned.items)
    ours = jmed_scores(plain.engine, planned.batches)
    assert_equal_scores(ours, harness_scores_of_tokens(plain.harness, planned.items, tokenizer))
    untold = harness_scores(plain.harness, planned.items)
    assert all(ours[item_id] != pytest.approx(untold[item_id], abs=TOLERANCE) for item_id in ours)


@pytest.mark.parametrize("method", ["letters", "options"])
def test_an_adapter_has_the_log_probabilities_of_the_harness(
    data_root: Path, tokenizer: Any, plain: Pair, adapted: Pair, method: str
) -> None:
    planned = plan(data_root, tokenizer, benchmarks=["igakuqa-2018"], method=method, prompt="letters", limit=1)
    ours = jmed_scores(adapted.engine, planned.batches)
    assert_equal_scores(ours, harness_scores(adapted.harness, planned.items))
    without = jmed_scores(plain.engine, planned.batches)
    assert all(ours[item_id] != pytest.approx(without[item_id], abs=0.1) for item_id in ours)
