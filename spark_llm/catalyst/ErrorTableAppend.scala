package org.apache.spark.sql.llm

import java.util.UUID

import scala.util.control.NonFatal

import org.apache.hadoop.fs.Path

import org.apache.spark.internal.Logging
import org.apache.spark.scheduler.{SparkListener, SparkListenerEvent}
import org.apache.spark.sql.SaveMode
import org.apache.spark.sql.classic.SparkSession
import org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionEnd

/**
 * `spark.llm.errors.table` that is the name of a table: tasks write to a folder beside the warehouse's tables, and when
 * the query has ended, well or not, the driver appends it to the table and deletes it. Where that fails the folder
 * stays.
 */
object ErrorTableAppend {
  private val Folder = "_spark_llm_errors"

  /** Returns the folder for a query's failed rows, which will be appended to `table`. */
  def stage(session: SparkSession, table: String, query: Option[String]): String = {
    val root = query.getOrElse(throw LLMErrors.unsupported(
      "spark.llm.errors.table with a table's name outside of a SQL query",
      "Give a folder, such as /data/errors."))
    try session.sessionState.sqlParser.parseMultipartIdentifier(table)
    catch {
      case NonFatal(_) => throw LLMErrors.invalidConf(
        "spark.llm.errors.table", table, "a folder (a path with a slash) or the name of a table")
    }
    val folder = new Path(
      new Path(session.sessionState.conf.warehousePath, Folder), s"${session.sparkContext.applicationId}-$root-" +
        UUID.randomUUID()).toString
    session.sparkContext.addSparkListener(new WhenEnded(session, table, root, folder))
    folder
  }

  private class WhenEnded(session: SparkSession, table: String, query: String, folder: String)
      extends SparkListener with Logging {
    override def onOtherEvent(event: SparkListenerEvent): Unit = event match {
      case end: SparkListenerSQLExecutionEnd if end.executionId.toString == query =>
        // a job would wait for the listeners, and they for this one
        val thread = new Thread(() => append(), "spark-llm-errors")
        thread.setDaemon(true)
        thread.start()
      case _ =>
    }

    private def append(): Unit =
      try {
        session.sparkContext.removeSparkListener(this)
        session.sparkContext.setJobDescription(CacheUpkeep.Description + "failed rows go to their table")
        val path = new Path(folder)
        val files = path.getFileSystem(session.sessionState.newHadoopConf())
        if (files.exists(path)) {
          if (files.listStatus(path).exists(_.getPath.getName.startsWith("part-"))) {
            session.read.schema(ErrorTable.schema).parquet(folder).write.mode(SaveMode.Append).saveAsTable(table)
          }
          files.delete(path, true)
        }
      } catch { case NonFatal(e) => logWarning(s"failed rows stay in $folder, not appended to $table", e) }
  }
}
