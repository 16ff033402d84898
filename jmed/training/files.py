"""What the files of a training run are called."""

# In the run folder
TRAIN_LOG = "train_log.jsonl"
EXAM_LOG = "exam_log.jsonl"
CONTAMINATION = "contamination.json"
BOARD = "tensorboard"

# In `unfinished`, while it lasts
TOKENS = "tokens.arrow"
DATA_REPORT = "data.json"
CHECKPOINTS = "checkpoints"
BEST = "best"  # the result of the best epoch so far
STOP_ASKED = "stop-asked"  # there: save a last checkpoint and end
STATE = "state.json"  # in each checkpoint and in BEST: the step, and how good it was
RESULT = "result"  # the trained adapter or model, before it is put in its place
