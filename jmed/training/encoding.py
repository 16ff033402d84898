"""An example as token ids, and which of them the loss counts."""

from dataclasses import dataclass
from typing import Any

from jmed.configuration.finetune import FinetuneConfig
from jmed.data.examples import Example, Message
from jmed.data.question import Question
from jmed.errors import UserError
from jmed.inference.encoding import encode_prompt, split_pair
from jmed.prompts.render import ChatTemplate, render_answered
from jmed.prompts.template import Template, find_template


@dataclass(frozen=True)
class Encoded:
    """One sequence. `supervised[i]`: the loss counts the prediction of `ids[i]`; never the first, which has no past."""

    ids: list[int]
    supervised: list[bool]


class Encoder:
    """Encodes examples for one configuration; questions through the prompts of evaluation."""

    def __init__(self, tokenizer: Any, config: FinetuneConfig) -> None:
        self.tokenizer, self.config = tokenizer, config
        self.templates: dict[tuple[str, str], Template] = {}
        if tokenizer.eos_token_id is None:
            raise UserError("model.path: the tokenizer has no end-of-text token (eos_token), so no answer could end")

    def encode(self, example: Example) -> list[Encoded]:
        """A text gives as many windows as it needs; an instruct example one, or none if it is too long and may be."""
        if example.question is not None:
            return self._whole(example, self._question(example.place, example.question))
        if example.messages and self.config.alpaca == "plain" and len(example.messages) == 2:
            return self._whole(example, self._plain(*(content for _, content in example.messages)))
        if example.messages:
            return self._whole(example, self._chat(example.place, list(example.messages)))
        return self._windows(example)

    def _windows(self, example: Example) -> list[Encoded]:
        """Windows of sequence_length. Each but the first begins with the last token of the one before, unsupervised,
        so that every token is predicted exactly once."""
        ids = [*encode_prompt(self.tokenizer, example.text), self.tokenizer.eos_token_id]
        step = self.config.sequence_length - 1
        if step < 1:
            raise UserError("sequence_length: found 1; expected at least 2, or nothing can be predicted")
        parts = [ids[start : start + step + 1] for start in range(0, len(ids) - 1, step)]
        return [Encoded(part, [False] + [True] * (len(part) - 1)) for part in parts]

    def _whole(self, example: Example, encoded: Encoded) -> list[Encoded]:
        if not any(encoded.supervised):
            raise UserError(f"{example.place}: its answer has no tokens of its own; expected text")
        if len(encoded.ids) <= self.config.sequence_length:
            return [encoded]
        if self.config.too_long == "drop":
            return []
        raise UserError(
            f"{example.place}: has {len(encoded.ids):,} tokens with its answer, sequence_length is "
            f"{self.config.sequence_length:,}; raise sequence_length, or leave such examples out with --too_long drop"
        )

    def _question(self, place: str, question: Question) -> Encoded:
        template = self._template(question)
        prompt, answer = render_answered(question, template)
        if template.chat:
            return self._chat(place, [("user", prompt), ("assistant", answer)])
        return self._pair(prompt, answer)

    def _plain(self, asked: str, answer: str) -> Encoded:
        return self._pair(f"{asked}\n\n", answer)

    def _pair(self, prompt: str, answer: str) -> Encoded:
        """Prompt and answer, split as evaluation splits them, and the end-of-text token that stops generation."""
        ids, start = split_pair(self.tokenizer, prompt, answer)
        ids = [*ids, self.tokenizer.eos_token_id]
        start = max(start, 1)
        return Encoded(ids, [False] * start + [True] * (len(ids) - start))

    def _chat(self, place: str, messages: list[Message]) -> Encoded:
        """Every assistant turn is supervised, with the token that ends it.

        Stock templates do not mark the assistant's words, so each turn is found as what it adds to the chat before it.
        """
        apply = self._chat_template()
        turns = [{"role": role, "content": content} for role, content in messages]
        whole = self._render(turns)
        spans = []
        for number, turn in enumerate(turns):
            if turn["role"] == "assistant":
                before, after = apply(turns[:number]), self._render(turns[: number + 1])
                if not (whole.startswith(after) and after.startswith(before)):
                    raise UserError(
                        f"{place}: the model's chat template changes earlier turns when a later one is added, "
                        "so the assistant's words cannot be told apart; use a template that appends"
                    )
                spans.append((len(before), len(after.rstrip())))
        return self._spans(whole, spans)

    def _spans(self, text: str, spans: list[tuple[int, int]]) -> Encoded:
        begins = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
        coded = self.tokenizer(text, add_special_tokens=not begins, return_offsets_mapping=True)
        supervised = [
            end > start and any(first <= start < last for first, last in spans)
            for start, end in coded["offset_mapping"]
        ]
        return Encoded(list(coded["input_ids"]), [False, *supervised[1:]])

    def _template(self, question: Question) -> Template:
        family = question.benchmark.split("-")[0] or "jsonl"
        key = question.language, family
        if key not in self.templates:
            self.templates[key] = find_template(self.config.prompt, *key, self.config.prompt_file)
        return self.templates[key]

    def _render(self, messages: list[dict[str, str]]) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False)

    def _chat_template(self) -> ChatTemplate:
        if not self.tokenizer.chat_template:
            raise UserError(
                "model.path: the tokenizer has no chat template, which chats, prompt chat and alpaca data need; use an "
                "instruction-tuned model's tokenizer, or --alpaca plain for alpaca data"
            )

        def apply(messages: list[dict[str, str]]) -> str:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

        return apply
