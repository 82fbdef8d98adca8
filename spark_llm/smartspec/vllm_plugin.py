"""SmartSpec in vLLM: a scheduler mixin that drafts, and a proposer that leaves drafting to it.

    EngineCore.step
      schedule()             rows that decode ─► Speculation.lengths ─► drafts ─► request.spec_token_ids
          │                  (n-gram, answers, grammar: here, where requests and grammars are known;
          │                   a draft model: by vLLM's runner, cut to length here)
      execute_model()        vLLM verifies 1 + k tokens of each row
      update_from_output()   what was accepted ─► Speculation.ended

vLLM hands a proposer token ids by place in the batch, without request, end of prompt or grammar. Drafts that
need those are made here; `LookUpProposer` is how vLLM is told to make room for them.

Source: vLLM 0.32, v1/core/sched/scheduler.py (`spec_token_ids`, `dynamic_sd_lookup`) and
v1/spec_decode/custom_class_proposer.py. Inert unless `additional_config` has our part.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_llm.engine.vitals import VitalsWriter
from spark_llm.engine.wire import CALL_ARGUMENT
from spark_llm.smartspec.choose import LOOK_UP, Memory, policy_of, pretended
from spark_llm.smartspec.drafters.drafts import Drafts
from spark_llm.smartspec.drafters.forced import ForcedDrafter, readable
from spark_llm.smartspec.loop import Form, Limits, Speculation, Surroundings
from spark_llm.smartspec.vitals import SpeculationVitals

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
    from vllm.v1.request import Request
else:
    Scheduler = object


class LookUpProposer:
    """vLLM's `custom_class` proposer of an engine whose scheduler drafts: it proposes nothing itself."""

    def __init__(self, vllm_config: VllmConfig) -> None:
        pass

    def propose(
        self,
        sampled_token_ids: list[list[int]],
        num_tokens_no_spec: Any,  # noqa: ARG002  vLLM's signature
        token_ids_cpu: Any,  # noqa: ARG002
        slot_mappings: Any = None,  # noqa: ARG002
    ) -> list[list[int]]:
        """An empty draft per row."""
        return [[] for _ in sampled_token_ids]

    def load_model(self, target_model: Any) -> None:
        """There is none to load; the CPU's runner asks."""


def settings_of(vllm_config: VllmConfig, technique: str) -> dict[str, Any] | None:
    """Our part of `additional_config`, None where the technique is off."""
    extra = vllm_config.additional_config
    ours = extra.get("spark_llm", {}) if isinstance(extra, dict) else {}
    found: dict[str, Any] | None = ours.get(technique)
    return found


