package org.apache.spark.sql.llm

import org.apache.spark.{SparkContext, TaskContext}
import org.apache.spark.sql.execution.SQLExecution

/** What of a call's settings executors have to agree on; nothing is opened where nothing of it is set. */
case class SharedLimits(ofWorkers: Boolean, maxFailedRatio: Option[Double]) {
  def any: Boolean = ofWorkers || maxFailedRatio.isDefined
}

object SharedLimits {
  private val MaxFailedRatio = "spark.llm.errors.maxFailedRatio"

  /** @param pilot a task of the call finds out something for all of them */
  def apply(values: Map[String, String], kind: String, pilot: Boolean = false): SharedLimits = {
    val paced = kind == EngineKind.OpenAI && Seq("rpm", "tpm").exists(n => values.contains(s"spark.llm.limits.$n"))
    val ratio = values.get(MaxFailedRatio).map { text =>
      text.trim.toDoubleOption.filter(r => r >= 0 && r <= 1)
        .getOrElse(throw LLMErrors.invalidConf(MaxFailedRatio, text, "a number from 0 to 1"))
    }
    SharedLimits(ofWorkers = Budget.of(values).isDefined || paced || pilot, ratio)
  }
}

/**
 * Names the query that a task works for: the SQL execution at its root, which subqueries share; without one, as for
 * `DataFrame.rdd`, the stage. The worker names it in the same way (spark_llm/worker/budget.py).
 */
object QueryId {
  def onDriver(sc: SparkContext): Option[String] = Option(sc.getLocalProperty(SQLExecution.EXECUTION_ROOT_ID_KEY))

  def of(task: TaskContext): String =
    Option(task.getLocalProperty(SQLExecution.EXECUTION_ROOT_ID_KEY)).getOrElse(s"stage ${task.stageId()}")
}
