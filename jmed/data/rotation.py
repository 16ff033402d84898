"""A question with its choices rotated: over all rotations each choice stands at each place once."""

from dataclasses import replace

from jmed.data.question import LETTERS, Question


def rotate(question: Question, by: int) -> Question:
    """The same question with choice number `by` (from 0) shown first, then the next ones, then those before it."""
    if not by:
        return question
    count = len(question.choices)

    def moved(letter: str) -> str:
        return LETTERS[(LETTERS.index(letter) - by) % count] if letter in list(LETTERS[:count]) else letter

    return replace(
        question,
        choices=question.choices[by:] + question.choices[:by],
        accepted=tuple(tuple(sorted(map(moved, answer))) for answer in question.accepted),
        prohibited=tuple(map(moved, question.prohibited)),
    )


def published_letters(letters: tuple[str, ...], by: int, count: int) -> tuple[str, ...]:
    """What letters of the rotated order are called in the published one, sorted."""
    return tuple(sorted(LETTERS[(LETTERS.index(letter) + by) % count] for letter in letters))
