"""Swap in the real engine on the CPU: answers, hits, copies and stalls beside stock vLLM.

Rows of the block tier are made by `pie_tier_rows`.
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
    options = parser.parse_args()
    jenga_engine.alone()
    import pie_tier_rows

    with tempfile.TemporaryDirectory() as folder:
        rows = pie_tier_rows.rows_of(Path(folder), options.seed)
    gates = {
        name: harness.gate(value, target, at_least=least)
        for name, (value, target, least) in pie_tier_rows.gates_of(rows).items()
    }
    harness.report(rows, gates, options.json)


if __name__ == "__main__":
    main()
