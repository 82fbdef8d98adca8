"""Which rows are worth the large model? Routing policies replayed over stored answers of six models.

Both arms of a pair have answered every question, so that a policy's gain is known without asking. A policy
sees 200 labelled questions at most and ranks all others. Questions are in two halves by the parity of the
MD5 of their id: signals and strengths were chosen on the even half, and what is reported is the odd one
(`--half all` takes every question, for tables that nothing was chosen on). The published policy's category
classifier is trained on the other half, with all its labels. `words` of the stored answers stand
for tokens.

APGR is the area under the share of the accuracy gap that is recovered, over the share of rows that get the
costly arm; CPT50 and CPT80 are the shares of rows at which half and 80 % of the gap are recovered (RouteLLM).
Rows with equal scores are taken in random order, in expectation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from spark_llm.router.budget import Budget
from spark_llm.router.calibration import auc, ece
from spark_llm.router.logistic import sigmoid
from spark_llm.router.pilot import PilotOutcome
from spark_llm.router.router import Router
from spark_llm.router.semantic_router import TABLES, decide_all
from spark_llm.router.signals import Signals
from spark_llm.router.text import TFIDF, TextClassifier, embed, packaged_model

LEAST_APGR, MOST_CPT80, MOST_ECE, MOST_BUDGET_ERROR = 0.62, 0.57, 0.05, 0.05
WINDOWS_ROWS = (100, 500)
BUDGET_SHARES = (0.1, 0.3, 0.5)
SHARES = (0.2, 0.5)
ONE = "cascade: length, second model agrees"
TWO = "cascade: length, two models agree"


@dataclass(frozen=True)
class Pair:
    """A cheap and a costly model, and the small ones whose agreement with the cheap one is a signal."""

    name: str
    cheap: str
    costly: str
    second: str
    third: str


PAIRS = (
    Pair("8b to 70b", "llama31_8b", "llama31_70b", "phi3_mini", "qwen15_7b"),
    Pair("flash to pro", "gemini15_flash", "gemini15_pro", "phi3_mini", "llama31_8b"),
)
MODELS = sorted({model for pair in PAIRS for model in (pair.cheap, pair.costly, pair.second, pair.third)})


def main() -> None:
    options = _options()
    table, others = split(read(options.data, options.seed), options.half)
    encoders = {"tfidf": TFIDF, **({"minilm": options.encoder} if options.encoder else {})}
    encoded = {
        name: [None, None] if name == "tfidf" else [embed(texts(part), folder) for part in (table, others)]
        for name, folder in encoders.items()
    }
    chances = category_chances(table, others, encoders, encoded)
    head = {"questions": len(table), "half": options.half, "labels": options.labels, "seeds": options.seeds}
    rows: list[dict[str, Any]] = [{"kind": "table", **head}]
    for pair in PAIRS:
        replay = Replay(table, pair, options.labels, options.seeds, options.seed)
        for name, policy in policies(replay, table, chances, encoders, encoded).items():
            rows.append({"kind": "policy", "pair": pair.name, "policy": name, **replay.row(policy)})
            if extra := replay.agreement_words(name):
                rows[-1]["agreement_words_share"] = extra
            print(f"{pair.name}  {name}", flush=True)
        compared = replay.at_equal_tokens(rows)
        rows.extend({"kind": "equal words", "pair": pair.name, **each} for each in compared)
        rows.extend(
            {"kind": "budget", "pair": pair.name, "window_rows": window, **replay.budget(window)}
            for window in WINDOWS_ROWS
        )
        if options.json:
            harness.write(rows, gates(rows, options.labels), options.json)
    for name, folder in encoders.items():
        for labels in (70, options.labels, 700):
            found = categories(table, labels, folder, encoded[name][0], options.seeds, options.seed)
            rows.append({"kind": "categories", "policy": name, "labels": labels, **found})
    harness.report(rows, gates(rows, options.labels), options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, help="folder of the answers' Parquet (default: real, else made up)"
    )
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--labels", type=int, default=200, help="labelled questions a policy may see")
    parser.add_argument("--seeds", type=int, default=20, help="draws of the labelled questions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--half", choices=("odd", "even", "all"), default="odd", help="questions to report")
    parser.add_argument("--encoder", default=packaged_model(), help="folder of a sentence-transformers model")
    return parser.parse_args()


def read(folder: Path | None, seed: int) -> pd.DataFrame:
    """The first Parquet of the folder with the columns; without a folder the real one, else one made up."""
    wanted = {"question_id", "question", "options", "category"}
    wanted |= {f"{m}_{column}" for m in MODELS for column in ("pred", "correct", "output_words")}
    real = harness.ROOT.parent / "shared" / "data_router"
    if folder is None and not real.is_dir():
        return made_up(4000, seed)
    files = sorted((folder or real).glob("*.parquet"))
    for file in files:
        table = pd.read_parquet(file)
        if wanted <= set(table.columns):
            return table.reset_index(drop=True)
    raise SystemExit(f"no Parquet of {folder or real} has the columns {sorted(wanted)}; there are {files}")


def made_up(rows: int, seed: int) -> pd.DataFrame:
    """Questions of some difficulty, which long texts and all models share; says nothing about real models."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=rows)
    topic = rng.integers(0, 5, rows)
    found: dict[str, Any] = {
        "question_id": np.arange(rows),
        "question": [f"topic{t} question {i} " + "hard " * int(d > 0.5) for i, (t, d) in enumerate(zip(topic,
        difficulty, strict=True))], "options": [["yes", "no"]] * rows,
        "category": [f"topic{t}" for t in topic],
    }  # fmt: skip
    for at, model in enumerate(MODELS):
        skill = 1.5 if "70b" in model or "pro" in model else 0.3
        correct = rng.random(rows) < 1 / (1 + np.exp(difficulty * 1.5 - skill))
        found[f"{model}_correct"] = correct
        found[f"{model}_pred"] = np.where(correct, "A", rng.choice(list("BCDEFGHIJ"), rows))
        found[f"{model}_output_words"] = np.maximum(rng.lognormal(4 + 0.3 * difficulty + 0.05 * at, 0.6), 1)
    return pd.DataFrame(found)


