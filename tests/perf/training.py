"""A QLoRA step of jmed and of TRL's SFTTrainer on the same model, adapter and tokens.

`python -m tests.perf.training SIDE MODEL SHARE` prints the peak memory of some steps above the loaded model, in bytes.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jmed.configuration.finetune import FinetuneConfig
from jmed.models.source import find_model
from jmed.training.batch import Batch
from jmed.training.model import load_learner
from jmed.training.parallel import DataParallel
from tests.perf.kit import THREADS
from tests.perf.memory import Peak

ROWS, WIDTH = 1, 1024
RATE, RANK = 1e-4, 16
STEPS = 2  # whose memory is looked at


def make_batch(vocabulary: int, share: float) -> Batch:
    """Whole rows without padding, the last `share` of each row supervised."""
    ids = torch.randint(3, vocabulary, (ROWS, WIDTH), generator=torch.Generator().manual_seed(0))
    supervised = torch.zeros(ROWS, WIDTH, dtype=torch.bool)
    supervised[:, max(1, round(WIDTH * (1 - share))) :] = True
    return Batch(ids, supervised, torch.ones_like(ids), None)


class Ours:
    """What the loop does in a step."""

    def __init__(self, model: Path) -> None:
        config = FinetuneConfig.model_validate(
            {
                "model": {"path": str(model), "dtype": "float32", "quantization": "nf4"}, "stage": "instruct",
                "tuning": "qlora", "data": [{"path": "none", "format": "mcqa"}], "output_dir": "none",
                "lora": {"r": RANK, "alpha": RANK, "dropout": 0.0}, "sequence_length": WIDTH,
            }
        )  # fmt: skip
        loaded = load_learner(find_model(config.model, True), config, torch.device("cpu"))
        self.model = loaded.model
        self.backend = DataParallel(loaded.model, config, torch.float32, loaded.stored)
        self.model.train()

    def step(self, batch: Batch) -> float:
        tokens = int(batch.supervised.sum())
        return self.backend.update(RATE, self.backend.backward(batch, tokens, True))[0]


class Trl:
    """What SFTTrainer does in a step: its own `training_step`, clipping and optimiser."""

    def __init__(self, model: Path, folder: Path) -> None:
        import datasets
        from peft import LoraConfig
        from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
        from trl import SFTConfig, SFTTrainer

        quantised = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )  # fmt: skip
        self.trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(model, quantization_config=quantised, dtype=torch.float32),
            args=SFTConfig(
                output_dir=str(folder), per_device_train_batch_size=ROWS, max_length=WIDTH, learning_rate=RATE,
                lr_scheduler_type="constant", report_to="none", use_cpu=True, bf16=False, fp16=False,
                dataset_kwargs={"skip_prepare_dataset": True}, disable_tqdm=True,
            ),
            train_dataset=datasets.Dataset.from_dict({"input_ids": [[1] * WIDTH]}),
            processing_class=AutoTokenizer.from_pretrained(model),
            peft_config=LoraConfig(
                r=RANK, lora_alpha=RANK, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )  # fmt: skip
        self.model = self.trainer.model
        self.trainer.create_optimizer()
        self.trainer.current_gradient_accumulation_steps = 1  # set by its `train`, which is not called
        self.model.train()

    def step(self, batch: Batch) -> float:
        inputs = {
            "input_ids": batch.ids, "attention_mask": batch.mask,
            "labels": torch.where(batch.supervised, batch.ids, -100),
        }  # fmt: skip
        loss = self.trainer.training_step(self.model, inputs)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.trainer.optimizer.step()
        self.trainer.optimizer.zero_grad()
        return float(loss)


def set_adapter(side: Ours | Trl, weights: dict[str, np.ndarray]) -> None:
    """Give it these trained weights; it must have the same ones."""
    own = trained(side.model)
    assert weights.keys() == own.keys()
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(torch.from_numpy(weights[name]))


def trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def main() -> None:
    side, model, share = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    torch.set_num_threads(THREADS)
    one = Ours(model) if side == "jmed" else Trl(model, model.parent / "trl")
    batch = make_batch(one.model.config.vocab_size, share)
    with Peak() as peak:
        for _ in range(STEPS):
            one.step(batch)
    print(peak.growth)


if __name__ == "__main__":
    main()
