package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.plans.logical._

/** Calls whose rows must stay where they are, or for which moving them does not pay. */
object WithoutExchange {
  /** Fewer rows are asked at once anyway, and whoever wrote LIMIT 20 waits for them. */
  val FewRows = 64L

  def reason(e: LLMEval, limited: Boolean): Option[String] = {
    val child = e.child
    val keys = LayoutKeys(e.call, e.call.fields.indices, Nil)
    if (child.isStreaming) Some("streaming")
    else if (limited) Some("a LIMIT above stops early")
    else if (ordered(child)) Some("the rows are in the order of a sort below")
    else if (child.maxRows.exists(_ <= FewRows)) Some(s"at most ${child.maxRows.get} rows")
    else if (keys.isEmpty) Some(if (e.call.fields.isEmpty) "no fields" else "no field can be a key")
    else if (!LLMConf.reorderRows && Dedup.off(e.call).isDefined) Some(LLMConf.rowsStay.get)
    else None
  }

  private def ordered(plan: LogicalPlan): Boolean = plan match {
    case _: Sort => true
    case _: LLMExchange => false
    case _: Project | _: Filter | _: LLMEval | _: LLMProbe | _: LookUpAnswers | _: SubqueryAlias | _: Generate |
        _: GlobalLimit | _: LocalLimit | _: Offset =>
      ordered(plan.children.head)
    case _ => false
  }
}
