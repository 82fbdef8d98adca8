"""Right answers replayed without a model: how many tokens a step yields when 7 are drafted, for real tasks."""

from pathlib import Path
from random import Random

import pytest

import spark_llm.demo
from spark_llm.demo import ask_fields, ask_reviews, ask_tickets
from spark_llm.demo.generate import SYSTEM_PROMPT
from spark_llm.smartspec.drafters.drafts import Drafts
from spark_llm.smartspec.drafters.forced import ForcedDrafter

tokenizers = pytest.importorskip("tokenizers", reason="comes with the cpu or gpu extra")


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.Tokenizer.from_file(
        str(Path(spark_llm.demo.__file__).parent / "model" / "tokenizer.json")
    )


def tokens_of_a_step(tokenizer, make, together=8, count=80, k=7):
    rng = Random(5)
    end = tokenizer.token_to_id("<|im_end|>")
    waiting = []
    for _ in range(count):
        example = make(rng, "train")
        prompt = f"{SYSTEM_PROMPT}<|im_end|>\nuser\n{example.user}<|im_end|>\nassistant\n<think></think>"
        waiting.append((tokenizer.encode(prompt).ids, [*tokenizer.encode(example.answer).ids, end]))
    drafts, decoding = Drafts(ForcedDrafter(tokenizer.get_vocab_size()), end_ids=[end]), []
    steps = decoded = 0
    while waiting or decoding:
        while waiting and len(decoding) < together:
            prompt, answer = waiting.pop()
            row = drafts.start(prompt, make)
            row.extend(answer[:1])  # comes with the prompt
            decoding.append((row, answer[1:]))
        going_on = []
        for row, rest in decoding:
            draft = row.draft(k).tokens
            right = 0
            while right < len(draft) and draft[right] == rest[right]:
                right += 1
            row.extend(rest[: right + 1])
            steps, decoded = steps + 1, decoded + right + 1
            if rest[right + 1 :]:
                going_on.append((row, rest[right + 1 :]))
            else:
                drafts.learn(make, row.answer_ids)
        decoding = going_on
    return decoded / steps


@pytest.mark.parametrize(
    ("make", "least"),
    [
        (ask_tickets.ticket_customer, 3.0),
        (ask_reviews.review_product, 3.0),
        (ask_fields.copy_text, 4.0),
        (ask_reviews.review_json, 1.8),
        (ask_tickets.ticket_json, 1.8),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_tokens_of_a_step(tokenizer, make, least):
    assert tokens_of_a_step(tokenizer, make) >= least
