package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.internal.SQLConf

/**
 * What is known about a call when it is planned, from statistics alone; kept in the Layout, which measured values do
 * not replace, so that EXPLAIN can set the estimates beside the actual figures.
 *
 * @param tableRows  rows of the largest table below, where known
 * @param rows       rows expected to reach the call, where known
 * @param rowsSource where `rows` comes from, or why it is unknown
 * @param leadTokens system message and instruction; None: the instruction differs from row to row
 * @param fields     None for a field without statistics
 * @param maxAnswer  tokens of the longest answer
 * @param maxAnswerSource the option or conf entry that says so
 * @param rowsStay   why rows are not moved to where they share more, if so
 * @param idle       why each rule did nothing that left no note on the call
 */
case class Expected(
    tableRows: Option[Double],
    rows: Option[Double],
    rowsSource: String,
    leadTokens: Option[Double],
    fields: Seq[Option[FieldEstimate]],
    maxAnswer: Int,
    maxAnswerSource: String,
    rowsStay: Option[String],
    idle: Seq[Decision])

object Expected {
  val NoStatistics = "run ANALYZE TABLE ... COMPUTE STATISTICS FOR COLUMNS, or spark-llm analyze"
  private val CharsPerToken = 4.0

  def apply(e: LLMEval, known: Layout): Expected = {
    val (rows, source) = rowsOf(e, known)
    val values = SQLConf.get.getAllConfs
    val tables = e.child.collectLeaves().flatMap(l => CatalogEstimates.statistics(l).flatMap(_.rowCount))
    val (limit, limitSource) = e.call.options.maxTokens.map(_ -> "max_tokens").getOrElse {
      LLMConf.get(values, LLMConf.MaxAnswer).get.toInt -> LLMConf.MaxAnswer
    }
    Expected(
      if (e.child.isStreaming) None else tables.maxOption.map(_.toDouble),
      rows,
      source,
      Option.when(e.call.instruction.foldable) {
        val system = LLMConf.get(values, "spark.llm.systemPrompt").getOrElse("")
        (system.length + String.valueOf(e.call.instruction.eval()).length) / CharsPerToken
      },
      known.estimates,
      limit,
      limitSource,
      LLMConf.rowsStay,
      WhyNot(e.call))
  }

  private def rowsOf(e: LLMEval, known: Layout): (Option[Double], String) =
    if (e.child.isStreaming) (None, "a stream")
    else RowEstimates(e.child) match {
      case Some(r) =>
        val kept = if (r.shares.isEmpty) "" else r.shares.distinct.mkString(", LLM predicates below keep ", ", ", "")
        (Some(r.count), sourceOf(e.child) + kept)
      case None if known.rows.isDefined => (known.rows, s"${sourceOf(e.child)}: the largest table, joins not estimated")
      case None => (None, NoStatistics)
    }

  private def sourceOf(plan: LogicalPlan): String =
    if (plan.collectLeaves().forall(counted)) "known from the query" else FieldOrder.CatalogStatistics

  private def counted(leaf: LogicalPlan): Boolean = leaf match {
    case _: Range | _: LocalRelation | _: OneRowRelation => true
    case _ => false
  }
}

/** Figures that follow from statistics of fields; fields are taken for independent of each other. */
case class FieldFigures(call: LLMCall, fields: Seq[Option[FieldEstimate]], rows: Double, dedup: Boolean) {
  private val named = call.fieldNames.zip(fields).map { case (n, f) => ChooseFieldOrder.Field(n, f) }

  /** Names of the fields that nothing is known about. */
  def unknown: Seq[String] = named.filter(_.estimate.isEmpty).map(_.name)

  /** Different questions at most: no more than rows, and no more than combinations of values. */
  def questionsAtMost: Double =
    if (!dedup || !call.instruction.foldable) rows
    else math.min(rows, named.map(_.estimate.fold(rows)(_.distinct.max(1.0))).product)

  /** Prompt tokens of one question; None where a field is unknown. */
  def tokens(lead: Double): Option[Double] =
    Option.when(unknown.isEmpty)(lead + named.flatMap(f => f.estimate.map(_.tokens(f.name))).sum)

  /** Share of all prompt tokens that stand in the same place of the question before, if sorted by `order`. */
  def shared(lead: Double, order: Seq[Int]): Option[Double] = tokens(lead).filter(_ > 0).map { all =>
    val prefixes = ChooseFieldOrder.prefixes(named, rows, order)
    val questions = if (dedup) prefixes.lastOption.getOrElse(1.0) else rows
    val saved = order.zip(prefixes).map { case (i, d) =>
      named(i).estimate.get.tokens(named(i).name) * math.max(0.0, 1 - d / questions)
    }
    (lead * math.max(0.0, 1 - 1 / questions) + saved.sum) / all
  }
}
