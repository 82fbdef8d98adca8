package org.apache.spark.sql.llm

/**
 * How the rows of one call are laid out before they are asked. Decided once, on the logical node: adaptive execution
 * plans the node again with other statistics and must not come to another result.
 *
 * @param order     in which order the fields stand in the prompt
 * @param exchange  which shuffle brings equal rows, and rows with equal leading fields, together
 * @param dedup     how far equal questions are asked once
 * @param sorted    the rows of a partition are sorted, so equal argument tuples are neighbours
 * @param byPrefix  the sort follows the field order; else only equal tuples stand together
 * @param estimates what is known about the fields, in written order; None where nothing is
 * @param rows      rows that reach the call, where known
 * @param expected  what EXPLAIN says about the call; stays when measured values replace `estimates` and `rows`
 */
case class Layout(
    order: FieldOrder,
    exchange: ExchangeChoice,
    dedup: Dedup,
    sorted: Boolean = false,
    byPrefix: Boolean = false,
    estimates: Seq[Option[FieldEstimate]] = Nil,
    rows: Option[Double] = None,
    expected: Option[Expected] = None) {

  def decided: Boolean = this ne Layout.Undecided

  /** For the line of EXPLAIN, such as `fieldOrder=[stars, review] (measured), dedup=query, exchange=[stars]`. */
  def describe(names: Seq[String]): String =
    s"fieldOrder=${order.positions.map(names(_)).mkString("[", ", ", "]")} (${order.why}), " +
      s"dedup=${dedup.describe}, exchange=${exchange.describe}"
}

object Layout {
  /** Of a node that LayOutCalls has not seen. */
  val Undecided: Layout = Layout(FieldOrder(Nil, ""), ExchangeChoice.none(""), Dedup.Task)
}

/**
 * @param positions of the fields, in prompt order
 * @param why       where the order comes from, or why it is the written one
 * @param pending   MeasureFieldOrder replaces it when the shuffle below has run
 */
case class FieldOrder(positions: Seq[Int], why: String, pending: Boolean = false)

object FieldOrder {
  val CatalogStatistics = "catalog statistics"
  val Measured = "measured in the exchange"

  def asWritten(fields: Int, reason: String): FieldOrder = FieldOrder(0 until fields, s"as written: $reason")
  def untilMeasured(fields: Int): FieldOrder =
    FieldOrder(0 until fields, "as written until measured in the exchange", pending = true)
}

/**
 * @param keys       names of the fields that rows are hashed by; empty: no exchange
 * @param partitions number of hash partitions, 0 without an exchange
 * @param reason     why there is none, or why it is this one
 * @param shared     the exchange was made for a call further down
 */
case class ExchangeChoice(keys: Seq[String], partitions: Int, reason: String, shared: Boolean = false) {
  def describe: String = {
    val what = if (keys.isEmpty) "none" else keys.mkString("[", ", ", "]")
    if (reason.isEmpty) what else s"$what ($reason)"
  }
}

object ExchangeChoice {
  def none(reason: String): ExchangeChoice = ExchangeChoice(Nil, 0, reason)
}

/** @param scope "query", "task" or "off" */
case class Dedup(scope: String, reason: String = "") {
  def describe: String = if (reason.isEmpty) scope else s"$scope ($reason)"
}

object Dedup {
  val Query: Dedup = Dedup("query")
  val Task: Dedup = Dedup("task")

  /** Why equal questions must be asked again and again, if so. */
  def off(call: LLMCall): Option[Dedup] =
    if (!LLMConf.dedup) Some(Dedup("off", "spark.llm.dedup.enabled=false"))
    else if (call.options.sampled) Some(Dedup("off", "temperature > 0 without a seed"))
    else None
}
