package org.apache.spark.sql.llm

import java.util.UUID
import java.util.concurrent.{ScheduledFuture, TimeUnit}
import java.util.concurrent.atomic.{AtomicInteger, AtomicLong}

import scala.util.control.NonFatal

import org.apache.hadoop.fs.Path
import org.apache.hadoop.mapreduce.{Job, TaskAttemptID, TaskType}
import org.apache.hadoop.mapreduce.task.TaskAttemptContextImpl

import org.apache.spark.{SparkEnv, TaskContext}
import org.apache.spark.internal.Logging
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.classic.SparkSession
import org.apache.spark.sql.execution.datasources.{OutputWriter, OutputWriterFactory}
import org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat
import org.apache.spark.sql.internal.SQLConf
import org.apache.spark.unsafe.types.UTF8String
import org.apache.spark.util.{SerializableConfiguration, ThreadUtils}

/**
 * How a task writes answers; serialized with it.
 *
 * @param flushMs an answer is in a finished file after this time at the latest
 */
case class CacheTarget(
    cache: CallCache,
    factory: OutputWriterFactory,
    conf: SerializableConfiguration,
    flushMs: Long)

object CacheTarget {
  def of(session: SparkSession, cache: CallCache): CacheTarget = {
    val job = Job.getInstance(session.sessionState.newHadoopConf())
    val factory = new ParquetFileFormat().prepareWrite(session, job, Map.empty, CacheFolder.schema)
    val conf = job.getConfiguration
    conf.set(SQLConf.PARQUET_OUTPUT_TIMESTAMP_TYPE.key, "TIMESTAMP_MICROS")
    CacheTarget(cache, factory, new SerializableConfiguration(conf), CacheConf.flushMs)
  }
}

/**
 * Writes the answers of one task while it runs. A file is closed and gets its name when its first answer has waited
 * for flushMs, or when it is due by its rows: all open files of the stage in this executor together hold at most a
 * hundredth of what was kept, but eight rows each, so that files grow with the work and their number does not. Closing
 * costs milliseconds on a disk and much more in an object store: it takes at most a tenth of the time, unless flushMs
 * asks for it. What cannot be written (a full disk) is told once; the query goes on.
 */
class CacheWriter(target: CacheTarget, context: TaskContext) extends Logging {
  import CacheWriter._

  private class Open(val hidden: Path, val path: Path, val writer: OutputWriter, val sinceNs: Long) {
    var rows = 0

    def openNs: Long = System.nanoTime() - sinceNs
  }

  private val folder = new Path(target.cache.folder)
  private val fs = folder.getFileSystem(target.conf.value)
  private val fingerprint = target.cache.fingerprint
  private val model = UTF8String.fromString(fingerprint.model.model)
  private val revision = UTF8String.fromString(fingerprint.model.revision)
  private val instructionHash = UTF8String.fromString(fingerprint.instructionHash)
  private val stage = stageOf(context)
  stage.writers.incrementAndGet()
  private var closingNs = 0L
  private var open: Option[Open] = None
  private var broken = false
  // the task may wait for a slow answer for long, and what it has must not wait with it
  private val timer: ScheduledFuture[_] =
    clock.scheduleWithFixedDelay(() => flushIfDue(), TickMs, TickMs, TimeUnit.MILLISECONDS)
  context.addTaskCompletionListener[Unit](_ => close())

  /** Keeps one answer; `instruction` and `fields` may be null. */
  def write(
      keyHigh: Long,
      keyLow: Long,
      answer: UTF8String,
      instruction: UTF8String,
      fields: UTF8String,
      promptTokens: Long,
      generatedTokens: Long): Unit = synchronized {
    if (!broken) attempt {
      val file = open.getOrElse(create())
      open = Some(file)
      file.writer.write(InternalRow(
        keyHigh, keyLow, answer, model, revision, instructionHash, instruction, fields, promptTokens,
        generatedTokens, System.currentTimeMillis() * 1000L))
      file.rows += 1
      stage.rows.incrementAndGet()
      if (due(file)) finish()
    }
  }

  private def due(file: Open): Boolean = {
    val share = math.max(LeastRows, stage.rows.get / stage.writers.get / Parts)
    file.openNs >= target.flushMs * 1000000L || file.rows >= share && file.openNs >= closingNs * LeastTimesClosing
  }

  private def flushIfDue(): Unit = synchronized {
    if (open.exists(due)) attempt(finish())
  }

  private def close(): Unit = synchronized {
    timer.cancel(false)
    stage.writers.decrementAndGet()
    attempt(finish())
    broken = true
  }

  private def create(): Open = {
    val name = s"part-${UUID.randomUUID()}.parquet"
    val hidden = new Path(folder, s".$name.tmp")
    val id = new TaskAttemptID("spark-llm", context.stageId(), TaskType.MAP, context.partitionId(), 0)
    val writer = target.factory.newInstance(
      hidden.toString, CacheFolder.schema, new TaskAttemptContextImpl(target.conf.value, id))
    new Open(hidden, new Path(folder, name), writer, System.nanoTime())
  }

  private def finish(): Unit = open.foreach { file =>
    open = None
    val begun = System.nanoTime()
    file.writer.close()
    if (!fs.rename(file.hidden, file.path)) throw new java.io.IOException(s"cannot rename ${file.hidden}")
    closingNs = System.nanoTime() - begun
  }

  private def attempt(body: => Unit): Unit =
    try body
    catch {
      case NonFatal(e) =>
        broken = true
        logWarning(s"answers are no longer kept in ${target.cache.folder}, the query goes on: ${e.getMessage}", e)
        open.foreach(f => try fs.delete(f.hidden, false) catch { case NonFatal(_) => })
        open = None
    }
}

object CacheWriter {
  private val TickMs = 100L
  private val LeastRows = 8L
  private val Parts = 100
  private val LeastTimesClosing = 10
  private val MostStages = 100

  /** What the tasks of a stage have kept in this executor, and how many of them are at it. */
  private class Stage {
    val rows = new AtomicLong
    val writers = new AtomicInteger
  }

  private val stages = new java.util.LinkedHashMap[(String, Int), Stage] {
    override def removeEldestEntry(eldest: java.util.Map.Entry[(String, Int), Stage]): Boolean = size > MostStages
  }

  private def stageOf(context: TaskContext): Stage = stages.synchronized {
    stages.computeIfAbsent((SparkEnv.get.conf.getAppId, context.stageId()), _ => new Stage)
  }

  private lazy val clock = ThreadUtils.newDaemonSingleThreadScheduledExecutor("spark-llm-cache")
}
