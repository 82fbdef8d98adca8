package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.spark.TaskContext

/**
 * One task's part in `spark.llm.errors.maxFailedRatio`: counts its rows, tells the driver now and then, and fails the
 * task when the driver says so. A task that starts again asks before its first row, so it spends nothing.
 */
class FailureReport(limit: FailureReport.Limit, partition: Int, task: TaskContext) {
  import FailureReport._

  private val query = QueryId.of(task)
  private val errors = mutable.HashMap.empty[(String, String), Long]
  private var rows, failed, rowsTold = 0L
  private var toldNs = System.nanoTime()
  private var over = false

  def begin(): Unit = tell(done = false)

  /** @param error condition and message of a row that failed */
  def row(error: Option[(String, String)]): Unit = {
    rows += 1
    error.foreach { case (condition, message) =>
      failed += 1
      val key = (condition, message.take(MessageChars))
      val known = if (errors.size < MostErrors || errors.contains(key)) key else (condition, "other messages")
      errors(known) = errors.getOrElse(known, 0L) + 1
    }
    if (rows - rowsTold >= TellRows || System.nanoTime() - toldNs >= TellNs) tell(done = false)
  }

  /** All rows of the task have their answers; a second call changes nothing. */
  def done(): Unit = if (!over) {
    over = true
    tell(done = true)
  }

  private def tell(done: Boolean): Unit = {
    rowsTold = rows
    toldNs = System.nanoTime()
    val reply = Resources.parse(Coordinator.ask(Resources.write(Map[String, Any](
      "op" -> "failures",
      "query" -> query,
      "call" -> limit.call,
      "allowed" -> limit.ratio,
      "partitions" -> limit.partitions,
      "partition" -> partition,
      "attempt" -> task.taskAttemptId(),
      "rows" -> rows,
      "failed" -> failed,
      "errors" -> errors.toSeq.map { case ((condition, message), n) => Seq[Any](condition, message, n) },
      "done" -> done))))
    Option(reply.get("stop")).filterNot(_.isNull)
      .foreach(why => throw LLMErrors.whileRunning("LLM_TOO_MANY_FAILURES", why.asText))
  }
}

object FailureReport {
  private val TellRows = 1000
  private val TellNs = 1000000000L
  private val MessageChars = 100
  private val MostErrors = 64

  /**
   * @param ratio      the share of rows that may fail
   * @param call       id of the answer's column
   * @param partitions of the call
   */
  case class Limit(ratio: Double, call: Long, partitions: Int)
}
