package org.apache.spark.sql.llm

import java.nio.charset.StandardCharsets.UTF_8
import java.security.MessageDigest
import java.util.concurrent.ConcurrentHashMap

/**
 * Names of calls in the metric system, such as `9f3a01bc`: a digest of what the call asks, the same in every run, so
 * that dashboards carry over. No text of a prompt is in it. Reports show it beside the call.
 */
object CallSites {
  private val Most = 200
  private val DigestBytes = 4
  /** Where the calls of an application go that runs ever new ones. */
  val Other = "other"

  private val known = ConcurrentHashMap.newKeySet[String]

  /** Driver only. */
  def label(call: LLMCall): String = {
    val hash = digest(call)
    if (known.size < Most) known.add(hash)
    if (known.contains(hash)) hash else Other
  }

  private def digest(call: LLMCall): String = {
    val asked = if (call.instruction.foldable) call.instruction.sql else "of each row"
    val parts = (asked +: call.fieldNames) ++ call.options.written
    MessageDigest.getInstance("SHA-256").digest(parts.mkString("\u0000").getBytes(UTF_8))
      .take(DigestBytes).map(b => f"$b%02x").mkString
  }
}
