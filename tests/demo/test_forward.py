from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MODEL = Path(__file__).parents[2] / "spark_llm" / "demo" / "model"

# Importing torch and transformers takes seconds.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return transformers.Qwen3ForCausalLM.from_pretrained(MODEL, dtype=torch.float32)


def test_the_training_forward_pass_is_that_of_transformers(model):
    from spark_llm.demo.forward import body, logits

    tokens = torch.randint(300, 2000, (3, 40), generator=torch.Generator().manual_seed(0))
    tokens[:, :8] = tokens[0, :8]
    with torch.no_grad():
        expected = model(input_ids=tokens).logits[:, 8:]
        _, past = body(model, tokens[:1, :8], None)
        hidden, _ = body(model, tokens[:, 8:], past)
        found = logits(model, hidden)
    # bfloat16 products against float32 ones.
    assert (found - expected).abs().mean() < 0.03 * expected.abs().mean()


def test_the_model_is_small_and_tied(model):
    assert sum(p.numel() for p in model.parameters()) <= 12_000_000
    assert model.config.tie_word_embeddings
    assert (MODEL / "model.safetensors").stat().st_size <= 25_000_000


def test_the_rate_falls_to_zero_at_the_last_step():
    from spark_llm.demo.train import KNOTS, schedule

    last = KNOTS[-1][0]
    assert 0 < schedule(0) < schedule(40) == 1
    assert 0 < schedule(last - 1) < 0.01
    assert schedule(last) == 0
