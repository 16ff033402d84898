"""The answers table: one row a question asked, in one schema."""

import pyarrow as pa

ANSWERS = pa.schema(
    [
        ("item_id", pa.string()),
        ("benchmark", pa.string()),
        ("question_id", pa.string()),
        ("language", pa.string()),
        ("prompt", pa.string()),
        ("method", pa.string()),
        ("model", pa.string()),
        ("prompt_text", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("continuations", pa.list_(pa.string())),
        ("option_logprobs", pa.list_(pa.float64())),
        ("response", pa.string()),
        ("prediction", pa.string()),  # letters of the original order, "a,c"; empty: none could be read
        ("gold", pa.string()),  # "a,c", "7.20", "a or d" (either counts), "any"
        ("correct", pa.bool_()),
        ("exact_match", pa.bool_()),  # paper scoring only, and null for questions its evaluator leaves out
        ("gestalt_match", pa.bool_()),
        ("error", pa.string()),
        ("tokens_in", pa.int64()),
        ("tokens_out", pa.int64()),
    ]
)

# The fields of a request, by their names. Workers read them from an Arrow file with a record batch a batch: it is the
# unit that a worker is given, answers and commits.
REQUESTS = pa.schema(
    [
        ("item_id", pa.string()),
        ("prompt", pa.string()),
        ("continuations", pa.list_(pa.string())),
        ("max_new_tokens", pa.int64()),
        ("repetition_penalty", pa.float64()),
        ("stop", pa.string()),
    ]
)

# What is planned: requests, and how they were made of their questions. Some thousand long prompts may pass the 2 GiB of
# a column of `string`.
PLANNED = pa.schema(
    [
        *REQUESTS.set(REQUESTS.get_field_index("prompt"), pa.field("prompt", pa.large_string())),
        ("template", pa.string()),
        ("method", pa.string()),
        ("rotation", pa.int64()),
    ]
)

RAW_ANSWERS = pa.schema(
    [
        ("item_id", pa.string()),
        ("response", pa.string()),
        ("logprobs", pa.list_(pa.float64())),
        ("tokens_in", pa.int64()),
        ("tokens_out", pa.int64()),
        ("error", pa.string()),
    ]
)
