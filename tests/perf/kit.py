"""The model that is timed, the rate of this machine, and pairs of runs."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from jmed.configuration.schema import ModelConfig
from jmed.inference.encoding import encode_options
from jmed.inference.engine import Engine
from jmed.inference.onednn import is_available, linear
from jmed.inference.request import Request
from jmed.inference.tree import plant
from jmed.models.loading import LoadedModel, load_model
from jmed.models.source import find_model

THREADS = 2
PAIRS = 5
HIDDEN, LAYERS = 512, 8
LINE = 12  # tokens


def build_model(
    folder: Path,
    tokenizer_folder: Path,
    talks_in_lines: bool = False,
    hidden: int = HIDDEN,
    layers: int = LAYERS,
    shard: str = "50GB",
) -> Path:
    """Qwen2's shape with its real vocabulary, random weights, float32; as it is, 102 million parameters."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=not talks_in_lines,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    if talks_in_lines:
        _teach_lines(model, tokenizer)
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder


def _teach_lines(model: Any, tokenizer: Any) -> None:
    """Make it end a line after LINE tokens and go on with the next, as base models do: whatever it is asked.

    Random models repeat themselves before they ever end a line. The layers stay as they are, but the embeddings are
    so long that the head sees the last token behind them: each token of the line has the next one's row of the head.
    """
    (line_break,) = tokenizer("\n")["input_ids"]
    line = tokenizer("a b c d e f g h i j k l")["input_ids"]
    assert len(set(line)) == LINE
    embedding, head = model.get_input_embeddings().weight.data, model.get_output_embeddings().weight.data
    begin = torch.randn(embedding.shape[1])
    embedding.normal_()
    others = torch.ones(len(embedding), dtype=torch.bool)
    others[line] = False
    embedding[others] += begin
    head.mul_(0.5)
    head[line[0]] = begin
    head[[*line[1:], line_break]] = embedding[line]


def wait() -> None:
    """Until the GPU, if there is one, has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work: Callable[[], Any]) -> float:
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def time_pairs(peer: Callable[[], Any], ours: Callable[[], Any]) -> tuple[list[float], float]:
    """Peer's time over ours, once a pair, in alternating order; and the shortest time of ours in seconds."""
    ratios, own_times = [], []
    for number in range(PAIRS):
        if number % 2 == 0:
            theirs, own = seconds(peer), seconds(ours)
        else:
            own, theirs = seconds(ours), seconds(peer)
        ratios.append(theirs / own)
        own_times.append(own)
    return ratios, min(own_times)


def matrix_rate(dtype: torch.dtype = torch.float32, device: str = "cpu", size: int = 2048, tries: int = 12) -> float:
    """Floating-point operations a second of a matrix product, the best of some; on a CPU of both its libraries."""
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    ways: list[Callable[[], torch.Tensor]] = [lambda: one @ other]
    if device == "cpu" and is_available():
        ways.append(lambda: linear(one, other, None))
    return 2 * size**3 / min(seconds(way) for way in ways for _ in range(tries))


def loaded_of(folder: Path, **keys: Any) -> LoadedModel:
    """The model of a folder, as transformers runs it; `keys` are of `model` in the configuration."""
    return load_model(find_model(ModelConfig(path=str(folder), **keys), offline=True))


def engine_of(folder: Path, **keys: Any) -> Engine:
    """The engine of a model folder."""
    return Engine(loaded_of(folder, **keys))


def needed(engine: Engine, requests: Iterable[Request]) -> float:
    """Floating-point operations of the requests' trees: nothing computed twice, no padding."""
    loaded = engine.loaded
    trees = [plant(encode_options(loaded.tokenizer, request, loaded.max_length)) for request in requests]
    tokens, places = sum(map(len, trees)), sum(1 + len(tree.tokens) for tree in trees)
    return operations(loaded.model, tokens, places, sum(len(tree) ** 2 // 2 for tree in trees))


def operations(model: Any, tokens: int, places: int, attention: int) -> float:
    """Floating-point operations that are needed for `tokens` through the layers, `places` through the vocabulary head,
    and `attention` pairs of tokens."""
    linear = [one for one in model.base_model.layers.modules() if isinstance(one, torch.nn.Linear)]
    layers = sum(one.in_features * one.out_features for one in linear)  # of the shape: NF4 weights are packed
    config = model.config
    head = config.vocab_size * config.hidden_size
    return 2.0 * (layers * tokens + head * places) + 4.0 * config.hidden_size * config.num_hidden_layers * attention
