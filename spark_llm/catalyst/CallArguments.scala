package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * Arguments that are not plain columns are computed once, in one Project below all calls of a node, where Python UDFs
 * and subqueries are planned. Calls over the same fields then stand on each other with nothing in between, and so share
 * what is laid out below the lowest.
 * {{{
 *   [llm('p', f(x)), llm('q', f(x))] over child  ->  llm('q', #1) over llm('p', #1) over Project [.., f(x) AS #1] child
 * }}}
 */
object CallArguments {
  /** Name of the computed columns. */
  val Name = "llm_arg"

  /** The calls over columns, in the order in which they are to be stacked, and the plan that has these columns. */
  def apply(calls: Seq[Guards.Guarded], child: LogicalPlan): (LogicalPlan, Seq[Prepared]) = {
    // for every argument the conditions under which it is needed; an argument such as 10 / x may fail on other rows
    val needed = mutable.LinkedHashMap.empty[AnyRef, (Expression, Option[Seq[Expression]])]
    for (Guards.Guarded(call, guard, _) <- calls; e <- call.children if isComputed(e)) {
      val here = guard.map(Seq(_))
      needed(key(e)) = needed.get(key(e)) match {
        case Some((_, there)) => (e, for (a <- there; b <- here) yield (a ++ b).distinct)
        case None => (e, here)
      }
    }
    val columns = needed.map { case (key, (e, conditions)) =>
      key -> Alias(conditions.fold(e)(cs => If(cs.reduce(Or), e, Literal(null, e.dataType))), Name)()
    }
    val prepared = calls.map { case Guards.Guarded(call, guard, notes) =>
      val arguments = call.children.map(e => if (isComputed(e)) columns(key(e)).toAttribute else e)
      Prepared(call, call.withNewChildren(arguments).asInstanceOf[LLMCall].noted(notes: _*), guard)
    }
    val base = if (columns.isEmpty) child else Project(child.output ++ columns.values, child)
    (base, if (LLMConf.shareCalls) adjacent(prepared) else prepared)
  }

  /**
   * @param written the call as it stands in the node
   * @param call    the same over columns
   */
  case class Prepared(written: LLMCall, call: LLMCall, guard: Option[Expression])

  private def isComputed(e: Expression): Boolean = !e.foldable && !e.isInstanceOf[Attribute]

  private def key(e: Expression): AnyRef = if (e.deterministic) e.canonicalized else new Identity(e)

  /** Calls over the same set of fields stand together, in the order in which the first of them is used. */
  private def adjacent(calls: Seq[Prepared]): Seq[Prepared] = {
    val groups = mutable.LinkedHashMap.empty[Set[Expression], Seq[Prepared]]
    calls.foreach { c =>
      val fields = c.call.fields.map(_.canonicalized).toSet
      groups(fields) = groups.getOrElse(fields, Nil) :+ c
    }
    groups.values.flatMap { group =>
      if (group.size == 1 || group.head.call.fields.isEmpty) group
      else {
        val note = Decision.applied(Decision.ShareCalls, s"${group.size} calls over the same fields share one pass")
        group.map(c => c.copy(call = c.call.noted(note)))
      }
    }.toSeq
  }
}
