"""Whether drafting has won anything in measured time; the off-switch when it has not."""

from __future__ import annotations

from typing import Final

MUST_HAVE_WON: Final = 1.02
"""Less than this over `WINDOW` steps, and it is off."""
WINDOW: Final = 100
"""Steps with drafts between two verdicts."""
OFF_STEPS: Final = 100
"""Steps after which an unchanged prediction may try again."""
RETRIAL: Final = 20
"""Steps with drafts of such a trial."""
CHANGED: Final = 1.1
"""Rise of the predicted gain that ends the off state at once."""


class Watch:
    """Compares measured steps with drafts to what they would have taken and won without.

    Predictions choose the draft lengths; this catches predictions that are wrong: a drafter slower than its
    model, a step time that does not fit. Steps without drafts tell how fast the engine is against the model.

    Differs from the paper: the published switch looks at whether anything was verified. A threshold of 5 %,
    as first proposed, would give away up to 5 % against the best constant length, so it is 2 %; and a plain
    wait of 100 steps would be deaf to drafts that become good, so a rise of the predicted gain (probes go on
    all the while) ends it at once.

    Attributes:
        won: ratio of work per second with drafts to that without, in the last full window.
        off: it does not win.
    """

    def __init__(self) -> None:
        self.won = 1.0
        self.off = False
        self._slowness = 1.0
        self._steps = 0
        self._worth_s = self._measured_s = 0.0
        self._waited = 0
        self._gain_when_off = 1.0
        self._gain = 1.0
        self._window = WINDOW

    def allows(self, gain: float) -> bool:
        """Whether to draft at this predicted gain; called once a step."""
        self._gain = gain
        if self.off:
            self._waited += 1
            if self._waited >= OFF_STEPS or gain > CHANGED * self._gain_when_off:
                self.off = False
                self._window = RETRIAL
        return not self.off

    def observe(self, drafting: bool, *, saved_s: float, measured_s: float, plain_s: float) -> None:
        """Takes a step.

        Args:
            drafting: it verified drafts that were to win.
            saved_s: what the accepted tokens are worth.
            measured_s: seconds it took, drafting included.
            plain_s: predicted seconds without drafts.
        """
        if not drafting:
            self._slowness += 0.05 * (measured_s / plain_s - self._slowness)
            return
        self._steps += 1
        self._worth_s += plain_s + saved_s
        self._measured_s += measured_s
        if self._steps < self._window:
            return
        # What it was worth at the speed of steps without drafts, against what it took.
        self.won = self._worth_s * self._slowness / self._measured_s
        if self.won < MUST_HAVE_WON:
            self.off, self._waited, self._gain_when_off = True, 0, self._gain
        self._steps, self._window = 0, WINDOW
        self._worth_s = self._measured_s = 0.0
