"""The fast ways ask more of a model than the plain ones; here is which models they suit."""

from contextlib import ExitStack
from typing import Any

import torch

from jmed.inference.cache import Beginning
from jmed.inference.head import Vocabulary
from jmed.models.loading import LoadedModel, unwrapped

# Settings of architectures whose logits are not what the head gives: capped or scaled behind it.
BEHIND_THE_HEAD = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")


class Fast:
    """The parts of a model that the fast ways call: its layers and its vocabulary head."""

    def __init__(self, loaded: LoadedModel) -> None:
        whole = unwrapped(loaded.model)
        self.loaded, self.backbone = loaded, whole.base_model
        self.vocabulary = Vocabulary(whole.get_output_embeddings())
        self.layers: int = whole.config.get_text_config().num_hidden_layers
        self.beginning = Beginning(self.backbone, self.layers, loaded.device)
        self.last = _by_token(self.backbone)

    def read_at(self, rows: torch.Tensor, columns: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """[places, width] last hidden states at these places, of the backbone with these inputs.

        What the last layer does with each token alone, it does only there: nothing behind it looks at others.
        """
        with ExitStack() as hooks:
            for module in self.last:
                _run_at(module, rows, columns, hooks)
            return self.backbone(**inputs).last_hidden_state[rows, columns]


def _by_token(backbone: Any) -> list[Any]:
    """Parts of the last layer that look at each token alone, and give one tensor; as most models call them.

    Keys and values are needed of all tokens.
    """
    layers = getattr(backbone, "layers", None)
    if not layers:
        return []
    attention, feed_forward = (getattr(layers[-1], name, None) for name in ("self_attn", "mlp"))
    parts = [getattr(attention, name, None) for name in ("q_proj", "o_proj")]
    if hasattr(feed_forward, "down_proj"):  # experts give more than one tensor
        parts.append(feed_forward)
    return [part for part in parts if part is not None]


def _run_at(module: Any, rows: torch.Tensor, columns: torch.Tensor, hooks: ExitStack) -> None:
    """Let a module compute only these places of its input, and give zeros elsewhere, as long as the hooks are there."""
    shape = torch.Size()

    def gather(module: Any, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        nonlocal shape
        shape = given[0].shape[:-1]
        return (given[0][rows, columns][None],)

    def scatter(module: Any, given: Any, output: torch.Tensor) -> torch.Tensor:
        whole = output.new_zeros(*shape, output.shape[-1])
        whole[rows, columns] = output[0]
        return whole

    hooks.enter_context(module.register_forward_pre_hook(gather))
    hooks.enter_context(module.register_forward_hook(scatter))


def unsuitable(loaded: LoadedModel) -> str | None:
    """Why the fast ways do not suit a model; None: they do."""
    whole = unwrapped(loaded.model)
    config = whole.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"]) - {"full_attention"}
    if kinds:
        return f"it has layers of another kind than full attention ({', '.join(sorted(kinds))})"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return "its attention has a sliding window"
    if config._attn_implementation != "sdpa" or not whole._supports_attention_backend:
        return f"its attention ({config._attn_implementation}) cannot be replaced by ours"
    if changed := [name for name in BEHIND_THE_HEAD if getattr(config, name, None) not in (None, 1, 1.0)]:
        return f"it changes its logits behind the vocabulary head ({changed[0]})"
    if not isinstance(whole.get_output_embeddings(), torch.nn.Module):
        return "it has no vocabulary head of its own"
    return None
