package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.rules.Rule

/**
 * At the end of analysis: places where no plan can exist for a call are refused; later rules refuse the rest. A
 * resolution rule and not a check rule, since Spark wraps what check rules throw and loses the SQLSTATE.
 */
object CheckCalls extends Rule[LogicalPlan] {
  override def apply(plan: LogicalPlan): LogicalPlan = {
    plan.foreach { node =>
      node.expressions.foreach(_.foreach(checkExpression))
      node match {
        case _: MergeIntoTable | _: UpdateTable | _: DeleteFromTable if node.expressions.exists(LLMCall.in) =>
          throw LLMErrors.unsupported(
            s"llm() in ${node.nodeName}",
            "Write the answers into a table with CREATE TABLE ... AS SELECT first, then use that table.")
        case _ =>
      }
    }
    plan
  }

  private def checkExpression(e: Expression): Unit = e match {
    case _: AnyOrder => throw LLMErrors.misplacedAnyOrder()
    case f: LambdaFunction if LLMCall.in(f.function) =>
      throw LLMErrors.unsupported(
        "llm() inside a lambda function such as transform(array, x -> llm(...))",
        "Explode the array, call llm() on its rows, and collect the answers with collect_list.")
    case s: SubqueryExpression if !s.isInstanceOf[LateralSubquery] => s.plan.foreach { node =>
      if (node.expressions.exists(_.exists { case c: LLMCall => c.exists(isOuter); case _ => false })) {
        throw LLMErrors.unsupported(
          "llm() over columns from outside of a correlated subquery",
          "Join the two tables and call llm() on the joined rows.")
      }
    }
    case _ =>
  }

  private def isOuter(e: Expression): Boolean = e.isInstanceOf[OuterReference]
}
