"""Names of what is asked: benchmark/question/language/prompt/method[/variant]."""

from jmed.data.question import Question

_PARTS = 5
_ROTATION = "rotation-"


def make_item_id(question: Question, prompt: str, method: str, rotation: int = 0) -> str:
    """benchmark/question/language/prompt/method[/rotation-N]; a slash inside a part is written %2F: ids stay unique."""
    parts = (question.benchmark, question.question_id, question.language, prompt, method)
    variant = f"/{_ROTATION}{rotation}" if rotation else ""
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts) + variant


def variant_of(item_id: str) -> str:
    """What tells an item from the others of its question, such as `rotation-2`; empty: as published."""
    return "/".join(item_id.split("/")[_PARTS:])


def rotation_of(item_id: str) -> int:
    """By how many places the choices were shown rotated; 0: as published."""
    return int(variant_of(item_id).removeprefix(_ROTATION) or 0)