class SpeculationMixin(Scheduler):
    """Goes before `vllm.v1.core.sched.scheduler.Scheduler`."""

    speculation: Speculation | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.start_speculation()

    def start_speculation(self) -> None:
        """Begins to speculate, if that is switched on, with nothing learned."""
        settings = settings_of(self.vllm_config, "speculative")
        if settings is None or not self.num_spec_tokens:
            return
        looks_up = self.vllm_config.speculative_config.method == "custom_class"
        limits = Limits(
            draft_tokens=self.num_spec_tokens,
            rows=self.max_num_running_reqs,
            chunk_tokens=self.max_num_scheduled_tokens,
            model_len_tokens=self.max_model_len,
            block_tokens=self.block_size,
        )
        drafter = LOOK_UP if looks_up else self.vllm_config.speculative_config.model
        self._memory = Memory(settings.get("dir"), limits.draft_tokens, drafter)
        acceptance = self._memory.acceptance
        self.speculation = Speculation(
            policy_of(settings, limits.draft_tokens, acceptance, drafter),
            limits,
            self._drafts() if looks_up else None,
            time.perf_counter,
            acceptance,
            pretended(settings),
        )
        # With one, vLLM pads decodes with no drafts of its own, and its runner drafts as deep as it says.
        self.dynamic_sd_lookup = [self.num_spec_tokens] * (self.max_num_running_reqs + 1)
        path = settings.get("vitals")
        self._vitals = SpeculationVitals(VitalsWriter(Path(path)) if path else None)
        self._decoding: list[Request] = []
        self._prefill_tokens = 0

    def _drafts(self) -> Drafts:
        model = self.vllm_config.model_config
        ends = model.hf_config.eos_token_id, model.try_get_generation_config().get("eos_token_id")
        end_ids = {each for end in ends for each in (end if isinstance(end, list) else [end])} - {None}
        return Drafts(ForcedDrafter(model.get_vocab_size(), self._tokenize), end_ids)

    def _tokenize(self, text: str) -> list[int]:
        tokenizer = getattr(self.structured_output_manager, "tokenizer", None)
        return tokenizer.encode(text, add_special_tokens=False) if tokenizer is not None else []

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """A step, with the drafts that are worth their time."""
        if self.speculation is None:
            return super().schedule(throttle_prefills)
        self._decoding = [request for request in self.running if not request.is_prefill_chunk]
        if self._decoding:
            self._propose(self.speculation, self._decoding)
        output = super().schedule(throttle_prefills)
        decoded = {request.request_id for request in self._decoding}
        self._prefill_tokens = sum(
            count for name, count in output.num_scheduled_tokens.items() if name not in decoded
        )
        self.speculation.began()
        return output

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> Any:
        """Learns what was accepted before vLLM books it."""
        if self.speculation is not None and scheduler_output.total_num_scheduled_tokens:
            self._learn(self.speculation, scheduler_output, model_runner_output)
        return super().update_from_output(scheduler_output, model_runner_output)

    def update_draft_token_ids(self, draft_token_ids: DraftTokenIds) -> None:
        """Takes a draft model's drafts; the look-up proposer's are empty."""
        if self.speculation is None or self.speculation.drafts is None:
            super().update_draft_token_ids(draft_token_ids)

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> Any:
        if self.speculation is not None:
            self.speculation.finished(request, _call_of(request), whole=_ended_by_itself(request))
        return super()._free_request(request, delay_free_blocks)

    def shutdown(self) -> None:
        """Ends with what was learned kept."""
        if self.speculation is not None:
            self._memory.save(now=True)
        super().shutdown()

    def _propose(self, speculation: Speculation, requests: list[Request]) -> None:
        forms = [Form(_call_of(request), self._grammar(request)) for request in requests]
        lengths = speculation.lengths(requests, self._surroundings(), forms).tolist()
        if speculation.drafts is None:
            for request, length in zip(requests, lengths, strict=True):
                request.spec_token_ids = list(request.spec_token_ids[:length])
            self.dynamic_sd_lookup[:] = [max(lengths)] * len(self.dynamic_sd_lookup)
            return
        for request, length, form in zip(requests, lengths, forms, strict=True):
            tokens = speculation.draft(request, length, form) if length else []
            request.spec_token_ids = self.structured_output_manager.validate_tokens(request, tokens)

    def _learn(self, speculation: Speculation, output: SchedulerOutput, computed: ModelRunnerOutput) -> None:
        scheduled, sampled = output.num_scheduled_tokens, computed.sampled_token_ids
        drafts = output.scheduled_spec_decode_tokens
        rows = [each for each in self._decoding if each.request_id in scheduled and not each.is_finished()]
        drafted = [len(drafts.get(request.request_id, ())) for request in rows]
        gained = [
            len(sampled[computed.req_id_to_index[request.request_id]]) if sampled else 1 for request in rows
        ]
        result = speculation.ended(
            rows,
            drafted,
            [max(count - 1, 0) for count in gained],
            tokens=output.total_num_scheduled_tokens,
            prefill_tokens=self._prefill_tokens,
            kv_tokens=sum(request.num_computed_tokens for request in self.running),
            sequences=len(scheduled),
        )
        self._vitals.add(result, speculation.decision_s)
        self._memory.save()

    def _surroundings(self) -> Surroundings:
        pool = self.kv_cache_manager.block_pool
        free_blocks = getattr(pool, "free_token_blocks", pool.get_num_free_blocks)()
        tokens = rows = 0
        for request in self.running:
            if request.is_prefill_chunk:
                tokens += request.num_tokens - request.num_computed_tokens
                rows += 1
        # Of those that wait, the ones that could be let in; a queue may hold a thousand more.
        places = self.max_num_active_reqs - len(self.running)
        most = min(self.max_num_scheduled_tokens, free_blocks * self.block_size)
        for request in islice(self.waiting, max(places, 0)):
            if tokens + request.num_tokens > most:
                break
            tokens += request.num_tokens - request.num_computed_tokens
            rows += 1
        return Surroundings(tokens, rows, free_blocks)

    def _grammar(self, request: Request) -> Any:
        """The grammar of a row; None where it has none, or one that is not ready or not in force yet."""
        if not request.use_structured_output:
            return None
        asked = request.structured_output_request
        if asked.reasoning_ended is False:
            return None
        grammar = asked.grammar
        return grammar if readable(grammar) and not grammar.is_terminated() else None


class AsyncSpeculationMixin(SpeculationMixin):
    """Goes before `AsyncScheduler`, whose drafts never leave the GPU: there only their depth can be chosen.

    The depth holds for the step after the next, and rows share it.
    """

    def _propose(self, speculation: Speculation, requests: list[Request]) -> None:
        lengths = speculation.lengths(requests, self._surroundings(), [Form("")] * len(requests))
        self.dynamic_sd_lookup[:] = [int(lengths.max())] * len(self.dynamic_sd_lookup)


def _call_of(request: Request) -> str:
    extra = request.sampling_params.extra_args if request.sampling_params is not None else None
    return str(extra.get(CALL_ARGUMENT, "")) if extra else ""


def _ended_by_itself(request: Request) -> bool:
    from vllm.v1.request import RequestStatus

    return request.status in (RequestStatus.FINISHED_STOPPED, RequestStatus.FINISHED_LENGTH_CAPPED)
