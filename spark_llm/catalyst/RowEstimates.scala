package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.plans.logical.statsEstimation._

/**
 * Rows that a plan is expected to give, by Spark's own estimates for filters, joins and aggregates. Spark makes these
 * only with spark.sql.cbo.enabled, which is off by default; here each node is shown to them over a leaf that knows its
 * statistics. Predicates on answers keep the share that Selectivity says.
 */
object RowEstimates extends PredicateHelper {
  /** @param shares what was taken for predicates on answers, such as `50 % (assumed)` */
  case class Rows(statistics: Statistics, shares: Seq[String]) {
    def count: Double = statistics.rowCount.get.toDouble
  }

  /** None where nothing, or not enough, is known about the tables below. */
  def apply(plan: LogicalPlan): Option[Rows] = {
    val found = plan match {
      case leaf if leaf.children.isEmpty => CatalogEstimates.statistics(leaf).map(Rows(_, Nil))
      case f @ Filter(_, child) => apply(child).map(filtered(f, _))
      case p @ Project(_, child) => apply(child).map { r =>
          r.copy(statistics = ProjectEstimation.estimate(p.copy(child = known(child, r))).getOrElse(r.statistics))
        }
      case a: Aggregate => apply(a.child).flatMap { r =>
          AggregateEstimation.estimate(a.copy(child = known(a.child, r))).map(Rows(_, r.shares))
        }
      case j: Join => joined(j)
      case u: Union =>
        val parts = u.children.map(apply)
        val known = parts.flatten.map(_.statistics)
        Option.when(known.size == parts.size)(Rows(
          Statistics(known.map(_.sizeInBytes).sum, known.map(_.rowCount).reduce(sum)), parts.flatten.flatMap(_.shares)))
      case _: LLMEval | _: LookUpAnswers | _: LLMExchange | _: LLMProbe | _: SharedAnswers | _: Sort |
          _: SubqueryAlias | _: Window | _: RepartitionOperation | _: RebalancePartitions | _: GlobalLimit |
          _: LocalLimit =>
        apply(plan.children.head)
      case _ => None
    }
    found.filter(_.statistics.rowCount.isDefined).map(r => plan.maxRows.fold(r)(most => atMost(r, BigInt(most))))
  }

  private def filtered(f: Filter, rows: Rows): Rows = {
    val answers = AttributeMap(f.child.collect { case e: LLMEval => e.result -> e.call })
    val (llm, cheap) = splitConjunctivePredicates(f.condition).partition(_.references.exists(answers.contains))
    val after = cheap.reduceOption(And).flatMap(c => FilterEstimation(Filter(c, known(f.child, rows))).estimate)
      .getOrElse(rows.statistics)
    llm.foldLeft(Rows(after, rows.shares)) { (r, predicate) =>
      val asked = predicate.transform { case a: Attribute => answers.getOrElse(a, a) }
      val share = Selectivity.of(asked, f.child)
      val left = BigDecimal(r.count * share.value).setScale(0, BigDecimal.RoundingMode.CEILING).toBigInt
      val text = s"${math.round(100 * share.value)} % (${share.source})"
      Rows(r.statistics.copy(rowCount = Some(left)), r.shares :+ text)
    }
  }

  // without statistics of its keys Spark takes a join for a product
  private def joined(j: Join): Option[Rows] = for {
    left <- apply(j.left)
    right <- apply(j.right)
    columns = left.statistics.attributeStats ++ right.statistics.attributeStats
    if j.condition.forall(_.references.forall(columns.contains))
    found <- JoinEstimation(j.copy(left = known(j.left, left), right = known(j.right, right))).estimate
  } yield Rows(found, left.shares ++ right.shares)

  private def atMost(r: Rows, most: BigInt): Rows =
    r.copy(statistics = r.statistics.copy(rowCount = r.statistics.rowCount.map(_.min(most))))

  private def sum(a: Option[BigInt], b: Option[BigInt]): Option[BigInt] = for (x <- a; y <- b) yield x + y

  private def known(plan: LogicalPlan, rows: Rows): KnownRows = KnownRows(plan.output, rows.statistics)

  private case class KnownRows(output: Seq[Attribute], known: Statistics) extends LeafNode {
    override def computeStats(): Statistics = known
  }
}
