package org.apache.spark.sql.llm

import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.expressions.{Attribute, Expression}
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.execution.SparkPlan
import org.apache.spark.sql.execution.adaptive.{LogicalQueryStage, QueryStageExec}
import org.apache.spark.sql.execution.exchange.ReusedExchangeExec
import org.apache.spark.sql.internal.SQLConf

/**
 * In adaptive execution, when the exchange below a call has run: the field order that the measured values ask for.
 * {{{
 *   LLMEval as written (stage with LLMProbe)                  ->  LLMEval in the measured order (stage)
 *   LLMEval as written (LLMExchange pending (stage ...))      ->  LLMEval ... (LLMExchange [measured keys] (stage))
 *   the same where all fields are the best keys               ->  LLMEval ... (stage)
 *   few rows for one engine, in several partitions            ->  LLMEval ... (Repartition 1 without a shuffle (stage))
 * }}}
 * The sort above the stage follows, since it is planned from the node. Adaptive execution takes the new plan: it has
 * no more shuffles than the old one.
 */
case class MeasureFieldOrder(session: SparkSession) extends Rule[LogicalPlan] {
  import MeasureFieldOrder._

  override def apply(plan: LogicalPlan): LogicalPlan = if (!plan.exists(waits)) plan else plan.transformUp {
    case e: LLMEval if waits(e) => measured(e).fold[LogicalPlan](e)(decide(e, _))
  }

  private def waits(plan: LogicalPlan): Boolean = plan match {
    case e: LLMEval => e.layout.order.pending || below(e.child).pending.isDefined
    case _ => false
  }

  private def decide(e: LLMEval, found: Found): LLMEval = {
    val call = e.call
    val layout = e.layout.copy(estimates = found.estimates, rows = Some(found.rows))
    val order =
      if (!layout.order.pending) layout.order
      else {
        val settled = below(e.child).evals.filter(!_.layout.order.pending)
        SharedExchange.adopt(call, settled).getOrElse(choose(call, found))
      }
    val keys = LayoutKeys(call, order.positions, found.estimates)
    val engines = Engines.of(session.sparkContext, EngineKind.of(LLMConf.userSet(SQLConf.get)))
    val settledHere = e.copy(layout = layout.copy(order = order))
    below(e.child).pending.fold(gathered(settledHere, found.rows, engines)) { exchange =>
      val choice = ChooseExchange.byLeadingFields(LayoutKeys.fields(keys), found.rows, engines, None)
      val by = choice.leading.fold(keys)(keys.take)
      val settled = choice.leading.map(_ =>
        exchange.copy(keys = by.map(_.expression), partitions = choice.partitions, pending = false))
      val partitions = settled.fold(exchange.partitions)(_.partitions)
      e.copy(
        layout = layout.copy(order = order, exchange = ExchangeChoice(by.map(_.name), partitions, "measured")),
        child = e.child.transformDown { case x: LLMExchange if x eq exchange => settled.getOrElse(exchange.child) })
    }
  }

  /** Tasks that share an engine would each compute the prefixes of the same few rows: one of them reads them all. */
  private def gathered(e: LLMEval, rows: Double, engines: Engines): LLMEval =
    if (!ChooseExchange.oneTask(rows, engines) || e.layout.exchange.partitions < 2) e
    else gather(e).asInstanceOf[LLMEval]

  /** The calls of a chain have one exchange, so they are gathered together. */
  private def gather(plan: LogicalPlan): LogicalPlan = plan match {
    case e: LLMEval =>
      val exchange = e.layout.exchange
      val why = if (exchange.shared) exchange.reason else ChooseExchange.FewRows
      e.copy(
        layout = e.layout.copy(exchange = exchange.copy(partitions = 1, reason = why)),
        child = gather(e.child))
    case _: Project | _: Filter => plan.withNewChildren(Seq(gather(plan.children.head)))
    case r: Repartition => r
    case stage => Repartition(1, shuffle = false, stage)
  }

  private def choose(call: LLMCall, found: Found): FieldOrder = {
    val fields = call.fieldNames.zip(found.estimates).map { case (n, s) => ChooseFieldOrder.Field(n, s) }
    FieldOrder(ChooseFieldOrder(fields, found.rows, call.first, call.last), FieldOrder.Measured)
  }

  private def measured(e: LLMEval): Option[Found] = for {
    stage <- below(e.child).stage
    (probe, columns) <- probeOf(stage)
    rows = probe.sketches.rows
    values = probe.sketches.value
    if rows > 0
  } yield Found(rows.toDouble, e.call.fields.map {
    case f if f.foldable => Some(FieldEstimate.constant(String.valueOf(f.eval()).length))
    case f => Some(columns.indexWhere(_.semanticEquals(f))).filter(_ >= 0).map(values(_))
  })
}

object MeasureFieldOrder {
  private case class Found(rows: Double, estimates: Seq[Option[FieldEstimate]])

  private case class Below(evals: Seq[LLMEval], pending: Option[LLMExchange], stage: Option[LogicalQueryStage])

  private def below(plan: LogicalPlan): Below = plan match {
    case s: LogicalQueryStage => Below(Nil, None, Some(s))
    case e: LLMEval =>
      val rest = below(e.child)
      rest.copy(evals = e +: rest.evals)
    case x: LLMExchange => below(x.child).copy(pending = Some(x).filter(_.pending))
    case _: Project | _: Filter | _: Repartition | _: LookUpAnswers => below(plan.children.head)
    case _ => Below(Nil, None, None)
  }

  /** The probe in a stage that has run, and its columns as they are called above the stage. */
  private def probeOf(stage: LogicalQueryStage): Option[(LLMProbeExec, Seq[Expression])] =
    stage.physicalPlan.collectFirst { case q: QueryStageExec if q.isMaterialized => q }.flatMap { query =>
      val ran: SparkPlan = query.plan match {
        case ReusedExchangeExec(_, exchange) => exchange
        case other => other
      }
      // the plan of an earlier stage is not searched: a stage is a leaf
      ran.collectFirst { case p: LLMProbeExec => p }.map { probe =>
        val names = ran.output.map(_.exprId).zip(query.output).toMap
        (probe, probe.columns.map(_.transform {
          case a: Attribute => names.getOrElse(a.exprId, a)
        }))
      }
    }
}
