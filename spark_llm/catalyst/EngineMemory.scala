package org.apache.spark.sql.llm

import java.util.Locale

import com.fasterxml.jackson.databind.JsonNode

/**
 * Who lays out the KV cache of an engine, and why, as the engine said when it started (memory.json).
 *
 * @param allocator jenga, or grouped, which is vLLM's own
 * @param pages     large pages of the one, blocks of the other
 */
case class EngineMemory(allocator: String, reason: String, pages: Long) {
  private def applied = allocator == EngineMemory.Jenga

  /** The line of EXPLAIN. */
  def decision(rule: String): Decision = Decision(rule, applied, text)

  def text: String = {
    val what = if (applied) "jenga" else "vLLM's own"
    val unit = if (applied) "large pages" else "blocks"
    String.format(Locale.ROOT, "%s, %,d %s: %s", what, Long.box(pages), unit, reason)
  }

  def json: Map[String, Any] = Map("allocator" -> allocator, "reason" -> reason, "pages" -> pages)
}

object EngineMemory {
  private val Jenga = "jenga"

  /** None where the engine said nothing that can be read. */
  def of(node: JsonNode): Option[EngineMemory] =
    for {
      n <- Option(node).filter(_.isObject)
      allocator <- Option(n.get("allocator")).filter(_.isTextual)
      reason <- Option(n.get("reason")).filter(_.isTextual)
      pages <- Option(n.get("pages")).filter(_.isNumber)
    } yield EngineMemory(allocator.asText, reason.asText, pages.asLong)
}
