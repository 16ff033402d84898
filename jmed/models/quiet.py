"""Libraries that talk where nobody asked them."""

import os


def quiet_libraries() -> None:
    """Keep transformers' and DeepSpeed's notices and progress bars out of a job's output; errors still come."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # otherwise DeepSpeed looks for others and warns
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
