"""Swap in the real engine on the CPU: answers, hits, copies and stalls beside stock vLLM.

Rows of the block tier are made by `pie_tier_rows`, those of layer swap by `pie_layers_rows`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import harness
import jenga_engine


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", choices=("tier", "layers"))
    options = parser.parse_args()
    jenga_engine.alone()
    import pie_layers_rows
    import pie_tier_rows

    rows, gates = [], {}
    for part in (pie_tier_rows, pie_layers_rows):
        if options.only and part.__name__ != f"pie_{options.only}_rows":
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = part.rows_of(Path(folder), options.seed)
        rows += found
        gates |= {
            name: harness.gate(value, target, at_least=least)
            for name, (value, target, least) in part.gates_of(found).items()
        }
    harness.report(rows, gates, options.json)


if __name__ == "__main__":
    main()
