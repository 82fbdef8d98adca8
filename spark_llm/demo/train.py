"""Train the demo model from scratch: ``python -m spark_llm.demo.train --folder DIR``.

The budget is a number of steps, so two runs with the same seed, thread count and
software see the same data in the same order.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

from spark_llm.demo.batches import PREFIX, Batch, batches
from spark_llm.demo.forward import body, logits
from spark_llm.demo.model_shape import new_model, save_model
from spark_llm.demo.tokenizer import load_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM

KNOTS: Final = (
    (-1, 0.0),
    (40, 1.0),
    (3100, 1.0),
    (3600, 0.444),
    (4500, 0.444),
    (4600, 0.407),
    (5100, 0.407),
    (6000, 0.0),
)
"""Steps and factors of the learning rate: warm-up, then down to zero in steps."""
PROMPT_WEIGHT: Final = 0.1
"""Prompt tokens count little beside the answer: they are mostly noise."""


def batch_loss(model: Qwen3ForCausalLM, prefix: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the loss of a batch.

    Args:
        model: The model in training.
        prefix: ``[1, p]`` int64, tokens that every row of the batch begins with.
        batch: Rows without that prefix.

    Returns:
        Scalar float32: mean over answer tokens, plus a little of a sample of the prompt.
    """
    tokens = torch.from_numpy(batch.tokens)
    _, past = body(model, prefix, None)
    hidden, _ = body(model, tokens[:, :-1], past)
    targets = tokens[:, 1:]
    answers = torch.from_numpy(batch.answers[:, 1:])
    # One long answer must not outweigh many a "Yes": n tokens weigh as much as sqrt(n).
    weights = answers / answers.sum(1, keepdim=True).clamp(min=1).sqrt()
    sample = torch.from_numpy(batch.sampled[:, 1:])
    weights = weights / weights.sum() + PROMPT_WEIGHT * sample / sample.sum().clamp(min=1)
    # The output matrix is a good part of the model: multiply only scored positions.
    scored = answers | sample
    losses = functional.cross_entropy(logits(model, hidden[scored]), targets[scored], reduction="none")
    return (losses * weights[scored]).sum()


def gradients(model: Qwen3ForCausalLM, prefix: torch.Tensor, parts: list[Batch], pool: Executor) -> float:
    """Add the mean gradient of some batches to the parameters.

    Each batch runs on one thread of ``pool``. On a busy machine this beats splitting
    every matrix product over the cores: a core that is taken away delays one batch, not
    each single product. The sum is taken in the order of ``parts``, so the result does
    not depend on which thread was first.

    Args:
        model: The model in training; its ``grad`` fields are set.
        prefix: As for :func:`batch_loss`.
        parts: The batches of this step.
        pool: Threads to run on.

    Returns:
        The mean loss of the batches.
    """
    parameters = list(model.parameters())

    def one(part: Batch) -> tuple[float, tuple[torch.Tensor, ...]]:
        loss = batch_loss(model, prefix, part)
        return loss.item(), torch.autograd.grad(loss, parameters)

    total = 0.0
    for value, grads in pool.map(one, parts):
        total += value
        for parameter, grad in zip(parameters, grads, strict=True):
            scaled = grad / len(parts)
            parameter.grad = scaled if parameter.grad is None else parameter.grad + scaled
    return total / len(parts)


def optimizers(model: Qwen3ForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def schedule(step: int) -> float:
    """Factor of the learning rate: straight lines between :data:`KNOTS`, zero after them."""
    return float(np.interp(step, [knot[0] for knot in KNOTS], [knot[1] for knot in KNOTS]))


def save_state(path: Path, step: int, model: Qwen3ForCausalLM, steppers: list[torch.optim.Optimizer]) -> None:
    """Write all that a run needs to go on at ``step``."""
    state = {
        "step": step,
        "model": model.state_dict(),
        "steppers": [stepper.state_dict() for stepper in steppers],
    }
    torch.save(state, path)


def load_state(path: Path, model: Qwen3ForCausalLM, steppers: list[torch.optim.Optimizer]) -> int:
    """Read what :func:`save_state` wrote; return the step to go on at."""
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for stepper, saved in zip(steppers, state["steppers"], strict=True):
        stepper.load_state_dict(saved)
    return int(state["step"])


def train(arguments: argparse.Namespace) -> None:
    """Train the tokenizer and the model, and write both into ``arguments.folder``."""
    folder: Path = arguments.folder
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(arguments.threads)
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    train_tokenizer(arguments.seed, 30_000, folder)
    tokenizer = load_tokenizer(folder)
    model = new_model(tokenizer)
    prefix = torch.tensor([tokenizer(PREFIX, add_special_tokens=False)["input_ids"]])
    steppers = optimizers(model, arguments.rate)
    base = [group["lr"] for stepper in steppers for group in stepper.param_groups]
    stream = batches(tokenizer, arguments.seed, arguments.budget, arguments.short_for)
    began, seen, mean = time.monotonic(), 0, 0.0
    first = 0
    if arguments.resume is not None:
        # Skipping the batches already seen makes the outcome that of an unbroken run.
        first = load_state(arguments.resume, model, steppers)
        for _ in islice(stream, first * arguments.parts):
            pass
    for step in range(first, arguments.steps):
        parts = list(islice(stream, arguments.parts))
        seen += sum(part.tokens.size for part in parts)
        loss = gradients(model, prefix, parts, pool)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        factor = schedule(step)
        groups = [group for stepper in steppers for group in stepper.param_groups]
        for group, rate in zip(groups, base, strict=True):
            group["lr"] = rate * factor
        for stepper in steppers:
            stepper.step()
        model.zero_grad(set_to_none=True)
        mean = loss if step == first else 0.97 * mean + 0.03 * loss
        if step % 10 == 0 or step + 1 == arguments.steps:
            minutes = (time.monotonic() - began) / 60
            print(f"step {step} loss {mean:.4f} tokens {seen} minutes {minutes:.1f}", flush=True)
        if arguments.checkpoint_every and step and step % arguments.checkpoint_every == 0:
            save_model(model, folder)
            save_state(folder.with_suffix(".state"), step + 1, model, steppers)
    save_model(model, folder)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--steps", type=int, default=KNOTS[-1][0])
    parser.add_argument("--budget", type=int, default=750, help="tokens in a batch")
    parser.add_argument("--parts", type=int, default=2, help="batches in a step")
    parser.add_argument("--short-for", type=int, default=20_000, help="examples of curriculum")
    parser.add_argument("--resume", type=Path, default=None, help="DIR.state of a broken run")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint-every", type=int, default=0, help="steps")
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
