import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from spark_llm.pie.layout import aways, spread
from spark_llm.pie.residency import Residency, ResidencyError, State

GPU, CPU, IN, OUT = State.GPU, State.CPU, State.SWAPPING_IN, State.SWAPPING_OUT
# What each call needs, and what it leaves.
CALLS = {"start_in": (CPU, IN), "end_in": (IN, GPU), "start_out": (GPU, OUT), "end_out": (OUT, CPU)}


class Machine(RuleBasedStateMachine):
    """Any order of calls, right and wrong ones: the table beside it says which are allowed."""

    @initialize(layers=st.integers(5, 9), data=st.data())
    def begin(self, layers, data):
        layout = spread(layers, data.draw(st.sampled_from(aways(layers, 2, True)[1:])), 2, True)
        self.residency = Residency(layout)
        self.states = dict.fromkeys(range(layers), GPU) | dict.fromkeys(layout.swapped, CPU)
        self.slots = {}

    @rule(call=st.sampled_from([*CALLS, "use"]), layer=st.integers(0, 8), slot=st.integers(0, 1))
    def operate(self, call, layer, slot):
        layer %= len(self.states)
        swapped, state = layer in self.residency.layout.swapped, self.states[layer]
        needed, left = CALLS.get(call, (GPU, GPU))
        allowed = state is needed and (swapped or call == "use")
        if call == "start_in":
            allowed = allowed and slot not in self.slots.values()
        operation = getattr(self.residency, call)
        arguments = (layer, slot) if call == "start_in" else (layer,)
        if not allowed:
            with pytest.raises(ResidencyError):
                operation(*arguments)
            return
        operation(*arguments)
        self.states[layer] = left
        if call == "start_in":
            self.slots[layer] = slot
        elif call == "end_out":
            del self.slots[layer]

    @invariant()
    def the_states_are_the_table_s_and_a_slot_has_one_layer(self):
        residency = self.residency
        assert {layer: residency.state(layer) for layer in self.states} == self.states
        owners = {residency.owner(slot): slot for slot in range(residency.layout.slots)}
        owners.pop(None, None)
        assert owners == self.slots
        assert all(self.states[layer] is not CPU for layer in owners)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


def test_a_layer_that_is_not_there_is_named_with_its_state():
    residency = Residency(spread(8, 2))
    residency.use(0)
    with pytest.raises(ResidencyError, match="layer 1 is cpu and cannot be used: it has to be gpu"):
        residency.use(1)
    residency.start_in(1, 0)
    with pytest.raises(ResidencyError, match="layer 1 is swapping_in and cannot be used"):
        residency.use(1)
    with pytest.raises(ResidencyError, match="layer 3 cannot be loaded: slot 0 has layer 1"):
        residency.start_in(3, 0)
    with pytest.raises(ResidencyError, match="layer 0 is not swapped"):
        residency.start_out(0)
