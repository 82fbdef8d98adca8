package org.apache.spark.sql.llm

import java.util.Locale

import scala.util.Try

/**
 * What EXPLAIN says about the thinking of a call: the decision, and after the run what it cost and gained. Nothing for
 * a call that does not think and whose model did not either.
 * {{{
 *   reasoning      auto, policy cascade, at most 512 tokens a row -> 120 of 400 questions, 9,300 tokens, ...
 *   applied        Reasoning: decided by a pilot at run time
 * }}}
 *
 * @param settings of the session, with the call's model
 */
class ReasoningLines(planned: LLMEvalExec, settings: Map[String, String]) {
  import ReasoningLines._

  private val call = planned.call
  private val mode = Try(Reasoning.mode(call.options, settings)).getOrElse(Reasoning.Off)
  private def auto = mode == Reasoning.Auto
  private def limit = s"at most ${Reasoning.budget(call.options, settings).get} thinking tokens a row"

  def decision: Option[Decision] = mode match {
    case Reasoning.Off => None
    case Reasoning.Auto =>
      val policy = LLMConf.get(settings, "spark.llm.reasoning.policy").get
      val spent = LLMConf.get(settings, "spark.llm.reasoning.budget").fold("")(b => s", on average $b over all rows")
      val found = remembered.fold("decided by a pilot at run time")(s => s"remembered from an earlier run: ${s.reason}")
      Some(Decision.applied(Rule, s"auto (policy $policy), $limit$spent: $found"))
    case _ => Some(Decision.applied(Rule, s"on for all rows, $limit"))
  }

  /** What the run has cost and gained. */
  def after(e: LLMEvalExec): Option[String] = {
    def metric(name: String): Long = e.metrics(name).value
    val (asked, reasoned, thinking) =
      (metric(LLMMetrics.Questions), metric(LLMMetrics.ReasonedRows), metric(LLMMetrics.ThinkingTokens))
    val found = if (auto) ran(e) else None
    val parts = Seq(
      if (auto) pilot(e) else None,
      Option.when(mode != Reasoning.Off && asked > 0)(
        s"${count(reasoned)} of ${count(asked)} questions answered with reasoning (${percent(reasoned, asked)})"),
      Option.when(thinking > 0)(s"${count(thinking)} thinking tokens"),
      found.map(s => math.round(s.extraTokens * asked - thinking)).filter(n => auto && n > 0)
        .map(n => s"about ${count(n)} saved against reasoning on every row"),
      some(metric(LLMMetrics.CutRows), "had their thinking cut off"),
      some(metric(LLMMetrics.UnaskedRows), "thought although they were asked not to: the model or its template " +
        "ignores the switch (spark.llm.reasoning.modes)")).flatten
    Option.when(parts.nonEmpty)(parts.mkString(", "))
  }

  /** What the pilot that the run went by has gained. */
  def pilot(e: LLMEvalExec): Option[String] = ran(e).map { s =>
    s"pilot of ${s.rows} rows: gain ${points(s.gain)} points (${points(s.low)} to ${points(s.high)})"
  }

  private def some(n: Long, what: String): Option[String] = Option.when(n > 0)(s"${count(n)} $what")

  private def key: Option[String] = Try(Reasoning.routerKey(call, settings)).toOption.flatten

  private def kept: Option[String] =
    planned.routerKey.orElse(key).flatMap(FittedRouters.look(_, settings, planned.session.sessionState.newHadoopConf()))

  def remembered: Option[FittedRouters.Summary] = kept.flatMap(FittedRouters.summary)

  private def ran(e: LLMEvalExec): Option[FittedRouters.Summary] = found(e).flatMap(FittedRouters.summary)

  /** What the run went by, as JSON: its own pilot's, else what was remembered. */
  def found(e: LLMEvalExec): Option[String] =
    e.routerKey.flatMap(k => e.query.flatMap(Coordinator.found(_, k))).orElse(kept)
}

object ReasoningLines {
  private val Rule = "Reasoning"

  private def points(share: Double): String = String.format(Locale.ROOT, "%+.1f", 100 * share)
  private def count(n: Long): String = String.format(Locale.ROOT, "%,d", n)
  private def percent(part: Long, all: Long): String = s"${math.round(100.0 * part / all)} %"
}
