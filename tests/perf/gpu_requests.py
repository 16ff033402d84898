"""Write the questions that `tests.perf.gpu` asks: `python -m tests.perf.gpu_requests DATA TOKENIZER REQUESTS.json`."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from transformers import AutoTokenizer

from tests.perf.questions import first_items, make_config

COUNTS = {"letters": 200, "options": 200, "generate": 96}
NEW_TOKENS = 64


def main() -> None:
    data, tokenizer, file = sys.argv[1:]
    known = AutoTokenizer.from_pretrained(tokenizer)
    asked = {}
    for method, count in COUNTS.items():
        config = make_config(Path(data), method, max_new_tokens=NEW_TOKENS)
        requests = [item.request for item in first_items(config, known, count)]
        stop = "end" if method == "generate" else "line"  # every answer of the same length
        asked[method] = [asdict(replace(request, stop=stop)) for request in requests]
    Path(file).write_text(json.dumps(asked, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
