"""Inputs that lie in object storage: benchmark, training, prediction and template files, copied to this machine.

Models and adapters are not among them: `jmed.models.source` finds these, on every machine that needs them.
"""

import glob
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from jmed.configuration.finetune import DataSource, FinetuneConfig
from jmed.configuration.schema import EvaluateConfig, ScoreConfig
from jmed.data import catalogue
from jmed.storage.address import is_url, url_in

Config = TypeVar("Config", EvaluateConfig, FinetuneConfig, ScoreConfig)

_GLOB = re.compile(r"[*?\[]")


def localise(config: Config) -> Config:
    """The configuration with folders and files of this machine; `as_given` still is what the user wrote.

    The names of own benchmarks (`jsonl:URL`) stay, since tables show them: their files are copied, and the catalogue
    finds the copies.
    """
    named = list(dict.fromkeys(_benchmarks(config)))
    changes: dict[str, Any] = dict(_files(config))
    if is_url(config.data_root) and (families := _families(named)):
        changes["data_root"] = _data_root(config.data_root, families)
    for name in named:
        if url := url_in(name):
            _file(url, f"benchmark {name!r}")
    return config.localised(changes) if changes else config


def _benchmarks(config: EvaluateConfig | FinetuneConfig | ScoreConfig) -> Iterator[str]:
    """Every benchmark that is read."""
    if isinstance(config, EvaluateConfig):
        yield from config.benchmarks
    elif isinstance(config, ScoreConfig):
        yield config.benchmark
    else:
        yield from config.gate_benchmarks
        yield from (source.benchmark for source in config.data if source.benchmark)


def _files(config: EvaluateConfig | FinetuneConfig | ScoreConfig) -> Iterator[tuple[str, Any]]:
    """(key, new value) of the keys that name single files."""
    if isinstance(config, ScoreConfig):
        if is_url(config.predictions):
            yield "predictions", _predictions(config.predictions)
    elif config.prompt_file and is_url(config.prompt_file):
        yield "prompt_file", _file(config.prompt_file, "prompt_file")
    if isinstance(config, FinetuneConfig):
        yield "data", [_data_source(source, f"data[{number}].path") for number, source in enumerate(config.data)]


def _data_source(source: DataSource, key: str) -> DataSource:
    if source.path is None or not is_url(source.path):
        return source
    return source.model_copy(update={"path": _file(source.path, key)})


def _file(url: str, key: str) -> str:
    from jmed.storage.mirror import local_file  # here and below: whoever has no URL needs no pyarrow file systems

    return str(local_file(url, key))


def _families(names: list[str]) -> list[str]:
    """Folders of data_root that these benchmarks are read from; unknown names are left to the catalogue to refuse."""
    heads = dict.fromkeys(name.partition("-")[0] for name in names)
    return [head for head in heads if head in catalogue.FAMILIES and catalogue.FAMILIES[head].layout]


def _data_root(url: str, families: list[str]) -> str:
    from jmed.storage.mirror import local_folder

    return str(local_folder(url, "data_root", families))


def _predictions(url: str) -> str:
    """A glob over copies of the objects that may match; which do, glob itself decides."""
    from jmed.storage.mirror import local_folder

    if not (found := _GLOB.search(url)):
        return glob.escape(_file(url, "predictions"))
    root = url[: url.rindex("/", 0, found.start())]
    pattern = url[len(root) + 1 :]
    # `*` matches a slash here, so this takes too much rather than too little.
    loose = pattern.replace("**/", "*")
    folder = local_folder(root, "predictions", wanted=lambda name: fnmatchcase(name, loose), what=pattern)
    return f"{glob.escape(str(folder))}/{pattern}"
