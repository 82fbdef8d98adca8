package org.apache.spark.sql.llm

import java.util.Locale

import scala.util.Try

/**
 * The lines of EXPLAIN about one call. Estimates say where they come from; after a run, `->` leads to what it was.
 * {{{
 *   call 1  llm('Is it good?', review, stars), engine=fake
 *           rows           1,000 in the table, about 412 at the call (catalog statistics) -> 400
 *           questions      at most 400 (catalog statistics) -> 398
 *           ...
 *           applied        MoveFilters: runs after the join
 *           not applied    ShareCalls: no other call asks the same, or about the same fields
 * }}}
 *
 * @param ran    the node that ran, with its metrics
 * @param unused the query is over, and the call never got a row
 */
case class CallBlock(planned: LLMEvalExec, ran: Option[LLMEvalExec], unused: Boolean, settings: Map[String, String]) {
  import CallBlock._

  private val call = planned.call
  private val layout = ran.getOrElse(planned).layout
  private val expected = planned.layout.expected
  private val reasoning = new ReasoningLines(planned, settings)
  private val models = new ModelLines(call, settings, reasoning)
  private val dedup = layout.dedup.scope != "off"

  def lines(number: Int): Seq[String] = {
    val decisions = call.notes ++ expected.toSeq.flatMap(_.idle) ++ LayoutDecisions(layout, call) ++
      EngineDecisions(settings, ran.isDefined) ++ models.decision ++ reasoning.decision
    s"call $number  ${call.written}$engine" +: (Seq(
      labelled("rows", rows),
      labelled("questions", questions),
      labelled("tokens in", promptTokens),
      labelled("tokens out", answerTokens),
      labelled("shared prefix", sharedPrefix)) ++
      ran.flatMap(models.after).map(labelled("models", _)) ++
      ran.flatMap(reasoning.after).map(labelled("reasoning", _)) ++
      budget.map(labelled("budget", _)) ++
      listed("applied", decisions.filter(_.applied)) ++
      listed("not applied", decisions.filterNot(_.applied)))
  }

  private def engine: String = Seq(
    if (call.options.models.nonEmpty) None // the text of the call has them
    else call.options.model.orElse(LLMConf.get(settings, "spark.llm.model")).map(m => s", model=$m"),
    Some(EngineKind.of(settings)).filter(_ != EngineKind.Vllm).map(k => s", engine=$k")).flatten.mkString

  private def figures: Option[FieldFigures] =
    for (e <- expected; n <- e.rows) yield FieldFigures(call, e.fields, n, dedup)

  private def rows: String = {
    val estimate = expected.flatMap(e => e.rows.map((e, _))) match {
      case Some((e, n)) =>
        val tables = e.tableRows.filter(_ != n).fold("")(t => s"${count(t)} in the ${tableName}, ")
        s"${tables}about ${count(n)} at the call (${e.rowsSource})"
      case None => s"unknown (${expected.fold(Expected.NoStatistics)(_.rowsSource)})"
    }
    val guarded = planned.guard.fold("")(g => s", asked only if ${g.sql}")
    val actual = if (unused) " -> 0" else after { e =>
      val extra = Seq(
        LLMMetrics.CachedRows -> "from the cache",
        LLMMetrics.SkippedRows -> "skipped by condition",
        LLMMetrics.FailedRows -> "failed",
        LLMMetrics.OverBudgetRows -> "over the budget").map { case (m, text) => metric(e, m) -> text }
      val told = extra.collect { case (n, text) if n > 0 => s"${count(n.toDouble)} $text" }
      (count(metric(e, LLMMetrics.Rows).toDouble) +: told).mkString(", ")
    }
    estimate + guarded + actual
  }

  private def tableName: String = if (planned.collectLeaves().size > 1) "largest table" else "table"

  private def questions: String = {
    val estimate = (figures, expected) match {
      case (Some(f), Some(e)) if f.questionsAtMost < f.rows =>
        s"at most ${count(f.questionsAtMost)} different (${FieldOrder.CatalogStatistics})"
      case (Some(f), _) if !dedup => s"about ${count(f.rows)}, one a row"
      case (Some(f), _) =>
        val why = if (f.unknown.isEmpty) "" else s" (nothing known about ${f.unknown.mkString(", ")})"
        s"at most ${count(f.rows)}, one a row$why"
      case _ => "unknown"
    }
    estimate + after { e =>
      val twins = metric(e, LLMMetrics.DuplicateRows)
      val answered = if (twins > 0) s", ${count(twins.toDouble)} rows answered by the equal row before" else ""
      count(metric(e, LLMMetrics.Questions).toDouble) + answered
    }
  }

  private def promptTokens: String = {
    val estimate = (for {
      f <- figures
      lead <- expected.flatMap(_.leadTokens)
      one <- f.tokens(lead)
    } yield s"about ${count(one * f.questionsAtMost)}, ${count(one)} a question (${FieldOrder.CatalogStatistics})")
      .getOrElse(s"unknown$why")
    estimate + after { e => count(metric(e, LLMMetrics.PromptTokens).toDouble) }
  }

  private def answerTokens: String = {
    val limit = expected.fold("")(e => s"at most ${e.maxAnswer} a question (${e.maxAnswerSource})")
    val all = for (f <- figures; e <- expected) yield s"at most ${count(f.questionsAtMost * e.maxAnswer)}, "
    all.getOrElse("") + limit.stripPrefix(if (all.isDefined) "at most " else "") +
      after { e => count(metric(e, LLMMetrics.GeneratedTokens).toDouble) }
  }

  private def sharedPrefix: String = {
    val measured = layout.order.why == FieldOrder.Measured
    val source = if (measured) FieldOrder.Measured else FieldOrder.CatalogStatistics
    val known = if (measured) layout.rows.map(FieldFigures(call, layout.estimates, _, dedup)) else figures
    val lead = expected.flatMap(_.leadTokens)
    def share(order: Seq[Int]): Option[String] = for (f <- known; l <- lead; s <- f.shared(l, order)) yield percent(s)
    val written = call.fields.indices
    val chosen = layout.order.positions
    val apart = if (layout.byPrefix) "" else ", if one batch had all rows"
    val estimate = (share(written), share(chosen)) match {
      case _ if expected.exists(_.rowsStay.isDefined) => "unknown, rows are asked as they come"
      case (Some(w), Some(_)) if chosen == written =>
        s"$w in written order ${names(written)}, which is kept$apart ($source)"
      case (Some(w), Some(c)) =>
        s"$w in written order ${names(written)}, $c in chosen order ${names(chosen)}$apart ($source)"
      case _ if layout.order.pending =>
        s"unknown, written order ${names(written)} until measured in the exchange when the query runs"
      case _ => s"unknown$why, order ${names(chosen)}"
    }
    estimate + after { e =>
      val all = metric(e, LLMMetrics.PromptTokens)
      if (all == 0) "nothing was asked"
      else s"${percent(metric(e, LLMMetrics.CachedPromptTokens).toDouble / all)} found in the engine's prefix cache"
    }
  }

  // of the whole query: its calls share it
  private def budget: Option[String] = Try(Budget.of(settings)).toOption.flatten.map { b =>
    s"${b.text} for the query, spark.llm.budget" + after { e =>
      e.query.flatMap(Coordinator.spent).fold("nothing spent")(s => s"$s spent")
    }
  }

  private def names(order: Seq[Int]): String = order.map(call.fieldNames(_)).mkString("[", ", ", "]")

  private def why: String =
    if (expected.exists(_.leadTokens.isEmpty)) " (the instruction differs from row to row)"
    else figures.map(_.unknown).filter(_.nonEmpty) match {
      case Some(fields) => s" (no statistics for ${fields.mkString(", ")}: ${Expected.NoStatistics})"
      case None => expected.filter(_.rows.isEmpty).fold("")(e => s" (${e.rowsSource})")
    }

  private def after(text: LLMEvalExec => String): String = ran.fold("")(e => s" -> ${text(e)}")
}

object CallBlock {
  private val Indent = " " * 8
  private val LabelWidth = 15
  private val Exact = 1e7

  private def labelled(label: String, text: String): String = Indent + label.padTo(LabelWidth, ' ') + text

  private def listed(label: String, decisions: Seq[Decision]): Seq[String] =
    decisions.map(d => s"${d.rule}: ${d.reason}").distinct.zipWithIndex.map { case (text, i) =>
      labelled(if (i == 0) label else "", text)
    }

  private def metric(e: LLMEvalExec, name: String): Long = e.metrics(name).value

  private def percent(share: Double): String = s"${math.round(100 * share)} %"

  private def count(n: Double): String =
    if (n < Exact) String.format(Locale.ROOT, "%,d", math.ceil(n - 1e-9).toLong)
    else if (n < 1e9) String.format(Locale.ROOT, "%.1f M", n / 1e6)
    else String.format(Locale.ROOT, "%.1f G", n / 1e9)
}