def split(table: pd.DataFrame, half: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The questions to report, and those of the other half; `all` has the odd half as other."""
    ids = table["question_id"]
    digest = [md5(str(q).encode(), usedforsecurity=False).digest()[-1] for q in ids]
    odd = np.array(digest) % 2 == 1
    if half == "all":
        return table, table[odd].reset_index(drop=True)
    reported = odd if half == "odd" else ~odd
    return table[reported].reset_index(drop=True), table[~reported].reset_index(drop=True)


def texts(table: pd.DataFrame) -> list[str]:
    """Question and options, as a row of a table would have them."""
    return [f"{q} {' '.join(o)}" for q, o in zip(table["question"], table["options"], strict=True)]


@dataclass(frozen=True)
class Scored:
    """What a policy says of all rows: scores, and where it has them calibrated chances and gains."""

    scores: np.ndarray
    raw: np.ndarray | None = None
    chance: np.ndarray | None = None
    gain: np.ndarray | None = None
    target: np.ndarray | None = None


Policy = Callable[[np.ndarray, int], Scored]


class Replay:
    """A pair of models on the reported questions.

    Args:
        table: the questions.
        pair: the models.
        labels: that a policy may see.
        seeds: how many draws of them.
        seed: of the first.
    """

    def __init__(self, table: pd.DataFrame, pair: Pair, labels: int, seeds: int, seed: int) -> None:
        self.pair, self.labels = pair, labels
        self.cheap = table[f"{pair.cheap}_correct"].to_numpy(float)
        self.costly = table[f"{pair.costly}_correct"].to_numpy(float)
        self.gain = self.costly - self.cheap
        self.words = table[f"{pair.costly}_output_words"].to_numpy(float)
        answer = table[f"{pair.cheap}_pred"]
        self.agrees = [(table[f"{m}_pred"] == answer).to_numpy(float) for m in (pair.second, pair.third)]
        all_words = [table[f"{m}_output_words"].sum() for m in (pair.second, pair.third)]
        self.pass_words = [float(words / self.words.sum()) for words in all_words]
        self.length = table[f"{pair.cheap}_output_words"].to_numpy(float)
        order = [np.random.default_rng(seed + at).permutation(len(table)) for at in range(seeds)]
        self.draws = [(part[:labels], np.sort(part[labels:]), seed + at) for at, part in enumerate(order)]

    def signals(self, names: tuple[str, ...], prompts: list[str] | None = None) -> Signals:
        """Signals of all questions by name."""
        known = {
            "answer_tokens": self.length,
            "second_agrees": self.agrees[0],
            "third_agrees": self.agrees[1],
        }
        return Signals(len(self.gain), prompts=prompts, **{name: known[name] for name in names})

    def outcome(self, drawn: np.ndarray) -> PilotOutcome:
        """What a pilot of the drawn questions would have found."""
        return PilotOutcome.of(self.gain[drawn], self.words[drawn], 1 - self.cheap[drawn])

    def row(self, policy: Policy) -> dict[str, Any]:
        """Mean and spread over the draws, on questions that were not drawn."""
        found: dict[str, list[float]] = {}
        for drawn, rest, seed in self.draws:
            scored = policy(drawn, seed)
            share, recovered = curve(scored.scores[rest], self.gain[rest])
            values = {"apgr": float(np.trapezoid(recovered, share))}
            values |= {f"cpt{p}": reaches(share, recovered, p / 100) for p in (50, 80)}
            values |= {
                f"accuracy_at_{100 * s:.0f}": float(
                    self.cheap[rest].mean() + np.interp(s, share, recovered) * self.gain[rest].mean()
                )
                for s in SHARES
            }
            chosen = scored.scores[rest] > 0
            values["chosen_share"] = float(chosen.mean())
            values["chosen_words_share"] = float(self.words[rest][chosen].sum() / self.words[rest].sum())
            values["chosen_accuracy"] = float((self.cheap[rest] + chosen * self.gain[rest]).mean())
            if scored.chance is not None and scored.raw is not None and scored.target is not None:
                target = scored.target[rest]
                values["auc"] = auc(scored.chance[rest], target)
                values["ece_before"], values["ece_after"] = (
                    ece(p[rest], target) for p in (scored.raw, scored.chance)
                )
            if scored.gain is not None:
                values["ece_of_gain"] = ece(scored.gain[rest], self.gain[rest])
            for name, value in values.items():
                found.setdefault(name, []).append(value)
        spreads = [name for name in ("apgr", "cpt80", "ece_after") if name in found]
        spread = {f"{name}_sd": float(np.std(found[name])) for name in spreads}
        return {**{name: float(np.mean(v)) for name, v in found.items()}, **spread}

    def at_equal_tokens(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The cascade with as many words of the costly arm as each published policy takes."""
        mine = [row for row in rows if row.get("pair") == self.pair.name and row["kind"] == "policy"]
        found = []
        for row in mine:
            if not row["policy"].startswith("semantic_router"):
                continue
            accuracy = []
            for drawn, rest, seed in self.draws:
                router = Router.fit(self.gated.take(drawn), self.outcome(drawn), seed=seed)
                expected = router.expected(self.gated.take(rest))
                # By the words they took: as many as the other policy had, in the cascade's own order.
                order = np.argsort(-expected.gain / np.maximum(expected.extra_tokens, 1.0), kind="stable")
                spent = np.cumsum(self.words[rest][order]) / self.words[rest].sum()
                fits = spent <= row["chosen_words_share"]
                accuracy.append(self.cheap[rest].mean() + self.gain[rest][order][fits].sum() / len(rest))
            points = 100 * (float(np.mean(accuracy)) - row["chosen_accuracy"])
            found.append(
                {"policy": row["policy"], "cascade_accuracy": float(np.mean(accuracy)), "points": points}
            )
        return found

    def agreement_words(self, policy: str) -> float:
        """Words of the second models over all rows, over those of the costly model over all rows."""
        return sum(self.pass_words[: 2 if "two" in policy else int("second" in policy)])

    @property
    def gated(self) -> Signals:
        """Signals of the cascade with one second model."""
        return self.signals(("answer_tokens", "second_agrees"))

    def budget(self, window_rows: int) -> dict[str, Any]:
        """How far what was spent is from the budget: in words window by window, and in rows of a table."""
        words, rows = [], []
        for drawn, rest, seed in self.draws:
            router = Router.fit(self.gated.take(drawn), self.outcome(drawn), seed=seed)
            for share in BUDGET_SHARES:
                total = share * self.words[rest].sum()
                stream = router.stream(Budget(total_tokens=total), rows=len(rest))
                order = np.random.default_rng(seed).permutation(rest)
                spent = 0.0
                for window in np.array_split(order, max(len(order) // window_rows, 1)):
                    signals = self.gated.take(window)
                    taken = stream.choose(signals)
                    took = float(self.words[window][taken].sum())
                    stream.measured(
                        router.expected(signals).extra_tokens[taken].sum(), took, int(taken.sum())
                    )
                    spent += took
                words.append(abs(spent / total - 1))
                mask = router.choose(self.gated.take(rest), Budget(share=share))
                rows.append(abs(mask.mean() / share - 1))
        return {
            "words_error": float(np.mean(words)), "words_error_most": float(np.max(words)),
            "share_error": float(np.mean(rows)), "share_error_most": float(np.max(rows)),
        }  # fmt: skip


def curve(scores: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of rows escalated, best scores first, and share of the accuracy gap recovered; from 0 to 1."""
    _, group = np.unique(-scores, return_inverse=True)
    counts, sums = np.bincount(group), np.bincount(group, gain)
    share = np.concatenate([[0.0], np.cumsum(counts) / len(gain)])
    return share, np.concatenate([[0.0], np.cumsum(sums) / gain.sum()])


def reaches(share: np.ndarray, recovered: np.ndarray, level: float) -> float:
    """Smallest share of rows at which as much of the gap is recovered."""
    at = int(np.argmax(recovered >= level))
    before, after = recovered[at - 1], recovered[at]
    return float(share[at - 1] + (share[at] - share[at - 1]) * (level - before) / (after - before))


def category_chances(
    table: pd.DataFrame, others: pd.DataFrame, encoders: dict[str, str], encoded: dict[str, Any]
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Categories and the chance of each for the reported questions, by a classifier of the others."""
    found = {}
    for name, encoder in encoders.items():
        here, there = encoded[name]
        model = TextClassifier.fit(texts(others), others["category"].tolist(), encoder=encoder, encoded=there)
        found[name] = (model.classes, model.chances(texts(table), encoded=here))
    return found


def policies(
    replay: Replay,
    table: pd.DataFrame,
    chances: dict[str, tuple[tuple[str, ...], np.ndarray]],
    encoders: dict[str, str],
    encoded: dict[str, Any],
) -> dict[str, Policy]:
    """All that are compared, by name."""
    prompts = texts(table)
    rows = len(table)

    def cascade(*names: str, prompts: list[str] | None = None) -> Policy:
        signals = replay.signals(names, prompts)

        def score(drawn: np.ndarray, seed: int) -> Scored:
            router = Router.fit(signals.take(drawn), replay.outcome(drawn), seed=seed)
            expected = router.expected(signals)
            raw = sigmoid(router.wrong.apply(router.features.matrix(signals)))
            return Scored(expected.gain, raw, expected.cheap_wrong, expected.gain, 1 - replay.cheap)

        return score

    def text(name: str) -> Policy:
        def score(drawn: np.ndarray, seed: int) -> Scored:
            gains = replay.gain[drawn] > 0
            vectors = encoded[name][0]
            model = TextClassifier.fit(
                [prompts[row] for row in drawn], np.where(gains, "gains", "stays").tolist(),
                encoder=encoders[name], seed=seed, encoded=None if vectors is None else vectors[drawn],
            )  # fmt: skip
            logits = model.logits(prompts, encoded=vectors)
            raw, chance = (sigmoid((logits[:, 0] - logits[:, 1]) / t) for t in (1.0, model.temperature))
            gain = chance - float((replay.gain[drawn] < 0).mean())
            return Scored(gain, raw, chance, gain, (replay.gain > 0).astype(float))

        return score

    def fixed(scores: np.ndarray) -> Policy:
        return lambda _drawn, _seed: Scored(scores)

    found: dict[str, Policy] = {
        "random": lambda _drawn, seed: Scored(np.random.default_rng(seed).uniform(-1, 1, rows)),
        "always_off": fixed(np.full(rows, -1.0)),
        "always_on": fixed(np.full(rows, 1.0)),
    }
    for name, (classes, chance) in chances.items():
        for kind, policy in TABLES.items():
            use = decide_all(chance, classes, policy)
            found[f"semantic_router: {kind} table, {name}"] = fixed(np.where(use, 1.0, -1.0))
    for kind, policy in TABLES.items():
        use = table["category"].map(lambda category, policy=policy: policy.get(category, False))
        found[f"semantic_router: {kind} table, true category"] = fixed(np.where(use, 1.0, -1.0))
    found |= {f"text: {name}": text(name) for name in encoders}
    found["cascade: length"] = cascade("answer_tokens")
    found["cascade: second model agrees"] = cascade("second_agrees")
    found[ONE] = cascade("answer_tokens", "second_agrees")
    found[TWO] = cascade("answer_tokens", "second_agrees", "third_agrees")
    found["cascade: length, second model agrees, text"] = cascade(
        "answer_tokens", "second_agrees", prompts=prompts
    )
    found["oracle"] = fixed(replay.gain)
    return found


def categories(
    table: pd.DataFrame, labels: int, encoder: str, vectors: np.ndarray | None, seeds: int, seed: int
) -> dict[str, Any]:
    """Accuracy and calibration of a category classifier with few labels, and its milliseconds per row."""
    prompts, truth = texts(table), table["category"].to_numpy()
    found: dict[str, list[float]] = {}
    for at in range(max(seeds // 10, 1)):
        order = np.random.default_rng(seed + at).permutation(len(table))
        drawn, rest = order[:labels], order[labels:]
        model = TextClassifier.fit(
            [prompts[row] for row in drawn], truth[drawn].tolist(), encoder=encoder, seed=seed + at,
            encoded=None if vectors is None else vectors[drawn],
        )  # fmt: skip
        asked = [prompts[row] for row in rest]
        logits = model.logits(asked, encoded=None if vectors is None else vectors[rest])
        right = (np.array(model.classes)[logits.argmax(axis=1)] == truth[rest]).astype(float)
        found.setdefault("accuracy", []).append(float(right.mean()))
        for name, temperature in (("ece_before", 1.0), ("ece_after", model.temperature)):
            scaled = logits / temperature
            top = 1 / np.exp(scaled - scaled.max(axis=1, keepdims=True)).sum(axis=1)
            found.setdefault(name, []).append(ece(top, right))
        few = asked[:300]
        started = time.process_time()
        model.chances(few)
        found.setdefault("ms_per_row", []).append(1000 * (time.process_time() - started) / len(few))
    return {name: float(np.median(v) if name == "ms_per_row" else np.mean(v)) for name, v in found.items()}


def gates(rows: list[dict[str, Any]], labels: int) -> dict[str, dict[str, Any]]:
    """Of the cascade with one and with two more small models, for each pair; words and rows of the budget."""
    found = {}
    for row in rows:
        pair = row.get("pair", "").replace(" ", "_")
        if row["kind"] == "policy" and row["policy"] in {ONE, TWO}:
            name = f"{pair}_{'one_model' if row['policy'] == ONE else 'two_models'}"
            found[f"apgr_{name}"] = harness.gate(row["apgr"], LEAST_APGR)
            found[f"cpt80_{name}"] = harness.gate(row["cpt80"], MOST_CPT80, at_least=False)
            found[f"ece_{name}"] = harness.gate(row["ece_after"], MOST_ECE, at_least=False)
        if row["kind"] == "budget" and row["window_rows"] == WINDOWS_ROWS[0]:
            for what in ("words", "share"):
                name = f"budget_{what}_error_{pair}"
                found[name] = harness.gate(row[f"{what}_error_most"], MOST_BUDGET_ERROR, at_least=False)
    found["labels"] = harness.gate(labels, 200, at_least=False)
    return found


if __name__ == "__main__":
    # A few thousand short rows: threads that wait for each other cost more than they bring.
    with threadpool_limits(1):
        main()
