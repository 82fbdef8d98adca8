package org.apache.spark.sql.llm

/** A Layout told as decisions, under the names that the switches and the documentation use. */
object LayoutDecisions {
  val ChooseFieldOrder = "ChooseFieldOrder"
  val Exchange = "ChooseExchange"
  val ReorderRows = "ReorderRows"
  val Dedup = "Dedup"

  def apply(layout: Layout, call: LLMCall): Seq[Decision] =
    if (!layout.decided) Nil else Seq(fields(layout, call), exchange(layout), rows(layout, call), dedup(layout))

  private def fields(layout: Layout, call: LLMCall): Decision = {
    val order = layout.order
    val names = order.positions.map(call.fieldNames(_)).mkString("[", ", ", "]")
    val moved = order.positions != call.fields.indices
    val why = order.why.stripPrefix("as written: ")
    if (order.pending) Decision.refused(ChooseFieldOrder, "not yet: the exchange below measures when the query runs")
    else if (moved) Decision.applied(ChooseFieldOrder, s"$names ($why)")
    else if (order.why == FieldOrder.CatalogStatistics || order.why == FieldOrder.Measured)
      Decision.refused(ChooseFieldOrder, s"no other order shares enough more than the written one ($why)")
    else Decision.refused(ChooseFieldOrder, why)
  }

  private def exchange(layout: Layout): Decision = {
    val choice = layout.exchange
    if (choice.keys.isEmpty) Decision.refused(Exchange, choice.reason)
    else {
      val parts = if (choice.partitions == 1) "1 partition" else s"${choice.partitions} partitions"
      val by = s"by ${choice.keys.mkString("[", ", ", "]")} into $parts"
      Decision.applied(Exchange, if (choice.reason.isEmpty) by else s"$by (${choice.reason})")
    }
  }

  private def rows(layout: Layout, call: LLMCall): Decision =
    layout.expected.flatMap(_.rowsStay) match {
      case Some(why) => Decision.refused(ReorderRows, why)
      case None if call.fields.isEmpty => Decision.refused(ReorderRows, "no fields")
      case None if layout.byPrefix => Decision.applied(ReorderRows, "rows are sorted by the field order")
      case None => Decision.applied(ReorderRows, "within the batches of a task only, as there is no exchange")
    }

  private def dedup(layout: Layout): Decision = layout.dedup.scope match {
    case "query" => Decision.applied(Dedup, "equal questions are asked once in the whole query")
    case "task" => Decision.applied(Dedup, "equal questions are asked once in a task, as there is no exchange")
    case _ => Decision.refused(Dedup, layout.dedup.reason)
  }
}
