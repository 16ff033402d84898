"""The live line, and the counts behind it."""

import io
import time

from jmed.distributed.progress import LOG_SECONDS, LiveLine, Progress
from jmed.distributed.watch import training_count


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rate_and_time_left_leave_out_the_start_and_what_was_done_before() -> None:
    progress = Progress(110, 10, "questions")
    progress.since -= 100  # a model that loads for 100 s
    first = progress.add(20)
    assert (first.line, first.rate, first.seconds_left) == ("30/110 questions (27 %)", None, None)
    begun = progress.since
    progress.add(30, errors=2)
    count = progress.count(begun + 10)
    assert count.line == "60/110 questions (54 %), 3.0/s, 0:17 left"
    assert (count.done, count.total, count.rate, count.errors) == (60, 110, 3.0, 2)
    assert round(count.seconds_left or 0) == 17
    assert count.short == "60/110 questions"


def test_a_job_of_one_batch_has_a_rate_at_its_end() -> None:
    progress = Progress(100, 0, "questions")
    progress.since -= 50
    assert progress.add(100).line == "100/100 questions (100 %), 2.0/s, 0:00 left"


def test_an_empty_total_is_no_error() -> None:
    assert Progress(0, 0, "questions").count(time.monotonic()).line == "0/0 questions (0 %)"


def test_a_log_gets_a_line_now_and_then() -> None:
    stream = io.StringIO()
    line = LiveLine(stream)
    assert not line.due(line.at + LOG_SECONDS - 1)
    assert line.due(line.at + LOG_SECONDS)
    line.show("one")
    line.show("one")
    line.show("two")
    line.end()
    assert stream.getvalue() == "one\ntwo\n"


def test_a_terminal_line_is_rewritten() -> None:
    stream = Terminal()
    line = LiveLine(stream)
    assert line.due(line.at + 1)
    line.show("a long one")
    line.show("short")
    line.note("a word that stays")
    line.show("short")
    line.end()
    line.end()
    assert stream.getvalue() == "\r\033[Ka long one\r\033[Kshort\r\033[Ka word that stays\n\r\033[Kshort\n"


def test_a_closed_stream_does_not_end_the_job() -> None:
    stream = io.StringIO()
    line = LiveLine(stream)
    line.show("one")
    stream.close()
    line._write("two")


def test_the_line_of_a_training_is_that_of_its_last_steps() -> None:
    rows = [{"step": step, "loss": 3 - step / 100, "seconds": 2.0, "tokens": 500} for step in range(1, 31)]
    count = training_count(rows, 40)
    assert count.line == "step 30/40, loss 2.7000, 250 tokens/s, 0:20 left"
    assert (count.done, count.total, count.unit, count.rate) == (30, 40, "steps", 0.5)
    assert training_count([], 40).done == 0
