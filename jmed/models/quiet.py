"""Libraries that talk where nobody asked them."""

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Keep the libraries' notices and progress bars out of a job's output; errors still come."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # otherwise DeepSpeed looks for others and warns
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\..*")  # peft calls old names
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
