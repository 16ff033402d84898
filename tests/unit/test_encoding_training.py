"""Masks and windows: what the loss counts, read back as text, for tokenizers of several kinds."""

import unicodedata
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from jmed.configuration.finetune import FinetuneConfig
from jmed.data.corpora import benchmark_examples, read_examples
from jmed.data.examples import Example
from jmed.data.question import Question
from jmed.errors import UserError
from jmed.inference.encoding import encode_generation, encode_options, encode_prompt
from jmed.inference.request import Request
from jmed.models.tiny import train_tokenizer
from jmed.prompts.render import render, render_answered
from jmed.prompts.template import find_template
from jmed.training.encoding import Encoded, Encoder

TEXTS = ["高アンモニア血症をきたす疾患はどれか。", "Which disease causes hyperammonemia? \n\n  The answer is b."] * 3
LLAMA_CHAT = (
    "{{ bos_token }}{% for m in messages %}<|head|>{{ m.role }}<|/head|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|head|>assistant<|/head|>\n\n{% endif %}"
)
MISTRAL_CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system message') }}"
    "{% elif m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
template_of = cache(find_template)
USUAL = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TURNS = (("user", "何か。"), ("assistant", "薬です。"))
ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="<\0"), min_size=1, max_size=200)


def llama_like(ends: bool = False) -> Any:
    """A byte-level BPE that puts <s> in front (and </s> behind) and trims blanks from offsets, as Llama 3's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import Qwen2Tokenizer

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    trained.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|head|>", "<|/head|>", "<|eot|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(TEXTS, trainer)
    framed = "<s> $A </s>" if ends else "<s> $A"
    template = processors.TemplateProcessing(single=framed, special_tokens=[("<s>", 0), ("</s>", 1)])
    trained.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, bos_token="<s>", eos_token="</s>", chat_template=LLAMA_CHAT
    )


def mistral_like() -> Any:
    """Blanks as ▁ and unknown characters as bytes, as Llama 2 and Mistral have them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += ["▁", *sorted(set("".join(TEXTS)) - {" "}), "▁b", "an", "▁an", "▁▁"]
    vocabulary = {word: number for number, word in enumerate(words)}
    merges = [("▁", "b"), ("a", "n"), ("▁", "an"), ("▁", "▁")]
    trained = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    trained.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trained.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=MISTRAL_CHAT
    )


@pytest.fixture(scope="module")
def qwen2(qwen2_tokenizer: Path) -> Any:
    return AutoTokenizer.from_pretrained(qwen2_tokenizer, local_files_only=True)


