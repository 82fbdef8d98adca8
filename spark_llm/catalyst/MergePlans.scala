package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * One plan in the place of two that differ in pruned columns and pushed-down filters only.
 * {{{
 *   Project [id, #1] LLMEval [llm(x) AS #1] Filter c < 10 t   \   LLMEval [llm(x) AS #1] Filter (c < 10 OR d > 5) t
 *   Project [z, #2]  LLMEval [llm(x) AS #2] Filter d > 5 t    /   with c < 10 and d > 5 left to do above it
 * }}}
 *
 * @param plan    has all columns of the first plan, under their ids, and more
 * @param columns where the second plan's columns are
 * @param first   predicates that are left to do for the first plan, over the columns of `plan`
 * @param second  and for the second one
 */
case class MergePlans(
    plan: LogicalPlan,
    columns: AttributeMap[Attribute],
    first: Seq[Expression] = Nil,
    second: Seq[Expression] = Nil) {

  /** An expression of the second plan over the columns of this one; None when a column is missing. */
  def translated[T <: Expression](e: T): Option[T] =
    if (!e.references.forall(columns.contains)) None
    else Some(e.transform { case a: Attribute => columns(a) }.asInstanceOf[T])

  private def allDone: Boolean = first.isEmpty && second.isEmpty
}

object MergePlans extends PredicateHelper {
  def apply(a: LogicalPlan, b: LogicalPlan): Option[MergePlans] =
    if (a.output.size == b.output.size && a.sameResult(b)) Some(MergePlans(a, AttributeMap(b.output.zip(a.output))))
    else (a, b) match {
      case (x: LLMEval, y: LLMEval) => evals(x, y)
      case (x: Project, y: Project) => apply(x.child, y.child).flatMap(projects(x.projectList, y.projectList, _))
      case (x: Project, y) => apply(x.child, y).flatMap(projects(x.projectList, y.output, _))
      case (x, y: Project) => apply(x, y.child).flatMap(projects(x.output, y.projectList, _))
      case (Filter(p, x), Filter(q, y)) => apply(x, y).flatMap(filters(Some(p), Some(q), _))
      case (Filter(p, x), y) => apply(x, y).flatMap(filters(Some(p), None, _))
      case (x, Filter(q, y)) => apply(x, y).flatMap(filters(None, Some(q), _))
      case (x: Join, y: Join) => joins(x, y)
      case (x: Aggregate, y: Aggregate) => aggregates(x, y)
      case _ => None
    }

  private def evals(x: LLMEval, y: LLMEval): Option[MergePlans] = for {
    m <- apply(x.child, y.child)
    call <- m.translated(y.call) if call.semanticEquals(x.call)
    guard <- translated(y.guard, m) if same(guard, x.guard)
  } yield m.copy(
    plan = x.copy(call = x.call.noted(y.call.notes: _*), child = m.plan),
    columns = AttributeMap(m.columns.toSeq :+ (y.result -> x.result)))

  private def projects(p: Seq[NamedExpression], q: Seq[NamedExpression], m: MergePlans): Option[MergePlans] =
    wider(p, q, m, (m.first ++ m.second).flatMap(_.references)).map { case (list, columns) =>
      m.copy(plan = Project(list, m.plan), columns = columns)
    }

  /** The first list with what the second has beside it, and where the second list's columns are in it. */
  private def wider(
      p: Seq[NamedExpression],
      q: Seq[NamedExpression],
      m: MergePlans,
      needed: Seq[Attribute] = Nil): Option[(Seq[NamedExpression], AttributeMap[Attribute])] = {
    var list = p
    def pick(e: NamedExpression): Attribute = e match {
      case a: Attribute =>
        if (!list.exists(_.exprId == a.exprId)) list :+= a
        a
      case al: Alias =>
        list.collectFirst { case o: Alias if o.child.semanticEquals(al.child) => o.toAttribute }.getOrElse {
          val alias = Alias(al.child, al.name)()
          list :+= alias
          alias.toAttribute
        }
      case other => other.toAttribute
    }
    val picked = q.map(e => m.translated[Expression](e).collect {
      case n: NamedExpression if n.deterministic => e.toAttribute -> pick(n)
    })
    needed.foreach(pick)
    Option.when(picked.forall(_.isDefined))((list, AttributeMap(picked.flatten)))
  }

  private def filters(p: Option[Expression], q: Option[Expression], m: MergePlans): Option[MergePlans] = {
    def conjuncts(e: Option[Expression]) = e.toSeq.flatMap(splitConjunctivePredicates)
    translated(q, m).filter(_ => (p ++ q).forall(simple)).map { there =>
      val (common, first) = conjuncts(p).partition(c => conjuncts(there).exists(_.semanticEquals(c)))
      val second = conjuncts(there).filterNot(c => common.exists(_.semanticEquals(c)))
      val either = for (l <- first.reduceOption(And); r <- second.reduceOption(And)) yield Or(l, r)
      m.copy(
        plan = (common ++ either).reduceOption(And).fold(m.plan)(Filter(_, m.plan)),
        first = m.first ++ first,
        second = m.second ++ second)
    }
  }

  private def simple(e: Expression): Boolean = e.deterministic && !SubqueryExpression.hasSubquery(e)

  private def joins(x: Join, y: Join): Option[MergePlans] = for {
    l <- apply(x.left, y.left) if x.joinType == y.joinType && x.hint == y.hint && l.allDone
    r <- apply(x.right, y.right) if r.allDone && l.plan.outputSet.intersect(r.plan.outputSet).isEmpty
    both = MergePlans(x.copy(left = l.plan, right = r.plan), AttributeMap(l.columns.toSeq ++ r.columns.toSeq))
    condition <- translated(y.condition, both) if same(condition, x.condition)
    kept = both.columns.toSeq.filter { case (_, a) => both.plan.outputSet.contains(a) }
  } yield both.copy(columns = AttributeMap(kept))

  private def aggregates(x: Aggregate, y: Aggregate): Option[MergePlans] = for {
    m <- apply(x.child, y.child) if m.allDone && x.groupingExpressions.size == y.groupingExpressions.size
    keys = y.groupingExpressions.flatMap(m.translated(_))
    if keys.size == y.groupingExpressions.size
    if keys.zip(x.groupingExpressions).forall { case (k, g) => k.semanticEquals(g) }
    (list, columns) <- wider(x.aggregateExpressions, y.aggregateExpressions, m)
  } yield MergePlans(x.copy(aggregateExpressions = list, child = m.plan), columns)

  /** None: a column is missing. */
  private def translated(e: Option[Expression], m: MergePlans): Option[Option[Expression]] =
    e.fold[Option[Option[Expression]]](Some(None))(m.translated(_).map(Some(_)))

  private def same(a: Option[Expression], b: Option[Expression]): Boolean =
    a.size == b.size && a.zip(b).forall { case (l, r) => l.semanticEquals(r) }
}
