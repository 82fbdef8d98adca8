"""Swap in the real engine on the CPU: answers, hits, copies and stalls beside stock vLLM.

tier      blocks of rows that are not running: `pie_tier_rows`
layers    layers of rows that are: `pie_layers_rows`
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import harness
import jenga_engine

PARTS = ("tier", "layers")


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    jenga_engine.alone()
    import pie_layers_rows
    import pie_tier_rows

    rows, gates = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for part, module in zip(PARTS, (pie_tier_rows, pie_layers_rows), strict=True):
            if part in options.parts:
                found = module.rows_of(Path(folder), options.seed)
                rows += [{"part": part, **row} for row in found]
                gates |= {
                    name: harness.gate(value, target, at_least=least)
                    for name, (value, target, least) in module.gates_of(found).items()
                }
    harness.report(rows, gates, options.json)


if __name__ == "__main__":
    main()
