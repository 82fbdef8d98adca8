import random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from pool_model import Model

from spark_llm.jenga.pool import CACHED, USED, LcmPool, OutOfPagesError

OPERATIONS = 400


class Driver:
    """Random operations on a pool and on its model, step by step."""

    def __init__(self, large_pages, ratios, reserved, seed):
        self.evicted = []
        self.pool = LcmPool(
            large_pages, ratios, reserved=reserved, on_evict=lambda *at: self.evicted.append(at)
        )
        self.model = Model(large_pages, ratios, reserved)
        self.random = random.Random(seed)
        self.owner_of = {}
        self.keys = {}
        self.clock = 0

    def take(self, kind, page, owner):
        model = self.model
        for at in self.evicted:
            assert model.pages.pop(at) == CACHED, "only cached content may be dropped"
            self.keys.pop(at)
        self.evicted.clear()
        model.settle()
        large = model.large(kind, page)
        assert large >= model.reserved
        assert (kind, page) not in model.pages, "a page that is in use or cached was given out"
        assert model.kind.setdefault(large, kind) == kind, "one large page holds pages of two types"
        model.pages[kind, page] = USED
        self.owner_of[kind, page] = owner

    def allocate(self):
        kind = self.random.randrange(len(self.model.ratios))
        owner = self.random.choice([None, 1, 2, 3])
        possible = self.model.feasible([int(at == kind) for at in range(len(self.model.ratios))])
        try:
            page = self.pool.allocate(kind, owner)
        except OutOfPagesError:
            assert not possible
            return
        assert possible
        self.take(kind, page, owner)

    def allocate_all(self):
        needs = [self.random.randrange(4) for _ in self.model.ratios]
        owner = self.random.choice([None, 1, 2, 3])
        possible = self.model.feasible(needs)
        try:
            found = self.pool.allocate_all(needs, [owner] * len(needs))
        except OutOfPagesError:
            assert not possible
            return
        assert possible
        assert [len(pages) for pages in found] == needs
        for kind, pages in enumerate(found):
            for page in pages:
                self.take(kind, page, owner)

    def pick(self, state):
        pages = [at for at, found in self.model.pages.items() if found == state]
        return self.random.choice(pages) if pages else None

    def free(self):
        at = self.pick(USED)
        if at:
            self.clock += self.random.randrange(2)
            key = self.random.choice([None, (self.clock, -self.random.randrange(3))])
            self.pool.free(*at, key)
            self.model.pages[at] = CACHED
            self.keys[at] = key
            if key is None:
                del self.model.pages[at], self.keys[at]

    def use(self):
        at = self.pick(CACHED)
        if at:
            self.pool.use(*at)
            self.model.pages[at] = USED
            del self.keys[at]

    def drop(self):
        at = self.pick(CACHED)
        if at:
            self.pool.drop(*at)
            del self.model.pages[at], self.keys[at]

    def release(self):
        self.pool.release(self.random.choice([1, 2, 3]))

    def do(self, action):
        getattr(self, action)()
        self.model.settle()


ACTIONS = ("allocate", "allocate_all", "free", "use", "drop", "release")


@settings(max_examples=250, deadline=None)
@given(
    large_pages=st.integers(1, 9),
    ratios=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    reserved=st.integers(0, 1),
    seed=st.integers(0, 2**32),
)
def test_the_pool_agrees_with_the_model_over_many_operations(large_pages, ratios, reserved, seed):
    driver = Driver(large_pages, ratios, reserved, seed)
    for at in range(OPERATIONS):
        driver.do(driver.random.choice([*ACTIONS, "allocate", "free"]))
        if at % 10 == 0:
            driver.model.compare(driver.pool)
    driver.model.compare(driver.pool)


class Machine(RuleBasedStateMachine):
    """The same, step by step: what fails here comes back as the shortest list of operations."""

    @initialize(
        large_pages=st.integers(1, 5),
        ratios=st.lists(st.integers(1, 4), min_size=1, max_size=2),
        reserved=st.integers(0, 1),
    )
    def begin(self, large_pages, ratios, reserved):
        self.driver = Driver(large_pages, ratios, reserved, 0)

    @rule(action=st.sampled_from(ACTIONS), seed=st.integers(0, 31))
    def operate(self, action, seed):
        self.driver.random.seed(seed)
        self.driver.do(action)
        self.driver.model.compare(self.driver.pool)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
