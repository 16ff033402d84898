"""The example: what every reader of training data yields and everything after it reads."""

from collections.abc import Iterator
from dataclasses import dataclass

from jmed.data.question import Question

Message = tuple[str, str]  # role ("system", "user", "assistant"), content


@dataclass(frozen=True, slots=True)
class Example:
    """One example of training data: exactly one of text, messages and question is given."""

    place: str  # where it stands: "FILE:line", or "yakugakuqa-2015/100A-1" for a benchmark's question
    language: str | None  # "ja", "en", or None where nobody says
    text: str = ""
    messages: tuple[Message, ...] = ()
    question: Question | None = None

    def parts(self) -> Iterator[str]:
        """Every text in it, for the contamination gate: a question's context, stem and choices one by one."""
        if self.question is not None:
            yield from (part for part in (self.question.context, self.question.text, *self.question.choices) if part)
        elif self.messages:
            yield from (content for _, content in self.messages)
        else:
            yield self.text
