"""An example as token ids, and which of them the loss counts."""

from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from jmed.configuration.finetune import FinetuneConfig
from jmed.data.examples import Example
from jmed.data.examples import Message as Turn
from jmed.errors import UserError
from jmed.inference.encoding import encode_prompt, encode_with_offsets, split_pair
from jmed.prompts.render import Message, render_answered
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

    def encode(self, example: Example, source: int = 0) -> list[Encoded]:
        """A text gives as many windows as it needs; an instruct example one, or none if it is too long and may be.

        `source` is the number of its data source in the configuration.
        """
        if example.question is not None:
            return self._whole(example, self._question(example))
        if not example.messages:
            return self._windows(example)
        if self.config.alpaca == "plain" and self.config.data[source].format == "alpaca":
            (_, asked), (_, answer) = example.messages
            return self._whole(example, self._pair(example.place, f"{asked}\n\n", answer))
        return self._whole(example, self._chat(example.place, example.messages))

    def _windows(self, example: Example) -> list[Encoded]:
        """Windows of sequence_length. Each but the first begins with the last token of the one before, unsupervised,
        so that every token is predicted exactly once."""
        ids = encode_prompt(self.tokenizer, example.text)
        if not ids:
            raise UserError(f"{example.place}: the tokenizer finds no token in its text; expected words")
        ids = [*ids, self.tokenizer.eos_token_id]
        step = self.config.sequence_length - 1
        if step < 1:
            raise UserError("sequence_length: found 1; expected at least 2, or nothing can be predicted")
        parts = [ids[start : start + step + 1] for start in range(0, len(ids) - 1, step)]
        return [Encoded(part, [False] + [True] * (len(part) - 1)) for part in parts]

    def _whole(self, example: Example, encoded: Encoded) -> list[Encoded]:
        if len(encoded.ids) <= self.config.sequence_length:
            return [encoded]
        if self.config.too_long == "drop":
            return []
        raise UserError(
            f"{example.place}: has {len(encoded.ids):,} tokens with its answer, sequence_length is "
            f"{self.config.sequence_length:,}; raise sequence_length, or leave such examples out with --too_long drop"
        )

    def _question(self, example: Example) -> Encoded:
        assert example.question is not None
        template = self._template(example.question.language, example.question.benchmark)
        prompt, answer = render_answered(example.question, template)
        if not answer.strip():
            raise UserError(f"{example.place}: the text of the right choice is empty; expected text")
        if template.chat:
            return self._chat(example.place, (("user", prompt), ("assistant", answer)))
        return self._pair(example.place, prompt, answer)

    def _pair(self, place: str, prompt: str, answer: str) -> Encoded:
        """Prompt and answer, split as evaluation splits them, and the end-of-text token that stops generation."""
        ids, start = split_pair(self.tokenizer, prompt, answer)
        if start == len(ids):
            raise _nothing_to_learn(place)
        start = max(start, 1)
        ids = [*ids, self.tokenizer.eos_token_id]
        return Encoded(ids, [False] * start + [True] * (len(ids) - start))

    def _chat(self, place: str, messages: tuple[Turn, ...]) -> Encoded:
        """Every assistant turn is supervised, with the token that ends it; the line end behind that is not."""
        turns: list[Message] = [{"role": role, "content": content} for role, content in messages]
        text = self._render(place, turns)
        spans = self._assistant_spans(place, turns, text)
        ids, offsets = encode_with_offsets(self.tokenizer, text)
        # Some tokenizers report a blank as an empty span at its end: it is one of the assistant's words all the same.
        supervised = [any(first <= start < last for first, last in spans) for start, _ in offsets]
        if not any(supervised):
            raise _nothing_to_learn(place)
        return Encoded(ids, [False, *supervised[1:]])

    def _assistant_spans(self, place: str, turns: list[Message], text: str) -> list[tuple[int, int]]:
        """Where in the chat's text the assistant speaks, [first, last).

        Stock templates do not mark it, so each turn is found as what it adds to the prompt that it answers.
        """
        spans = []
        for number, turn in enumerate(turns):
            if turn["role"] == "assistant":
                before = self._render(place, turns[:number], add_generation_prompt=True)
                after = self._render(place, turns[: number + 1])
                if not (text.startswith(after) and after.startswith(before)):
                    raise UserError(
                        f"{place}: the model's chat template writes a chat anew for every turn instead of adding the "
                        "turn behind it, so the assistant's words cannot be told apart; use a tokenizer with another "
                        "chat template, for questions another prompt, for alpaca data --alpaca plain"
                    )
                spans.append((len(before), len(after.rstrip())))
        return spans

    def _render(self, place: str, messages: list[Message], add_generation_prompt: bool = False) -> str:
        """A chat as the text that the model reads."""
        if not self.tokenizer.chat_template:
            raise UserError(
                "model.path: the tokenizer has no chat template, which chats, prompt chat and alpaca data need; use an "
                "instruction-tuned model's tokenizer, or --alpaca plain for alpaca data"
            )
        if not self.tokenizer.is_fast:
            raise UserError("model.path: chats need a fast tokenizer (tokenizer.json), which this model lacks")
        try:
            return self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as error:  # some allow no system message
            raise UserError(f"{place}: the model's chat template refuses this chat: {error}") from None

    def _template(self, language: str, benchmark: str) -> Template:
        key = language, benchmark.split("-")[0]
        if key not in self.templates:
            self.templates[key] = find_template(self.config.prompt, *key, self.config.prompt_file)
        return self.templates[key]


def _nothing_to_learn(place: str) -> UserError:
    return UserError(f"{place}: the tokenizer finds no token in its answer; expected words")
