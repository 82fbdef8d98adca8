package org.apache.spark.sql.llm

import java.util.Locale

/**
 * Whether a call's answers come with thinking before them: never, always, or where the router expects it to pay.
 * {{{
 *   reasoning => 'off' | 'on' | 'auto'   else spark.llm.reasoning.mode
 *   reasoning_budget => N                else spark.llm.reasoning.maxThinkingLen
 * }}}
 */
object Reasoning {
  val Off = "off"
  val On = "on"
  val Auto = "auto"
  val Modes: Seq[String] = Seq(Off, On, Auto)

  private val Mode = "spark.llm.reasoning.mode"
  private val MaxThinking = "spark.llm.reasoning.maxThinkingLen"
  private val Policy = "spark.llm.reasoning.policy"

  /** The mode of a call. */
  def mode(options: LLMOptions, values: Map[String, String]): String = options.reasoning.getOrElse {
    val text = LLMConf.get(values, Mode).get
    Some(text.trim.toLowerCase(Locale.ROOT)).filter(Modes.contains)
      .getOrElse(throw LLMErrors.invalidConf(Mode, text, Modes.mkString(", ")))
  }

  /** What of it can change an answer; nothing where the model does not think, as before there was a choice. */
  def fingerprint(call: LLMCall, values: Map[String, String]): Seq[Any] = mode(call.options, values) match {
    case Off => Nil
    case Auto => Seq(Auto, budget(call.options, values), LLMConf.get(values, Policy), call.labels.isDefined)
    case on => Seq(on, budget(call.options, values))
  }

  /** Name of the query shape under which its fitted router is shared and kept; None where nothing is routed. */
  def routerKey(call: LLMCall, values: Map[String, String]): Option[String] =
    Option.when(call.options.models.nonEmpty || mode(call.options, values) == Auto)(CallFingerprint(call).id)

  /** Thinking tokens of a row at most, as text. */
  def budget(options: LLMOptions, values: Map[String, String]): Option[String] =
    options.reasoningBudget.map(_.toString).orElse(LLMConf.get(values, MaxThinking))
}
