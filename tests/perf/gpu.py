"""What one GPU does with a model of Qwen2-7B's shape: `python -m tests.perf.gpu REQUESTS.json TOKENIZER [--small]`.

Needs neither Ray nor pytest. `python -m tests.perf.gpu_requests DATA TOKENIZER REQUESTS.json` writes the questions.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from jmed.evaluation.batches import make_batches
from jmed.inference.engine import Engine
from jmed.inference.plain import score_rows
from jmed.inference.request import Answer, Request
from tests.perf.kit import engine_of, matrix_rate, needed, seconds, wait

QWEN2_7B = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
}  # fmt: skip
SMALL = {**QWEN2_7B, "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2}  # fmt: skip
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build(folder: Path, tokenizer: Path, shape: dict[str, Any]) -> Path:
    """Random weights in bfloat16, on disk as a user's model is."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with DEVICE:
        model = Qwen2ForCausalLM(Qwen2Config(**shape, max_position_embeddings=32768))
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


def memory_rate() -> float:
    """Bytes a second that a copy reads and writes."""
    buffer = torch.empty(2**30 if DEVICE.type == "cuda" else 2**26, dtype=torch.uint8, device=DEVICE)
    other = torch.empty_like(buffer)
    return 2 * buffer.numel() / min(seconds(lambda: other.copy_(buffer)) for _ in range(8))


def run(engine: Engine, requests: Sequence[Request], budget: int) -> list[Answer]:
    items: Any = [SimpleNamespace(request=request, method="options") for request in requests]
    answers = []
    for batch in make_batches(items, engine.loaded.tokenizer, budget, engine.loaded.max_length):
        answers += engine.answer([item.request for item in batch])
    assert not any(answer.error for answer in answers), next(answer.error for answer in answers if answer.error)
    return answers


def peak() -> float:
    """GiB that the allocator held at most since the last call."""
    if DEVICE.type != "cuda":
        return float("nan")
    found = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return found


def scored(engine: Engine, name: str, requests: Sequence[Request], rate: float) -> None:
    """Log-probabilities: equal to the plain way, then timed."""
    loaded = engine.loaded
    few = requests[:8]
    plain = [score_rows(loaded, [request])[0] for request in few]
    fast = {answer.item_id: answer for answer in run(engine, requests, 8192)}
    gaps = [abs(a - b) for one in plain for a, b in zip(one.logprobs, fast[one.item_id].logprobs, strict=True)]
    same = sum(max(one.logprobs) == one.logprobs[_best(fast[one.item_id].logprobs)] for one in plain)
    work = needed(engine, requests)
    tokens = sum(answer.tokens_in + answer.tokens_out for answer in fast.values())
    slow = seconds(lambda: [score_rows(loaded, [request]) for request in few]) / len(few)
    for budget in (8192, 32768):
        peak()
        took = statistics.median(seconds(partial(run, engine, requests, budget)) for _ in range(3))
        print(
            f"{name}, batch_tokens {budget}: {len(requests) / took:.1f} questions/s, {tokens / took:.0f} "
            f"tokens/s, {work / took / rate:.0%} of the matrix rate, {slow * len(requests) / took:.1f} times one at a "
            f"time, peak {peak():.1f} GiB; of {len(few)}: same choice {same}, largest gap {max(gaps):.3f} nats",
            flush=True,
        )


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda place: values[place])


def generated(engine: Engine, requests: Sequence[Request], memory: float) -> None:
    """Answers of equal length, and how near the decoding comes to reading the weights once a token."""
    few = requests[:4]
    alone = [engine.answer([request])[0] for request in few]
    together = {answer.item_id: answer for answer in run(engine, requests, 8192)}
    same = sum(together[one.item_id].response == one.response for one in alone)
    slow = seconds(lambda: [engine.answer([request]) for request in few]) / len(few)
    weights = sum(weight.numel() * weight.element_size() for weight in engine.loaded.model.parameters())
    floor = requests[0].max_new_tokens * weights / memory
    for budget in (8192, 65536):
        peak()
        took = seconds(partial(run, engine, requests, budget))
        tokens = sum(answer.tokens_out for answer in together.values())
        print(
            f"generate, batch_tokens {budget}: {len(requests) / took:.1f} questions/s, {tokens / took:.0f} tokens/s, "
            f"{slow * len(requests) / took:.1f} times one at a time ({slow:.2f} s, {floor / slow:.0%} of the "
            f"memory rate), peak {peak():.1f} GiB; same text in {same} of {len(few)}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--small", action="store_true", help="a tiny model, to try the program")
    parser.add_argument("--model", type=Path, help="a folder that an earlier call left")
    options = parser.parse_args()
    asked = json.loads(options.requests.read_text("utf-8"))
    every = {name: [Request(**{**one, "continuations": tuple(one["continuations"])}) for one in ones]
             for name, ones in asked.items()}  # fmt: skip
    if options.small:
        every = {name: requests[:10] for name, requests in every.items()}
    folder = options.model or Path(tempfile.mkdtemp()) / "model"
    if not folder.exists():
        print(
            f"built in {seconds(lambda: build(folder, options.tokenizer, SMALL if options.small else QWEN2_7B)):.0f} s"
        )
    size = 8192 if DEVICE.type == "cuda" else 1024
    rate, memory = matrix_rate(torch.bfloat16, DEVICE.type, size), memory_rate()
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"
    print(f"{name}: {rate / 1e12:.1f} TFLOP/s in bfloat16, {memory / 1e12:.2f} TB/s; torch {torch.__version__}")
    for quantization in ("none", "nf4"):
        begun = time.perf_counter()
        engine = engine_of(folder, quantization=quantization, dtype="bfloat16")
        wait()
        print(f"--- {quantization}: loaded in {time.perf_counter() - begun:.0f} s, {peak():.1f} GiB", flush=True)
        for method in ("letters", "options"):
            scored(engine, method, every[method], rate)
        generated(engine, every["generate"], memory)
        del engine
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
