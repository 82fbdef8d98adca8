package org.apache.spark.sql.llm

import java.util.Locale

/**
 * `spark.llm.budget`, read by the same rule in spark_llm/budget_conf.py.
 *
 * @param amount how much, in `unit`s; more than 0
 * @param unit   tok (tokens of prompts and answers), usd, or s (seconds of wall time)
 * @param prices of a million tokens, in USD
 */
case class Budget(text: String, amount: Double, unit: String, prices: Prices) {

  /** What so many tokens cost, in `unit`s. Time is spent by waiting, not by tokens. */
  def cost(promptTokens: Double, cachedTokens: Double, answerTokens: Double): Double = unit match {
    case Budget.Tokens => promptTokens + answerTokens
    case Budget.Usd =>
      val prompt = (promptTokens - cachedTokens) * prices.prompt + cachedTokens * prices.cached
      (prompt + answerTokens * prices.answer) / 1e6
    case _ => 0
  }

  def show(amount: Double): String = unit match {
    case Budget.Tokens => String.format(Locale.ROOT, "%,.0f tok", Double.box(amount))
    case Budget.Usd => String.format(Locale.ROOT, "%.4f usd", Double.box(amount))
    case _ => String.format(Locale.ROOT, "%.1f s", Double.box(amount))
  }
}

/** USD per million tokens of prompts, of prompts found in the prefix cache, and of answers. */
case class Prices(prompt: Double, cached: Double, answer: Double)

object Budget {
  val Tokens = "tok"
  val Usd = "usd"
  val Seconds = "s"
  val Key = "spark.llm.budget"
  val Prompt = "spark.llm.price.prompt"
  val Cached = "spark.llm.price.cached"
  val Answer = "spark.llm.price.answer"
  private val Expected = "an amount with its unit, such as 500ktok, 5Mtok, 1.5Gtok, 20usd, 90s, 30min or 2h"
  private val Form = """([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]+)""".r
  private val Units = Map(
    "tok" -> (Tokens, 1.0), "ktok" -> (Tokens, 1e3), "mtok" -> (Tokens, 1e6), "gtok" -> (Tokens, 1e9),
    "usd" -> (Usd, 1.0), "s" -> (Seconds, 1.0), "min" -> (Seconds, 60.0), "h" -> (Seconds, 3600.0))

  /** The budget of these settings, if there is one. Fails, at planning, for one that cannot be kept. */
  def of(values: Map[String, String]): Option[Budget] = values.get(Key).map { text =>
    val (amount, unit) = parse(text)
    def price(key: String): Option[Double] = values.get(key).map { p =>
      p.trim.toDoubleOption.filter(_ >= 0).getOrElse(throw LLMErrors.invalidConf(key, p, "a number from 0"))
    }
    val missing = Seq(Prompt, Answer).filter(price(_).isEmpty)
    if (unit == Usd && missing.nonEmpty) {
      throw LLMErrors.invalidConf(Key, text, s"tok or a time, or that ${missing.mkString(" and ")} is set " +
        "(US dollars for a million tokens)")
    }
    val prompt = price(Prompt).getOrElse(0.0)
    Budget(text.trim, amount, unit, Prices(prompt, price(Cached).getOrElse(prompt), price(Answer).getOrElse(0.0)))
  }

  private def parse(text: String): (Double, String) = text.trim match {
    case Form(number, unit) if Units.contains(unit.toLowerCase(Locale.ROOT)) && number.toDouble > 0 =>
      val (base, factor) = Units(unit.toLowerCase(Locale.ROOT))
      (number.toDouble * factor, base)
    case _ => throw LLMErrors.invalidConf(Key, text, Expected)
  }
}
