package org.apache.spark.sql.llm

import java.util.UUID

import scala.util.control.NonFatal

import org.apache.hadoop.fs.Path
import org.apache.hadoop.mapreduce.{TaskAttemptID, TaskType}
import org.apache.hadoop.mapreduce.task.TaskAttemptContextImpl

import org.apache.spark.{SparkEnv, TaskContext}
import org.apache.spark.internal.Logging
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.execution.datasources.OutputWriter
import org.apache.spark.unsafe.types.UTF8String

/**
 * The failed rows of one task, in a Parquet file of its own:
 * {{{
 *   first failed row -> _part-....tmp   readers pass over names that begin with _
 *   task ends        -> part-....parquet, by one rename; also when the task failed, since its errors say why
 * }}}
 * A task that runs again writes a file again. At most 10,000 rows a task are kept, and a last row says how many more
 * there were. What cannot be written is logged, and the query goes on.
 */
class ErrorWriter(table: ErrorTable, task: TaskContext) extends Logging {
  import ErrorWriter._

  private val name = s"part-${task.partitionId()}-${task.taskAttemptId()}-${UUID.randomUUID()}"
  private val query = UTF8String.fromString(QueryId.of(task))
  private val application = UTF8String.fromString(SparkEnv.get.conf.get("spark.app.id", null))
  private var writer: Option[OutputWriter] = None
  private var rows = 0L
  private var broken = false

  task.addTaskCompletionListener[Unit](_ => close())

  /** @param fields the row's fields as JSON; looked at only where they are kept */
  def add(condition: String, message: String, fields: => String): Unit = {
    rows += 1
    if (rows <= MostRows) {
      write(condition, table.shown(condition, message), if (table.logPrompts) cut(fields) else null)
    }
  }

  private def write(condition: String, message: String, fields: String): Unit = if (!broken) {
    try {
      val to = writer.getOrElse(open())
      to.write(InternalRow(application, query, System.currentTimeMillis() * 1000, UTF8String.fromString(table.call),
        UTF8String.fromString(fields), UTF8String.fromString(condition), UTF8String.fromString(cut(message))))
    } catch { case NonFatal(e) => giveUp(e) }
  }

  private def open(): OutputWriter = {
    val id = new TaskAttemptID("errors", 0, TaskType.MAP, task.partitionId(), 0)
    val made = table.factory.newInstance(
      path(temporary).toString, ErrorTable.schema, new TaskAttemptContextImpl(table.hadoopConf.value, id))
    writer = Some(made)
    made
  }

  private def close(): Unit = {
    if (rows > MostRows) write(null, s"${rows - MostRows} more failed rows of this task are not kept", null)
    writer.foreach { w =>
      try {
        w.close()
        val from = path(temporary)
        if (!from.getFileSystem(table.hadoopConf.value).rename(from, path(s"$name.parquet"))) {
          giveUp(new java.io.IOException(s"$from was not renamed"))
        }
      } catch { case NonFatal(e) => giveUp(e) }
    }
    writer = None
  }

  private def temporary: String = s"_$name.tmp"
  private def path(file: String): Path = new Path(table.folder, file)

  private def giveUp(e: Throwable): Unit = {
    broken = true
    logWarning(s"failed rows of this task are not kept in ${table.folder}", e)
  }
}

object ErrorWriter {
  private val MostRows = 10000L
  private val MostChars = 10000

  private def cut(text: String): String = if (text == null) null else text.take(MostChars)
}
