"""Names of the policies, where neither numpy nor a compiler is needed to know them."""

from __future__ import annotations

from typing import Final

POLICIES: Final = ("default", "thorough", "tree", "ggr", "fixed", "original")
