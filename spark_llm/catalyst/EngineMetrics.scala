package org.apache.spark.sql.llm

import com.codahale.metrics.{Counter, Gauge, MetricRegistry}
import com.fasterxml.jackson.databind.JsonNode

/**
 * What this JVM's engine says about itself, under vLLM's names, in Spark's metric system.
 * {{{
 *   vLLM /metrics --every 2 s--> supervisor --line on stdout--> add --> engine.prompt_tokens, ...
 *   tasks' own counts (CallCounters)                                --> call.LABEL.prompt_tokens, ...
 * }}}
 * Engines that have no such page, the fake one and endpoints, are described by the sum of the tasks' own counts.
 */
object EngineMetrics {
  /** Sums since the engine started. */
  val Counters: Seq[String] = Seq("prompt_tokens", "generation_tokens", "prefix_cache_queries", "prefix_cache_hits",
    "num_preemptions", "spec_decode_num_drafts", "spec_decode_num_draft_tokens", "spec_decode_num_accepted_tokens",
    "external_prefix_cache_hits", "kv_offload_load_bytes", "kv_offload_store_bytes", "kv_offload_bad_blocks",
    "kv_offload_unkept_blocks", "kv_offload_evictions")
  /** As it is now. */
  val Gauges: Seq[String] = Seq("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
    "speculation_draft_length", "speculation_acceptance_rate", "speculation_goodput", "speculation_decision_seconds",
    "swap_blocks", "swap_cap_blocks", "swap_stall_share", "swap_loaded_bytes", "swap_stored_bytes")
  /** Those of which several engines have a mean; the others have a sum. */
  val Means: Set[String] = Set("kv_cache_usage_perc", "speculation_draft_length", "speculation_acceptance_rate",
    "speculation_decision_seconds", "swap_stall_share")
  /** Of each call. */
  val OfCalls: Seq[String] = Seq("requests", "prompt_tokens", "generation_tokens", "prefix_cache_queries",
    "prefix_cache_hits", "cached_rows", "failed_rows", "retries", "over_budget_rows", "engine_wait_ms")

  @volatile private var newest: Option[Map[String, Double]] = None
  @volatile private var told: Option[EngineMemory] = None
  @volatile private var registry: Option[MetricRegistry] = None

  /** A reading of the engine, from its supervisor. */
  def add(metrics: JsonNode): Unit = newest = Some(values(metrics))

  /** How the engine lays out its memory, from its supervisor. */
  def tell(memory: JsonNode): Unit = told = EngineMemory.of(memory)

  /** The engine has ended. */
  def clear(): Unit = {
    newest = None
    told = None
  }

  def memory: Option[EngineMemory] = told

  def sample: Option[Map[String, Double]] = newest

  /** The newest value; of engines that tell nothing, the sum over the calls. */
  def value(name: String): Double = newest match {
    case Some(told) => told.getOrElse(name, 0.0)
    case None => CallCounters.all.values.map(_.getOrElse(name, 0L)).sum.toDouble
  }

  def register(to: MetricRegistry): Unit = {
    registry = Some(to)
    Counters.foreach(n => put(to, s"engine.$n", counter(() => value(n).toLong)))
    Gauges.foreach(n => put(to, s"engine.$n", gauge(() => value(n))))
    CallCounters.all.keys.foreach(offer)
  }

  /** A call that is new in this JVM. */
  def offer(label: String): Unit = registry.foreach { to =>
    OfCalls.foreach { n =>
      put(to, s"call.$label.$n", counter(() => CallCounters.all.get(label).flatMap(_.get(n)).getOrElse(0L)))
    }
  }

  private[llm] def put(to: MetricRegistry, name: String, metric: com.codahale.metrics.Metric): Unit =
    to.synchronized(if (!to.getNames.contains(name)) to.register(name, metric))

  private[llm] def counter(now: () => Long): Counter = new Counter {
    override def getCount: Long = now()
  }

  private[llm] def gauge(now: () => Double): Gauge[Double] = new Gauge[Double] {
    override def getValue: Double = now()
  }

  private[llm] def values(node: JsonNode): Map[String, Double] =
    Resources.members(node).collect { case (name, n) if n.isNumber => name -> n.asDouble }
}
