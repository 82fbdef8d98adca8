package org.apache.spark.sql.llm

import org.apache.spark.sql.{classic, SparkSession}
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.internal.SQLConf

/**
 * Last part of PlanCalls: decides for every LLMEval how its rows are laid out, and puts the exchange below it.
 * {{{
 *   LLMEval [llm(p, x, y)] (child)       ->  LLMEval [llm(p, x, y)] sorted by y, x (LLMExchange [y] (child))
 *   the same without statistics          ->  LLMEval ... (LLMExchange [x, y] (LLMProbe [x, y] (child)))
 *   the same with several engines        ->  LLMEval ... (LLMExchange ? (LLMExchange [x, y] (LLMProbe (child))))
 *   LLMEval [llm(q, y, x)] (LLMEval ...) ->  both over one exchange and one sort
 *   Limit (Filter (LLMEval (child)))     ->  unchanged: an exchange would read the whole child first
 * }}}
 */
case class LayOutCalls(session: SparkSession) {
  private lazy val engines =
    Engines.of(session.sparkContext, EngineKind.of(LLMConf.userSet(SQLConf.get)))

  def apply(plan: LogicalPlan): LogicalPlan = {
    LLMConf.exchangePartitions // a wrong value is told even where no exchange is needed
    visit(plan, limited = false)
  }

  private def visit(plan: LogicalPlan, limited: Boolean): LogicalPlan = plan match {
    case e: LLMEval if !e.layout.decided => place(e.copy(child = visit(e.child, limited)), limited)
    case _: GlobalLimit | _: LocalLimit => plan.mapChildren(visit(_, limited = true))
    case _: LLMEval | _: LookUpAnswers | _: Project | _: Filter | _: Generate | _: SubqueryAlias | _: Join | _: Union |
        _: Offset =>
      plan.mapChildren(visit(_, limited))
    case other => other.mapChildren(visit(_, limited = false)) // reads all rows before it gives the first
  }

  private def place(e: LLMEval, limited: Boolean): LogicalPlan = {
    val (estimates, rows) = CatalogEstimates(e.call, e.child)
    val bare = Layout(FieldOrder(Nil, ""), ExchangeChoice.none(""), Dedup.Task, estimates = estimates, rows = rows)
    val known = bare.copy(expected = Some(Expected(e, bare)))
    WithoutExchange.reason(e, limited) match {
      case Some(reason) =>
        e.copy(layout = known.copy(
          order = chooseOrder(e.call, known, Some("there is no exchange to measure in")),
          exchange = ExchangeChoice.none(reason),
          dedup = Dedup.off(e.call).getOrElse(Dedup.Task)))
      case None =>
        val wanted = known.copy(
          dedup = Dedup.off(e.call).getOrElse(Dedup.Query), sorted = true, byPrefix = LLMConf.reorderRows)
        SharedExchange.find(e).fold(ownExchange(e, wanted))(shared(e, wanted, _))
    }
  }

  private def shared(e: LLMEval, wanted: Layout, below: SharedExchange): LogicalPlan = {
    val keys = LayoutKeys(e.call, e.call.fields.indices, Nil).map(_.expression)
    val measuring = if (cannotMeasure.isEmpty) below.measuring(keys) else None
    val adopted = below.order(e.call)
    val order = adopted.getOrElse(chooseOrder(e.call, wanted, cannotMeasure.orElse(
      Option.when(measuring.isEmpty)("some fields come after the exchange"))))
    val exchange = below.evals.last.layout.exchange.copy(reason = "shared", shared = true)
    val child =
      if (adopted.isDefined || !order.pending) e.child
      else e.child.transformDown { case x: LLMExchange if x eq below.exchange => measuring.get }
    e.copy(layout = wanted.copy(order = order, exchange = exchange), child = child)
  }

  private def ownExchange(e: LLMEval, wanted: Layout): LogicalPlan = {
    val order = chooseOrder(e.call, wanted, cannotMeasure)
    val maxRows = e.child.maxRows
    val keys = LayoutKeys(e.call, order.positions, wanted.estimates)
    val measurable = cannotMeasure.isEmpty && keys.size > 1 && wanted.byPrefix
    val (choice, reason) =
      if (!wanted.byPrefix) (ChooseExchange.byAllFields(engines, maxRows), "rows are moved for dedup only")
      else wanted.rows.filter(_ => LayoutKeys.known(keys)) match {
        case Some(rows) =>
          val why = if (ChooseExchange.oneTask(rows, engines)) ChooseExchange.FewRows else ""
          (ChooseExchange.byLeadingFields(LayoutKeys.fields(keys), rows, engines, maxRows), why)
        case None if engines.count == 1 => (ChooseExchange.byAllFields(engines, maxRows), "")
        case None if measurable => (ChooseExchange.byAllFields(engines, maxRows), "until measured")
        case None => (ChooseExchange.byAllFields(engines, maxRows), "no statistics: groups are spread over engines")
      }
    val twice = reason == "until measured"
    val by = choice.leading.fold(keys)(keys.take)
    val source = if (twice || order.pending) LLMProbe(keys.map(_.expression), e.child) else e.child
    val spread = spreadSkipped(e, keys)
    val first = LLMExchange(by.map(_.expression), choice.partitions, pending = false, source, spread)
    // the other order of keys: Spark takes out a shuffle over one with the same keys, and could then not re-key it
    val exchange = if (twice) first.copy(keys = first.keys.reverse, pending = true, child = first) else first
    e.copy(
      layout = wanted.copy(order = order, exchange = ExchangeChoice(by.map(_.name), choice.partitions, reason)),
      child = exchange)
  }

  /**
   * Computed arguments are NULL in rows that the guard skips, and these rows would all go to one task. They get a key
   * from their other columns; all rows that are asked get the same one, so that equal questions still meet.
   */
  private def spreadSkipped(e: LLMEval, keys: Seq[LayoutKey]): Option[Expression] = {
    def computed(k: Expression) = k match {
      case a: Attribute => a.name == CallArguments.Name
      case _ => false
    }
    val columns = e.child.output.filter(a => !computed(a) && FieldKeys.usable(a))
    e.guard.filter { g =>
      keys.exists(k => computed(k.expression)) && columns.nonEmpty &&
        !g.exists(x => x.isInstanceOf[PythonUDF] || x.isInstanceOf[SubqueryExpression])
    }.map(g => If(EqualNullSafe(g, Literal.TrueLiteral), Literal(0L), new XxHash64(columns)))
  }

  private def chooseOrder(call: LLMCall, known: Layout, cannotMeasure: Option[String]): FieldOrder = {
    val size = call.fields.size
    val free = call.fields.indices.filterNot(i => call.first.contains(i) || call.last.contains(i))
    LLMConf.fieldsStay match {
      case _ if size < 2 => FieldOrder.asWritten(size, "one field")
      case Some(reason) => FieldOrder.asWritten(size, reason)
      case None if free.size < 2 => FieldOrder(call.first ++ free ++ call.last, "pinned")
      case None if known.rows.isDefined && hasStatistics(call, known) =>
        val fields = call.fieldNames.zip(known.estimates).map { case (n, s) => ChooseFieldOrder.Field(n, s) }
        val positions = ChooseFieldOrder(fields, known.rows.get, call.first, call.last)
        FieldOrder(positions, FieldOrder.CatalogStatistics)
      case None =>
        val unknown = FieldOrder.untilMeasured(size).copy(positions = call.first ++ free ++ call.last)
        cannotMeasure.fold(unknown)(r => unknown.copy(why = s"as written: no statistics, and $r", pending = false))
    }
  }

  private def hasStatistics(call: LLMCall, known: Layout): Boolean =
    call.fields.zip(known.estimates).exists { case (f, s) => !f.foldable && s.isDefined }

  /** Why no rule will come back with what LLMProbe finds, if so. */
  private def cannotMeasure: Option[String] = {
    val state = session.asInstanceOf[classic.SparkSession].sessionState
    if (!state.conf.adaptiveExecutionEnabled) Some("adaptive execution is off")
    else if (!state.adaptiveRulesHolder.runtimeOptimizerRules.exists(_.isInstanceOf[MeasureFieldOrder])) {
      Some("the session was started without spark_llm")
    } else None
  }
}
