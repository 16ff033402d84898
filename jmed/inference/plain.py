"""The plain ways: each option a row of its own, and transformers' own generation.

They suit every model that transformers knows, and the fast ways (`options`, `generation`) are held to them by tests.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from jmed.inference.encoding import EncodedOptions, encode_generation, encode_options
from jmed.inference.request import Answer, Request
from jmed.inference.stopping import AnswerEnd, check_numbers, generated_answer, penalised
from jmed.inference.tensors import pad_left
from jmed.models.loading import LoadedModel


@torch.inference_mode()
def score_rows(loaded: LoadedModel, requests: Sequence[Request]) -> list[Answer]:
    """Score every request's continuations: a row for each distinct option, the model's own logits."""
    encoded = [encode_options(loaded.tokenizer, request, loaded.max_length) for request in requests]
    inputs = [options.rows() for options in encoded]
    keep = max(len(sequence) - options.start for options in encoded for sequence in options.sequences)
    logits = _last_logits(loaded, [row for rows in inputs for row in rows], keep)
    answers = []
    for request, options, rows, own in zip(
        requests, encoded, inputs, logits.split([len(r) for r in inputs]), strict=True
    ):
        logprobs = _sum_logprobs(options, rows, own)
        answers.append(Answer(request.item_id, "", logprobs, options.prompt_tokens, options.scored_tokens))
    return answers


def _last_logits(loaded: LoadedModel, rows: list[tuple[int, ...]], keep: int) -> torch.Tensor:
    """[rows, keep, vocabulary] logits of the last `keep` positions of left-padded rows."""
    ids, mask = pad_left(rows, loaded.pad_id, loaded.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    output = loaded.model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=keep
    )
    return output.logits


def _sum_logprobs(options: EncodedOptions, rows: dict[tuple[int, ...], int], logits: torch.Tensor) -> tuple[float, ...]:
    """Of each option; `rows` are the options' inputs, and `logits` [rows, keep, vocabulary] what they gave."""
    sums = []
    for sequence in options.sequences:
        scored = torch.tensor(sequence[options.start :], device=logits.device)
        logprobs = logits[rows[sequence[:-1]], -len(scored) :].float().log_softmax(-1)
        sums.append(float(logprobs.gather(1, scored[:, None]).double().sum()))
    check_numbers(torch.tensor(sums))
    return tuple(sums)


@torch.inference_mode()
def generate_rows(loaded: LoadedModel, requests: Sequence[Request]) -> list[Answer]:
    """Continue every prompt greedily by transformers' own loop, in which ended rows stay to the end."""
    tokenizer = loaded.tokenizer
    prompts = [encode_generation(tokenizer, request, loaded.max_length) for request in requests]
    ids, mask = pad_left(prompts, loaded.pad_id, loaded.device)
    end = _RowsEnd(AnswerEnd(loaded), ids.shape[1], [request.stop for request in requests])
    output = loaded.model.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=GenerationConfig(
            do_sample=False,
            max_new_tokens=requests[0].max_new_tokens,
            pad_token_id=loaded.pad_id,
            eos_token_id=list(loaded.end_ids) or None,
        ),
        stopping_criteria=StoppingCriteriaList([end]),
        logits_processor=LogitsProcessorList([_Penalty(requests[0].repetition_penalty, mask)]),
    )
    new = [output[i, ids.shape[1] :][: end.lengths.get(i)].tolist() for i in range(len(requests))]
    return [
        generated_answer(tokenizer, request, prompt, tokens)
        for request, prompt, tokens in zip(requests, prompts, new, strict=True)
    ]


class _Penalty(LogitsProcessor):
    """The repetition penalty without counting the padding: a batch must answer as one row does."""

    def __init__(self, penalty: float, mask: torch.Tensor) -> None:
        self.penalty = penalty
        self.padding = mask == 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        check_numbers(scores)
        width = self.padding.shape[1]
        prompt = torch.where(self.padding, input_ids[:, width - 1 : width], input_ids[:, :width])
        return penalised(scores, torch.cat([prompt, input_ids[:, width:]], dim=1), self.penalty)


class _RowsEnd(StoppingCriteria):
    """Ends rows where their answers end; remembers how many tokens each has."""

    def __init__(self, end: AnswerEnd, prompt_length: int, stops: list[str]) -> None:
        self.end, self.prompt_length, self.stops = end, prompt_length, stops
        self.lengths: dict[int, int] = {}  # row → new tokens, of the rows that have ended

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **_: Any) -> torch.BoolTensor:
        for row in range(len(input_ids)):
            new = input_ids[row, self.prompt_length :]
            if row not in self.lengths and self.end(new.tolist(), self.stops[row]):
                self.lengths[row] = len(new)
        ended = [row in self.lengths for row in range(len(input_ids))]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)
