package org.apache.spark.sql.llm

import java.util.{Collections, LinkedHashMap => JLinkedHashMap, Map => JMap, WeakHashMap}

import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.classic
import org.apache.spark.sql.execution._
import org.apache.spark.sql.execution.adaptive.{AdaptiveSparkPlanHelper, AQEShuffleReadExec, ShuffleQueryStageExec}
import org.apache.spark.sql.execution.exchange.ShuffleExchangeLike
import org.apache.spark.sql.util.QueryExecutionListener
import org.apache.spark.unsafe.types.UTF8String

/**
 * How many rows the LLM predicates of this application kept so far, in this driver's memory. A predicate is known again
 * by its text, with instruction, field names and return type in the place of the call: another table, other fields of
 * the same names count as the same. A query with LIMIT counts too, and so serves as a pilot.
 * {{{
 *   FilterExec (llm#1 = Yes)    rows out  \
 *   LLMEvalExec [... AS llm#1]  rows out  /  after each query -> share for OrderPredicates
 * }}}
 */
object PredicateHistory {
  private val MaxPredicates = 1000
  private val MinRows = 20
  // old rows count less, so that a share follows the data
  private val MaxRows = 1000000.0

  private case class Rows(in: Double, out: Double)

  private val seen = Collections.synchronizedMap(new JLinkedHashMap[String, Rows](16, 0.75f, true) {
    override def removeEldestEntry(eldest: JMap.Entry[String, Rows]): Boolean = size > MaxPredicates
  })
  private val listening = Collections.synchronizedMap(new WeakHashMap[SparkSession, java.lang.Boolean])

  /** The share of rows that the predicate kept, once enough rows were seen. */
  def share(predicate: Expression): Option[Double] =
    Option(seen.get(key(predicate, AttributeMap.empty))).filter(_.in >= MinRows).map(r => (r.out + 1) / (r.in + 2))

  /** Follows the queries of a session; once is enough. */
  def follow(session: SparkSession): Unit = session match {
    case s: classic.SparkSession if listening.putIfAbsent(s, java.lang.Boolean.TRUE) == null =>
      s.listenerManager.register(Listener)
    case _ =>
  }

  private[llm] def add(key: String, in: Long, out: Long): Unit = if (in > 0) {
    seen.merge(key, Rows(in.toDouble, out.toDouble), (old, now) => {
      val keep = if (old.in > MaxRows) 0.5 else 1.0
      Rows(old.in * keep + now.in, old.out * keep + now.out)
    })
  }

  /** Forgets everything. */
  def clear(): Unit = seen.clear()

  private def key(predicate: Expression, answers: AttributeMap[LLMCall]): String =
    predicate.transformDown {
      case c: LLMCall => named(c)
      case a: Attribute => answers.get(a).map(named).getOrElse(Literal(a.name))
    }.toString

  private def named(call: LLMCall): Literal = {
    val instruction = call.instruction match {
      case Literal(s: UTF8String, _) => s.toString
      case _ => "an instruction of each row"
    }
    Literal((instruction +: call.fieldNames :+ call.options.returnType.sql).mkString("llm(", "\u0000", ")"))
  }

  private object Listener extends QueryExecutionListener with AdaptiveSparkPlanHelper {
    override def onSuccess(function: String, query: QueryExecution, nanoseconds: Long): Unit =
      foreach(query.executedPlan) {
        case f: FilterExec =>
          val calls = evaluated(f.child)
          val answers = AttributeMap(calls.map(e => e.result -> e.call))
          if (f.condition.references.exists(answers.contains)) {
            val in = calls.head.metrics(LLMMetrics.OutputRows).value
            add(key(f.condition, answers), in, f.metrics("numOutputRows").value)
          }
        case _ =>
      }

    override def onFailure(function: String, query: QueryExecution, error: Exception): Unit = ()

    /** The calls below a filter whose rows all reach it, topmost first. */
    private def evaluated(plan: SparkPlan): Seq[LLMEvalExec] = plan match {
      case e: LLMEvalExec => e +: evaluated(e.child)
      case _: ProjectExec | _: SortExec | _: ShuffleExchangeLike | _: AQEShuffleReadExec | _: LLMProbeExec |
          _: LookUpAnswersExec | _: WholeStageCodegenExec | _: InputAdapter =>
        evaluated(plan.children.head)
      case stage: ShuffleQueryStageExec => evaluated(stage.plan)
      case _ => Nil
    }
  }
}
