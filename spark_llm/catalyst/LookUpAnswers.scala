package org.apache.spark.sql.llm

import org.apache.spark.rdd.RDD
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.plans.physical._
import org.apache.spark.sql.execution.{BinaryExecNode, SparkPlan}
import org.apache.spark.sql.execution.joins.HashedRelationBroadcastMode
import org.apache.spark.sql.execution.joins.llm.StoredAnswers
import org.apache.spark.sql.execution.metric.{SQLMetric, SQLMetrics}

/**
 * The rows of `left`, each with the stored answer to its question, or NULL. A left outer join in which two stored
 * answers to one question count as one: runs at the same time may both have written it.
 *
 * @param values what the key of a row is made of
 * @param right  stored answers: key_high, key_low, answer
 * @param answer the new column
 */
case class LookUpAnswers(values: Seq[Expression], left: LogicalPlan, right: LogicalPlan, answer: AttributeReference)
    extends BinaryNode {
  override def output: Seq[Attribute] = left.output :+ answer
  override def producedAttributes: AttributeSet = AttributeSet(Seq(answer))
  override lazy val references: AttributeSet = AttributeSet(values.flatMap(_.references)) ++ right.outputSet
  override def maxRows: Option[Long] = left.maxRows
  override def stats: Statistics = left.stats
  override protected lazy val validConstraints: ExpressionSet = left.constraints
  override def simpleString(maxFields: Int): String = s"LookUpAnswers [${answer.sql}#${answer.exprId.id}]"
  override protected def withNewChildrenInternal(newLeft: LogicalPlan, newRight: LogicalPlan): LookUpAnswers =
    copy(left = newLeft, right = newRight)
}

/** The stored answers go to every executor once, hashed by the first half of the key; rows stay where they are. */
case class LookUpAnswersExec(values: Seq[Expression], left: SparkPlan, right: SparkPlan, answer: AttributeReference)
    extends BinaryExecNode {
  override def output: Seq[Attribute] = left.output :+ answer
  override def producedAttributes: AttributeSet = AttributeSet(Seq(answer))
  override lazy val references: AttributeSet = AttributeSet(values.flatMap(_.references)) ++ right.outputSet
  override def outputPartitioning: Partitioning = left.outputPartitioning
  override def outputOrdering: Seq[SortOrder] = left.outputOrdering
  override def requiredChildDistribution: Seq[Distribution] = UnspecifiedDistribution ::
    BroadcastDistribution(HashedRelationBroadcastMode(
      Seq(BindReferences.bindReference[Expression](right.output.head, right.output)))) :: Nil
  override lazy val metrics: Map[String, SQLMetric] =
    Map("cachedRows" -> SQLMetrics.createMetric(sparkContext, "rows with a stored answer"))
  override def simpleString(maxFields: Int): String = s"LookUpAnswers [${answer.sql}#${answer.exprId.id}]"
  override protected def withNewChildrenInternal(newLeft: SparkPlan, newRight: SparkPlan): LookUpAnswersExec =
    copy(left = newLeft, right = newRight)

  override protected def doExecute(): RDD[InternalRow] = {
    val stored = StoredAnswers.of(right)
    val (key, input, all) = (values, left.output, output)
    val found = metrics("cachedRows")
    left.execute().mapPartitionsInternal { rows =>
      val answers = stored.reader()
      val digest = new QuestionDigest(key, input)
      val none = InternalRow(null)
      val both = new JoinedRow
      val toUnsafe = UnsafeProjection.create(all, all)
      val one = InternalRow(null)
      rows.map { row =>
        digest.see(row)
        val hit = answers.answer(digest.high, digest.low)
        if (hit == null) toUnsafe(both(row, none))
        else {
          found += 1
          one.update(0, hit)
          toUnsafe(both(row, one))
        }
      }
    }
  }
}
