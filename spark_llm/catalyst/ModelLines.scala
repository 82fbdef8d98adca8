package org.apache.spark.sql.llm

import java.util.Locale

/**
 * What EXPLAIN says about the two models of a call: the decision, and after the run which of them answered, and what
 * each has generated. Nothing for a call with one model.
 * {{{
 *   models         pilot of 50 rows: gain +26.0 points (..), 131 of 400 questions answered by large (33 %), ...
 *   applied        Models: small for all rows, large where it pays (policy cascade): decided by a pilot at run time
 * }}}
 */
class ModelLines(call: LLMCall, settings: Map[String, String], reasoning: ReasoningLines) {
  private val (cheap, costly) = (call.options.models.headOption.orNull, call.options.models.lastOption.orNull)

  def decision: Option[Decision] = Option.when(cheap != null) {
    val policy = LLMConf.get(settings, "spark.llm.reasoning.policy").get
    val spent =
      LLMConf.get(settings, "spark.llm.reasoning.budget").fold("")(b => s", on average $b tokens of $costly a row")
    val found = reasoning.remembered.map(_.reason).fold("decided by a pilot at run time") { why =>
      s"remembered from an earlier run: ${why.replaceFirst("^off", cheap).replaceFirst("^on for", s"$costly for")}"
    }
    Decision.applied("Models", s"$cheap for all rows, $costly where it pays (policy $policy)$spent: $found")
  }

  /** What the run has cost and gained. */
  def after(e: LLMEvalExec): Option[String] = Option.when(cheap != null) {
    def metric(name: String): Long = e.metrics(name).value
    val (asked, chosen) = (metric(LLMMetrics.Questions), metric(LLMMetrics.CostlyRows))
    val (all, dear) = (metric(LLMMetrics.GeneratedTokens), metric(LLMMetrics.CostlyTokens))
    val share = if (asked > 0) s" (${math.round(100.0 * chosen / asked)} %)" else ""
    (reasoning.pilot(e).toSeq ++ Seq(
      s"${count(chosen)} of ${count(asked)} questions answered by $costly$share",
      s"$cheap has generated ${count(all - dear)} tokens, $costly ${count(dear)}")).mkString(", ")
  }

  private def count(n: Long): String = String.format(Locale.ROOT, "%,d", n)
}
