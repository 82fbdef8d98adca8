package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * What a rule did about a call, or why it did nothing. Kept in `LLMCall.notes`, from where EXPLAIN has it.
 *
 * @param rule   the rule's name, as on the page docs/planning.md
 * @param reason what was done, or what stood in the way
 */
case class Decision(rule: String, applied: Boolean, reason: String) {
  override def toString: String = s"$rule ${if (applied) "applied" else "not applied"}: $reason"
}

object Decision {
  val IsolateCalls = "IsolateCalls"
  val MoveFilters = "MoveFilters"
  val OrderPredicates = "OrderPredicates"
  val HoistCalls = "HoistCalls"
  val ShareCalls = "ShareCalls"
  val Guards = "Guards"

  def applied(rule: String, reason: String): Decision = Decision(rule, applied = true, reason)
  def refused(rule: String, reason: String): Decision = Decision(rule, applied = false, reason)
  def off(rule: String, key: String): Decision = refused(rule, s"switched off by $key")

  /** What was decided about the calls of a planned query, a line for each decision, in plan order. */
  def report(plan: LogicalPlan): String = plan.collect {
    case e: LLMEval => e.call.notes.map(note => s"${e.call}: $note")
  }.flatten.mkString("\n")

  /** Notes on all calls of an expression. */
  def in[T <: Expression](e: T, decisions: Decision*): T =
    e.transform { case c: LLMCall => c.noted(decisions: _*) }.asInstanceOf[T]

  /** Notes on all calls of a node itself. */
  def on[T <: LogicalPlan](node: T, decisions: Decision*): T =
    node.transformExpressions { case c: LLMCall => c.noted(decisions: _*) }.asInstanceOf[T]

  /** Notes on the calls of a predicate; where it only reads answers' columns, on the calls that compute them. */
  def behind(f: LLMFilter, decisions: Decision*): LLMFilter =
    if (LLMCall.in(f.condition)) on(f, decisions: _*)
    else f.copy(child = onColumns(f.child, f.condition.references, decisions))

  /** Notes on the calls of those columns that Projects right below compute. */
  def onColumns(plan: LogicalPlan, columns: AttributeSet, decisions: Seq[Decision]): LogicalPlan = plan match {
    case Project(list, child) =>
      val read = AttributeSet(list.filter(columns.contains).flatMap(_.references))
      Project(
        list.map(e => if (columns.contains(e)) in(e, decisions: _*) else e),
        onColumns(child, read, decisions))
    case u @ (_: Filter | _: LLMFilter) =>
      u.withNewChildren(Seq(onColumns(u.children.head, columns, decisions)))
    case other => other
  }
}