@pytest.fixture(scope="module")
def tokenizers(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {
        "qwen2": request.getfixturevalue("qwen2"),
        "tiny": train_tokenizer(TEXTS, vocabulary=400),
        "llama": llama_like(),
        "ending": llama_like(ends=True),
        "mistral": mistral_like(),
    }


KINDS = ("qwen2", "tiny", "llama", "ending", "mistral")
TURN_ENDS = {"qwen2": "<|im_end|>", "tiny": "<|im_end|>", "llama": "<|eot|>", "ending": "<|eot|>", "mistral": "</s>"}


def configured(format: str = "mcqa", **keys: Any) -> FinetuneConfig:
    base = {
        "model": {"path": "unused"},
        "output_dir": "unused",
        "stage": "pretrain" if format == "text" else "instruct",
        "data": [{"path": "unused", "format": format}],
    }
    return FinetuneConfig.model_validate({**base, **keys})


def one(encoder: Encoder, example: Example) -> Encoded:
    (encoded,) = encoder.encode(example)
    assert len(encoded.ids) == len(encoded.supervised)
    assert not encoded.supervised[0]
    return encoded


def taught(tokenizer: Any, encoded: Encoded) -> str:
    """What the loss counts, as text."""
    return tokenizer.decode([token for token, wanted in zip(encoded.ids, encoded.supervised, strict=True) if wanted])


def chat(*turns: tuple[str, str]) -> Example:
    return Example("data.jsonl:3", None, messages=turns)


def refused(encoder: Encoder, example: Example) -> str:
    with pytest.raises(UserError) as caught:
        encoder.encode(example)
    return str(caught.value)


# --- Questions


def test_a_real_answer_is_read_back(qwen2: Any, data_root: Path) -> None:
    """YakugakuQA 2012 to 2021, every third: what is supervised is the answer and the end, what is not is the prompt."""
    encoder = Encoder(qwen2, configured())
    count = 0
    for year in range(2012, 2022):
        for example in islice(benchmark_examples(f"yakugakuqa-{year}", "ja", data_root), 0, None, 3):
            question, encoded = example.question, one(encoder, example)
            assert question is not None
            start = encoded.supervised.index(True)
            assert all(encoded.supervised[start:])
            answer = ",".join(question.choices[ord(letter) - ord("a")] for letter in question.accepted[0])
            assert taught(qwen2, encoded) == unicodedata.normalize("NFC", f"\n{answer}<|im_end|>")
            assert qwen2.decode(encoded.ids[:start]).endswith("【解答】")
            count += 1
    assert count > 700


BENCHMARKS = ["igakuqa-2018", "jmmlu-anatomy", "mmlu-anatomy", "medqa", "medmcqa", "pubmedqa", "mini"]


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_plain_prompts_are_encoded_as_evaluation_encodes_them(
    qwen2: Any, data_root: Path, paper_prompts: Path, benchmark: str
) -> None:
    templates = [("choice-text", None), ("letters", None)]
    templates += [(name, str(paper_prompts)) for name in yaml.safe_load(paper_prompts.read_text("utf-8"))]
    examples = list(benchmark_examples(benchmark, None, data_root))
    for name, file in templates:
        encoder = Encoder(qwen2, configured(prompt=name, prompt_file=file))
        for example in examples[:: max(1, len(examples) // 6)]:
            question, encoded = example.question, one(encoder, example)
            assert question is not None
            template = template_of(name, question.language, benchmark.split("-")[0], file)
            prompt, answer = render_answered(question, template)
            scored = encode_options(qwen2, Request("x", prompt, (answer,)), 10_000)
            assert encoded.ids == [*scored.sequences[0], qwen2.eos_token_id]
            assert encoded.supervised.index(True) == scored.start
            generated = encode_generation(
                qwen2, Request("x", render(question, template, "generate", (), None).text), 9999
            )
            assert encoded.ids[: len(generated)] == generated
            assert scored.start in (len(generated), len(generated) - 1)  # the prompt's last line end is scored


@pytest.mark.parametrize("kind", KINDS)
def test_chat_prompts_are_encoded_as_evaluation_encodes_them(tokenizers: dict[str, Any], kind: str) -> None:
    tokenizer = tokenizers[kind]
    encoder = Encoder(tokenizer, configured(prompt="chat"))
    for example in benchmark_examples("mini", None, Path()):
        question, encoded = example.question, one(encoder, example)
        assert question is not None

        def apply(messages: list[dict[str, str]]) -> str:
            return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

        template = template_of("chat", question.language, "mini", None)
        request = Request("x", render(question, template, "generate", (), apply).text)
        generated = encode_generation(tokenizer, request, 10_000)
        assert encoded.ids[: len(generated)] == generated
        assert encoded.supervised.index(True) == len(generated)
        answer = ",".join(question.accepted[0])
        assert taught(tokenizer, encoded).strip() == f"{answer}{TURN_ENDS[kind]}"


def test_a_file_has_no_family(qwen2: Any) -> None:
    question = Question("", "1", "en", "Which?", ("iron", "zinc"), (("b",),))
    encoded = one(Encoder(qwen2, configured(prompt="letters")), Example("f:1", "en", question=question))
    assert qwen2.decode(encoded.ids) == "Which?\nA. iron\nB. zinc\nAnswer: B<|im_end|>"
    assert taught(qwen2, encoded) == " B<|im_end|>"


def test_a_token_that_spans_the_border_belongs_to_the_answer(tokenizers: dict[str, Any], tmp_path: Path) -> None:
    """As in evaluation: the answer begins where its tokens depart from those of the prompt alone."""
    file = tmp_path / "prompts.yaml"
    file.write_text('glued: "{question}{choices}\\nhyperam "', encoding="utf-8")
    question = Question("", "1", "en", "Q", ("monemia", "x"), (("a",),))
    tokenizer = tokenizers["tiny"]
    encoder = Encoder(tokenizer, configured(prompt="glued", prompt_file=str(file)))
    encoded = one(encoder, Example("f:1", "en", question=question))
    assert tokenizer.decode(encoded.ids) == "Qmonemia,x\nhyperam monemia<|im_end|>"
    assert taught(tokenizer, encoded) == " monemia<|im_end|>"


def test_an_empty_choice_cannot_be_taught(qwen2: Any) -> None:
    question = Question("", "1", "en", "Which?", (" ", "zinc"), (("a",),))
    for prompt in ("choice-text", "chat"):
        encoder = Encoder(qwen2, configured(prompt=prompt))
        example = Example("f:9", "en", question=question)
        if prompt == "chat":  # it asks for the letter
            assert taught(qwen2, one(encoder, example)) == "a<|im_end|>"
        else:
            assert refused(encoder, example) == "f:9: the text of the right choice is empty; expected text"


def test_an_unknown_prompt_is_refused(qwen2: Any) -> None:
    question = Question("", "1", "en", "Which?", ("iron", "zinc"), (("a",),))
    encoder = Encoder(qwen2, configured(prompt="leters"))
    assert "did you mean 'letters'?" in refused(encoder, Example("f:9", "en", question=question))


# --- Chats


def test_qwen2s_own_template(qwen2: Any) -> None:
    """Every assistant turn with its end; the line end behind it, the system and the user not."""
    example = chat(
        ("system", "医師"), ("user", "熱。"), ("assistant", "肺炎？\n"), ("user", "咳も。"), ("assistant", "肺炎")
    )
    encoded = one(Encoder(qwen2, configured("chat")), example)
    assert qwen2.decode(encoded.ids) == (
        "<|im_start|>system\n医師<|im_end|>\n<|im_start|>user\n熱。<|im_end|>\n<|im_start|>assistant\n肺炎？\n<|im_end|>\n"
        "<|im_start|>user\n咳も。<|im_end|>\n<|im_start|>assistant\n肺炎<|im_end|>\n"
    )
    assert taught(qwen2, encoded) == "肺炎？\n<|im_end|>肺炎<|im_end|>"
    assert not encoded.supervised[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_turn_of_the_assistant_counts(tokenizers: dict[str, Any], kind: str) -> None:
    tokenizer = tokenizers[kind]
    answers = ["The answer is b.\n\n    Which  disease?", "高アンモニア血症　どれか。🫀"]
    example = chat(("user", "Which?"), ("assistant", answers[0]), ("user", "b?\n"), ("assistant", answers[1]))
    encoded = one(Encoder(tokenizer, configured("chat")), example)
    words = [part.strip() for part in taught(tokenizer, encoded).split(TURN_ENDS[kind])]
    assert words == [*answers, ""]
    bos = tokenizer.bos_token_id
    assert encoded.ids.count(bos) == (bos is not None)  # the template has it: never twice
    rendered = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in example.messages], tokenize=False
    )
    assert encoded.ids == encode_prompt(tokenizer, rendered)


@pytest.mark.parametrize("kind", KINDS)
@USUAL
@given(turns=st.lists(ANY_TEXT.filter(str.strip), min_size=1, max_size=3))
def test_no_word_of_the_assistant_is_lost(tokenizers: dict[str, Any], kind: str, turns: list[str]) -> None:
    """Supervised tokens are runs, one a turn, each read back as the turn."""
    tokenizer = tokenizers[kind]
    said = [f"b{turn}b" for turn in turns]  # a line end in front could merge with the template's
    messages = [message for answer in said for message in (("user", "x"), ("assistant", answer))]
    encoded = one(Encoder(tokenizer, configured("chat")), chat(*messages))
    runs: list[list[int]] = []
    for (_, before), (token, wanted) in pairwise(zip(encoded.ids, encoded.supervised, strict=True)):
        if wanted and not before:
            runs.append([])
        if wanted:
            runs[-1].append(token)
    expected = [tokenizer.decode(tokenizer(answer, add_special_tokens=False)["input_ids"]).strip() for answer in said]
    assert [tokenizer.decode(run, skip_special_tokens=True).strip() for run in runs] == expected


def test_a_tokenizer_without_chat_template_is_refused() -> None:
    bare = train_tokenizer(TEXTS, vocabulary=300)
    bare.chat_template = None
    message = refused(Encoder(bare, configured("alpaca")), chat(*TURNS))
    assert "the tokenizer has no chat template" in message
    assert "--alpaca plain" in message
    assert (
        taught(bare, one(Encoder(bare, configured("alpaca", alpaca="plain")), chat(*TURNS))) == "\n\n薬です。<|im_end|>"
    )


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    """Such as one that takes the thinking out of all answers but the last."""
    changing = train_tokenizer(TEXTS, vocabulary=300)
    changing.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content if loop.last else '…' }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    encoder = Encoder(changing, configured("chat"))
    message = refused(encoder, chat(*TURNS, *TURNS))
    assert message.startswith("data.jsonl:3: the model's chat template writes a chat anew")
    changing.chat_template = (
        "{% for m in messages %}{{ m.content }}\n{% endfor %}{{ 'Answer:' if add_generation_prompt }}"
    )
    assert refused(encoder, chat(*TURNS)).startswith("data.jsonl:3: the model's chat template writes a chat anew")


def test_a_chat_that_the_template_refuses(tokenizers: dict[str, Any]) -> None:
    encoder = Encoder(tokenizers["mistral"], configured("chat"))
    message = refused(encoder, chat(("system", "医師"), *TURNS))
    assert message == "data.jsonl:3: the model's chat template refuses this chat: no system message"


def test_a_template_that_leaves_the_answer_out_is_refused() -> None:
    silent = train_tokenizer(TEXTS, vocabulary=300)
    silent.chat_template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    message = refused(Encoder(silent, configured("chat")), chat(*TURNS))
    assert message == "data.jsonl:3: the tokenizer finds no token in its answer; expected words"


# --- Plain paragraphs


@pytest.mark.parametrize("kind", KINDS)
def test_plain_paragraphs(tokenizers: dict[str, Any], kind: str) -> None:
    tokenizer = tokenizers[kind]
    example = chat(("user", "Which disease?"), ("assistant", "The answer is b."))
    encoded = one(Encoder(tokenizer, configured("alpaca", alpaca="plain")), example)
    assert encoded.ids == [*encode_prompt(tokenizer, "Which disease?\n\nThe answer is b."), tokenizer.eos_token_id]
    # Qwen2 has a token of a question mark and line ends: it is none of the question's own.
    assert taught(tokenizer, encoded).removeprefix("?") == f"\n\nThe answer is b.{tokenizer.eos_token}"
    assert encoded.ids.count(tokenizer.bos_token_id) == (tokenizer.bos_token_id is not None)


def test_plain_is_for_alpaca_only(qwen2: Any) -> None:
    data = [{"path": "a", "format": "chat"}, {"path": "b", "format": "alpaca"}]
    encoder = Encoder(qwen2, configured(alpaca="plain", data=data))
    assert taught(qwen2, encoder.encode(chat(*TURNS), 0)[0]) == "薬です。<|im_end|>"
    assert qwen2.decode(encoder.encode(chat(*TURNS), 1)[0].ids) == "何か。\n\n薬です。<|im_end|>"


# --- Too long


def test_what_is_too_long_is_refused_or_dropped(qwen2: Any) -> None:
    example = chat(*TURNS)
    length = len(one(Encoder(qwen2, configured("chat")), example).ids)
    assert one(Encoder(qwen2, configured("chat", sequence_length=length)), example)
    for shorter in (length - 1, 3):  # at 3 the prompt alone is too long
        message = refused(Encoder(qwen2, configured("chat", sequence_length=shorter)), example)
        assert message == (
            f"data.jsonl:3: has {length} tokens with its answer, sequence_length is {shorter}; raise sequence_length, "
            "or leave such examples out with --too_long drop"
        )
        assert Encoder(qwen2, configured("chat", sequence_length=shorter, too_long="drop")).encode(example) == []


# --- Text


def check_windows(tokenizer: Any, text: str, windows: list[Encoded], length: int) -> None:
    whole = [*encode_prompt(tokenizer, text), tokenizer.eos_token_id]
    restored, predicted = [windows[0].ids[0]], 0
    for before, window in zip([None, *windows], windows, strict=False):
        assert 2 <= len(window.ids) == len(window.supervised) <= length
        assert window.supervised == [False] + [True] * (len(window.ids) - 1)
        assert before is None or window.ids[0] == before.ids[-1]
        restored += window.ids[1:]
        predicted += sum(window.supervised)
    assert restored == whole
    assert predicted == len(whole) - 1


@pytest.mark.parametrize("kind", KINDS)
@USUAL
@given(text=ANY_TEXT.filter(str.strip), length=st.integers(2, 40))
def test_windows_lose_nothing(tokenizers: dict[str, Any], kind: str, text: str, length: int) -> None:
    """Together they are the text; each token but the first is predicted once."""
    encoder = Encoder(tokenizers[kind], configured("text", sequence_length=length))
    check_windows(tokenizers[kind], text, encoder.encode(Example("f:1", None, text=text)), length)


def test_real_texts_lose_nothing(qwen2: Any, data_root: Path) -> None:
    encoder = Encoder(qwen2, configured("text", sequence_length=256))
    several = 0
    for example in read_examples(data_root / "corpora" / "case_reports_ja.jsonl", "text", "ja"):
        windows = encoder.encode(example)
        check_windows(qwen2, example.text, windows, 256)
        assert qwen2.decode(windows[-1].ids).endswith("<|im_end|>")
        assert len(windows) == 1 or all(len(window.ids) == 256 for window in windows[:-1])
        several += len(windows) > 1
    assert several > 50


def test_text_begins_as_the_model_expects(tokenizers: dict[str, Any]) -> None:
    encoded = one(Encoder(tokenizers["llama"], configured("text")), Example("f:1", None, text="Which disease?"))
    assert tokenizers["llama"].decode(encoded.ids) == "<s>Which disease?</s>"
    ending = one(Encoder(tokenizers["ending"], configured("text")), Example("f:1", None, text="Which disease?"))
    assert ending == encoded


def test_text_without_tokens_is_refused(tokenizers: dict[str, Any]) -> None:
    class Deaf:
        """A tokenizer whose normaliser takes everything away."""

        bos_token, eos_token, eos_token_id = None, "</s>", 1

        def __call__(self, text: str, **options: bool) -> dict[str, list[int]]:
            return {"input_ids": []}

    message = refused(Encoder(Deaf(), configured("text")), Example("f:1", None, text="\u200b"))
    assert message == "f:1: the tokenizer finds no token in its text; expected words"
    message = refused(Encoder(Deaf(), configured("alpaca", alpaca="plain")), chat(*TURNS))
    assert message == "data.jsonl:3: the tokenizer finds no token in its answer; expected words"


def test_one_token_is_no_sequence(qwen2: Any) -> None:
    encoder = Encoder(qwen2, configured("text", sequence_length=1))
    assert "sequence_length: found 1; expected at least 2" in refused(encoder, Example("f:1", None, text="a"))


def test_a_tokenizer_without_end_is_refused() -> None:
    endless = train_tokenizer(TEXTS, vocabulary=300)
    endless.eos_token = None
    with pytest.raises(UserError, match=r"no end-of-text token \(eos_token\)"):
        Encoder(endless, configured())
