"""The pool's rules again, by looking at everything: what `LcmPool` must agree with."""

from spark_llm.jenga.pool import CACHED, EMPTY, USED


class Model:
    """Pages in a dict; every figure is counted anew."""

    def __init__(self, large_pages, ratios, reserved):
        self.large_pages, self.ratios, self.reserved = large_pages, ratios, reserved
        self.pages = {}  # (kind, page) -> USED or CACHED
        self.kind = {}  # large -> kind, while it is split

    def large(self, kind, page):
        return page // self.ratios[kind]

    def inside(self, large):
        kind = self.kind[large]
        ratio = self.ratios[kind]
        return [(kind, page) for page in range(large * ratio, (large + 1) * ratio)]

    def states(self, large):
        return [self.pages.get(at, EMPTY) for at in self.inside(large)]

    def settle(self):
        for large in [at for at in self.kind if not any(self.states(at))]:
            del self.kind[large]

    def evictable(self):
        return [at for at in self.kind if USED not in self.states(at)]

    def free_large_pages(self):
        return self.large_pages - self.reserved - len(self.kind) + len(self.evictable())

    def spare(self, kind):
        split = [at for at, of in self.kind.items() if of == kind and USED in self.states(at)]
        return sum(state != USED for at in split for state in self.states(at))

    def feasible(self, needs):
        large = sum(
            -(-max(need - self.spare(kind), 0) // self.ratios[kind]) for kind, need in enumerate(needs)
        )
        return large <= self.free_large_pages()

    def compare(self, pool):
        """Raises AssertionError where the pool disagrees."""
        for kind in range(len(self.ratios)):
            mine = [at for (of, at), _ in self.pages.items() if of == kind]
            for state, count in ((USED, pool.used_pages(kind)), (CACHED, pool.cached_pages(kind))):
                assert count == sum(self.pages[kind, at] == state for at in mine)
            assert all(pool.state(kind, at) == self.pages[kind, at] for at in mine)
            assert pool.free_pages(kind) == self.spare(kind) + self.free_large_pages() * self.ratios[kind]
        assert pool.free_large_pages == self.free_large_pages()
