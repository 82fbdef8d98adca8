package org.apache.spark.sql.llm

import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.atomic.LongAdder

import scala.jdk.CollectionConverters._

/** What the tasks of this JVM counted for one call, since the JVM started. */
class CallCounters {
  private val counts = new ConcurrentHashMap[String, LongAdder]

  /** @param metric key of the node's SQL metric */
  def add(metric: String, n: Long): Unit = counts.computeIfAbsent(metric, _ => new LongAdder).add(n)

  /** By the names of the metric system. */
  def values: Map[String, Long] = {
    val known = counts.asScala.map { case (metric, n) => CallCounters.name(metric) -> n.sum }.toMap
    known.get("prompt_tokens").fold(known)(n => known + ("prefix_cache_queries" -> n))
  }
}

/** The counters of this JVM, by the call's label. */
object CallCounters {
  private val calls = new ConcurrentHashMap[String, CallCounters]

  def of(label: String): CallCounters = calls.computeIfAbsent(label, _ => {
    EngineMetrics.offer(label)
    new CallCounters
  })

  def all: Map[String, Map[String, Long]] = calls.asScala.map { case (label, c) => label -> c.values }.toMap

  /** vLLM's name for what it counts too; else the SQL metric's, in its form. */
  private[llm] def name(metric: String): String = metric match {
    case LLMMetrics.GeneratedTokens => "generation_tokens"
    case LLMMetrics.CachedPromptTokens => "prefix_cache_hits"
    case LLMMetrics.EngineWait => "engine_wait_ms"
    case other => other.replaceAll("([A-Z])", "_$1").toLowerCase
  }
}
