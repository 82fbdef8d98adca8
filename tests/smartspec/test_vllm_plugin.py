"""The scheduler mixin on a scheduler that is plain data: what it writes, reads and leaves alone."""

from types import SimpleNamespace

import pytest

from spark_llm.smartspec.vllm_plugin import AsyncSpeculationMixin, LookUpProposer, SpeculationMixin


class Request:
    def __init__(self, name, prompt, answer=(), prefilling=False):
        self.request_id, self.max_tokens, self.num_prompt_tokens = name, 32, len(prompt)
        self.all_token_ids = [*prompt, *answer]
        self.is_prefill_chunk = prefilling
        self.num_computed_tokens = 0 if prefilling else len(self.all_token_ids) - 1
        self.spec_token_ids, self.finished = [], False
        self.use_structured_output, self.structured_output_request = False, None
        self.sampling_params = SimpleNamespace(extra_args={"spark_llm_call": "c"})

    num_tokens = property(lambda self: len(self.all_token_ids))

    def is_finished(self):
        return self.finished


class PlainScheduler:
    """Schedules all that runs, drafts included, as vLLM's does."""

    def __init__(self, method, settings, length=4):
        extra = {"spark_llm": {"speculative": settings}} if settings is not None else {}
        config = SimpleNamespace(method=method, model="small") if method else None
        model = SimpleNamespace(
            hf_config=SimpleNamespace(eos_token_id=0),
            try_get_generation_config=dict,
            get_vocab_size=lambda: 64,
        )
        self.vllm_config = SimpleNamespace(
            additional_config=extra, speculative_config=config, model_config=model
        )
        self.num_spec_tokens = length if method else 0
        self.max_num_running_reqs = self.max_num_active_reqs = 8
        self.max_num_scheduled_tokens, self.max_model_len, self.block_size = 256, 100, 16
        self.running, self.waiting, self.drafts, self.freed = [], [], [], []
        pool = SimpleNamespace(get_num_free_blocks=lambda: 100)
        self.kv_cache_manager = SimpleNamespace(block_pool=pool)
        self.structured_output_manager = SimpleNamespace(validate_tokens=lambda _, tokens: tokens)
        self.dynamic_sd_lookup = None

    def schedule(self, throttle_prefills=False):
        drafts = {r.request_id: list(r.spec_token_ids) for r in self.running if r.spec_token_ids}
        counts = {r.request_id: 1 + len(drafts.get(r.request_id, ())) for r in self.running}
        return SimpleNamespace(
            num_scheduled_tokens=counts, total_num_scheduled_tokens=sum(counts.values()),
            scheduled_spec_decode_tokens=drafts, throttled=throttle_prefills,
        )  # fmt: skip

    def update_from_output(self, scheduler_output, model_runner_output):
        return "updated"

    def update_draft_token_ids(self, draft_token_ids):
        self.drafts.append(draft_token_ids)

    def _free_request(self, request, delay_free_blocks=False):
        self.freed.append(request.request_id)

    def shutdown(self):
        self.freed.append("all")


class Scheduler(SpeculationMixin, PlainScheduler):
    pass


class AheadScheduler(AsyncSpeculationMixin, PlainScheduler):
    pass


def sampled(output, **tokens):
    names = list(output.num_scheduled_tokens)
    return SimpleNamespace(
        sampled_token_ids=[tokens[name] for name in names],
        req_id_to_index={name: place for place, name in enumerate(names)},
    )


COPYING = ([5, 1, 2, 3, 4, 9], [5, 1, 2])


@pytest.mark.parametrize(("method", "settings"), [(None, None), ("ngram", None), (None, {"policy": "value"})])
def test_inert_unless_switched_on(method, settings):
    scheduler = Scheduler(method, settings)
    scheduler.running = [Request("a", *COPYING)]
    scheduler.running[0].spec_token_ids = [7, 7]
    output = scheduler.schedule(True)
    assert output.throttled
    assert output.scheduled_spec_decode_tokens == {"a": [7, 7]}
    assert scheduler.update_from_output(output, None) == "updated"
    scheduler.update_draft_token_ids("drafts")
    scheduler._free_request(scheduler.running[0])
    scheduler.shutdown()
    assert (scheduler.drafts, scheduler.freed, scheduler.dynamic_sd_lookup) == (
        ["drafts"],
        ["a", "all"],
        None,
    )


def test_rows_that_decode_get_drafts_and_those_in_their_prompt_do_not():
    scheduler = Scheduler("custom_class", {"policy": "fixed"})
    scheduler.running = [Request("a", *COPYING), Request("p", [1] * 30, prefilling=True)]
    output = scheduler.schedule()
    assert output.scheduled_spec_decode_tokens == {"a": [3, 4, 9, 5]}
    assert scheduler.speculation is not None
    assert scheduler.update_from_output(output, sampled(output, a=[3, 4, 8], p=[])) == "updated"
    assert scheduler.speculation.drafts.accepted_tokens["ngram"] == 2
    scheduler.update_draft_token_ids("the worker's, which are empty")
    assert scheduler.drafts == []


def test_a_row_that_was_aborted_while_it_was_computed():
    scheduler = Scheduler("custom_class", {"policy": "value", "pretend": "h100-8b"})
    gone, stays = Request("a", *COPYING), Request("b", *COPYING)
    scheduler.running = [gone, stays]
    output = scheduler.schedule()
    gone.finished, gone.status = True, "aborted"
    scheduler.speculation.finished(gone, "c", whole=False)
    scheduler.update_from_output(output, sampled(output, a=[1], b=[1, 2]))
    assert list(scheduler.speculation._rows) == ["b"]


def test_a_draft_models_drafts_are_cut_and_its_next_depth_is_set():
    scheduler = Scheduler("draft_model", {"policy": "fixed"}, length=3)
    row = Request("a", [1, 2], [3])
    row.spec_token_ids = [7, 8, 9, 9, 9]
    scheduler.running = [row]
    assert scheduler.schedule().scheduled_spec_decode_tokens == {"a": [7, 8, 9]}
    assert set(scheduler.dynamic_sd_lookup) == {3}
    scheduler.update_draft_token_ids("drafts")
    assert scheduler.drafts == ["drafts"]


def test_ahead_of_time_only_the_depth_is_chosen():
    scheduler = AheadScheduler("draft_model", {"policy": "value", "pretend": "h100-8b"}, length=3)
    row = Request("a", [1, 2], [3])
    row.spec_token_ids = [-1, -1, -1]
    scheduler.running = [row]
    for _ in range(60):
        output = scheduler.schedule()
        scheduler.update_from_output(output, sampled(output, a=[4]))  # nothing is ever right
    assert row.spec_token_ids == [-1, -1, -1]
    assert set(scheduler.dynamic_sd_lookup) <= {0, 1}


def test_the_look_up_proposer_proposes_nothing():
    assert LookUpProposer(None).propose([[1], [], [2, 3]], None, None) == [[], [], []]
