"""The engine: a batch of requests in, one answer each out, whatever happens."""

import gc
import warnings
from collections.abc import Sequence

import torch

from jmed.inference.allocator import keep_freed_memory
from jmed.inference.fast import Fast, unsuitable
from jmed.inference.generation import generate
from jmed.inference.onednn import use_onednn
from jmed.inference.options import score_trees
from jmed.inference.plain import generate_rows, score_rows
from jmed.inference.request import Answer, PromptTooLong, Request
from jmed.inference.tree import area
from jmed.models.loading import LoadedModel


class Engine:
    """Answers batches with one loaded model."""

    def __init__(self, loaded: LoadedModel, batch_tokens: int | None = None) -> None:
        """`batch_tokens`: most that this machine computes at once, padding included; None: whatever a batch holds."""
        self.loaded, self.batch_tokens = loaded, batch_tokens
        if loaded.device.type == "cpu":
            keep_freed_memory()
            use_onednn(loaded.model)
        if why := unsuitable(loaded):
            warnings.warn(f"the plain, slow way is used for this model, because {why}", stacklevel=2)
        self.fast = None if why else Fast(loaded)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer a request, in order. A request that fails is asked again on its own before it counts as failed."""
        try:
            if self._fits(requests):
                return self._run(requests)
            half = len(requests) // 2
        except torch.AcceleratorError:
            raise  # after it nothing works in this process: the job must end, and asks the rest when started again
        except Exception as error:
            if len(requests) == 1:
                return [Answer(requests[0].item_id, error=_explain(error))]
            half = 1 if isinstance(error, PromptTooLong) else len(requests) // 2
        self._free_memory()
        if half == 1:
            return [answer for request in requests for answer in self.answer([request])]
        return self.answer(requests[:half]) + self.answer(requests[half:])

    def _fits(self, requests: Sequence[Request]) -> bool:
        if self.batch_tokens is None or len(requests) == 1:
            return True
        return area(self.loaded.tokenizer, requests, self.loaded.max_length) <= self.batch_tokens

    def _run(self, requests: Sequence[Request]) -> list[Answer]:
        if self.fast is None:
            return (score_rows if requests[0].continuations else generate_rows)(self.loaded, requests)
        return (score_trees if requests[0].continuations else generate)(self.fast, requests)

    @staticmethod
    def _free_memory() -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _explain(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, PromptTooLong) else f"{type(error).__name__}: {lines[0]}"[:500]
