"""`python -m tests.perf.loading MODEL`: bytes by which this process grows at most while it loads a model."""

import sys

import torch  # noqa: F401 (its own memory is not the model's)

from jmed.configuration.schema import ModelConfig
from jmed.models.loading import load_model
from jmed.models.source import find_model
from tests.perf.memory import Peak


def main() -> None:
    source = find_model(ModelConfig(path=sys.argv[1]), offline=True)
    import transformers  # noqa: F401

    with Peak() as peak:
        load_model(source)
    print(peak.growth)


if __name__ == "__main__":
    main()
