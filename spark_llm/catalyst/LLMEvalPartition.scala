package org.apache.spark.sql.llm

import java.io.File

import scala.jdk.CollectionConverters._

import org.apache.spark.{SparkEnv, TaskContext}
import org.apache.spark.api.python.SimplePythonFunction
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.execution.metric.SQLMetric
import org.apache.spark.sql.execution.python.HybridRowQueue
import org.apache.spark.sql.internal.SQLConf
import org.apache.spark.sql.types._
import org.apache.spark.sql.vectorized.{ArrowColumnVector, ColumnarBatch}
import org.apache.spark.unsafe.types.UTF8String
import org.apache.spark.util.Utils

/**
 * All that a task of LLMEvalExec needs; serialized with the task.
 *
 * @param tuple what makes two neighbours one question; empty: every row is a question of its own
 * @param site  the call in the metric system
 * @param profile collects for the run report, where there is one
 */
case class LLMEvalJob(
    function: SimplePythonFunction,
    engine: Option[EngineSpec],
    argumentExpressions: Seq[Expression],
    argumentSchema: StructType,
    tuple: Seq[Expression],
    guard: Option[Expression],
    input: Seq[Attribute],
    output: Seq[Attribute],
    returnType: DataType,
    onError: String,
    resultId: Long,
    batchRows: Int,
    batchBytes: Long,
    timeZone: String,
    largeVarTypes: Boolean,
    runnerConf: Map[String, String],
    artifact: Option[String],
    metrics: Map[String, SQLMetric],
    pythonMetrics: Map[String, SQLMetric],
    site: String,
    profile: Option[CallProfile])

/** One partition: rows out to the Python worker, answers back beside the rows they belong to, in order. */
class LLMEvalPartition(job: LLMEvalJob, index: Int, rows: Iterator[InternalRow]) {
  import LLMEvalPartition._

  private val context = TaskContext.get()
  private val waiting =
    HybridRowQueue(context.taskMemoryManager(), new File(Utils.getLocalDir(SparkEnv.get.conf)), job.input.length)
  context.addTaskCompletionListener[Unit](_ => waiting.close())
  private val fates = new RowFates
  private val site = CallCounters.of(job.site)

  def answers(): Iterator[InternalRow] = if (!rows.hasNext) Iterator.empty else {
    val batches = new BoundedBatches(questions(), job.batchRows, job.batchBytes)
    val replies = withSmallBuffer(PythonRunners.create(job, workerFunction())).compute(batches, index, context)
    join(LLMErrors.unwrapping(replies).flatMap { batch =>
      val struct = batch.column(0).asInstanceOf[ArrowColumnVector]
      val reply = new ColumnarBatch(replySchema(job.returnType).indices.map(struct.getChild).toArray)
      reply.setNumRows(batch.numRows())
      reply.rowIterator().asScala
    })
  }

  private def questions(): Iterator[UnsafeRow] = {
    val arguments = UnsafeProjection.create(job.argumentExpressions, job.input)
    val guard = job.guard.map(Predicate.create(_, job.input))
    guard.foreach(_.initialize(index))
    val repeats = EqualNeighbours(job.tuple, job.input)
    val (all, skipped) = (job.metrics(LLMMetrics.Rows), job.metrics(LLMMetrics.SkippedRows))
    val duplicates = job.metrics(LLMMetrics.DuplicateRows)
    rows.flatMap { row =>
      all += 1
      waiting.add(row.asInstanceOf[UnsafeRow])
      if (!guard.forall(_.eval(row))) {
        skipped += 1
        fates.add(RowFates.Skipped)
        None
      } else if (repeats(row)) {
        duplicates += 1
        fates.add(RowFates.Repeated)
        None
      } else {
        fates.add(RowFates.Asked)
        Some(arguments(row))
      }
    }
  }

  private def workerFunction(): SimplePythonFunction = {
    val environment = new java.util.HashMap[String, String](job.function.envVars)
    PythonCommand.ownJar.foreach { jar =>
      environment.put("PYTHONPATH", jar + File.pathSeparator + environment.getOrDefault("PYTHONPATH", ""))
    }
    job.engine.map(EngineHost.acquire(_, context)).foreach { address =>
      environment.put("SPARK_LLM_ENGINE_SOCKET", address.socket)
      environment.put("SPARK_LLM_ENGINE_STATE", address.state)
    }
    job.function.copy(envVars = environment)
  }

  private def join(replies: Iterator[InternalRow]): Iterator[InternalRow] = new Iterator[InternalRow] {
    private val both = new JoinedRow
    private val toUnsafe = UnsafeProjection.create(job.output, job.output)
    private val noAnswer = InternalRow(null)
    private var last = noAnswer // the answer of the last row that asked
    private var lastFailed = false

    // asking for the next reply drives the input, which fills `waiting` and `fates`
    private def ready(): Boolean = {
      if (!fates.isEmpty && fates.next != RowFates.Asked) return true
      val more = replies.hasNext
      if (fates.isEmpty && more) {
        throw new IllegalStateException("the Python worker sent an answer that belongs to no row")
      }
      if (!fates.isEmpty && fates.next == RowFates.Asked && !more) {
        throw new IllegalStateException("the Python worker ended before it answered all rows")
      }
      !fates.isEmpty
    }

    override def hasNext: Boolean = ready()

    override def next(): InternalRow = {
      if (!ready()) throw new NoSuchElementException
      val answer = fates.remove() match {
        case RowFates.Skipped => noAnswer
        case RowFates.Repeated =>
          if (lastFailed) job.metrics(LLMMetrics.FailedRows).add(1)
          last
        case RowFates.Asked => keep(replies.next())
      }
      val row = waiting.remove()
      job.metrics(LLMMetrics.OutputRows) += 1
      // as the exchange counts its rows: a long row is more of the work than a short one
      job.metrics(LLMMetrics.OutputBytes) += row.asInstanceOf[UnsafeRow].getSizeInBytes
      toUnsafe(both(row, answer))
    }

    private def keep(reply: InternalRow): InternalRow = {
      val answer = value(reply)
      if (job.tuple.isEmpty) answer
      else {
        // the reply lies in a buffer that the next batch overwrites
        last = answer.copy()
        lastFailed = !reply.isNullAt(1)
        last
      }
    }
  }

  private def value(reply: InternalRow): InternalRow = {
    count(LLMMetrics.Requests, reply.getInt(3))
    count(LLMMetrics.PromptTokens, reply.getLong(4))
    count(LLMMetrics.CachedPromptTokens, reply.getLong(5))
    count(LLMMetrics.GeneratedTokens, reply.getLong(6))
    count(LLMMetrics.EngineWait, reply.getLong(7))
    count(LLMMetrics.Retries, reply.getInt(8))
    if (!reply.isNullAt(9)) job.profile.foreach(_.addPrefixes(reply.getUTF8String(9).toString))
    val condition = reply.getUTF8String(1)
    val answer = if (reply.isNullAt(0)) null else reply.get(0, job.returnType)
    if (condition != null) failed(condition, reply.getUTF8String(2))
    else InternalRow(if (job.onError == LLMOptions.Struct) InternalRow(answer, null) else answer)
  }

  private def failed(condition: UTF8String, message: UTF8String): InternalRow = {
    count(LLMMetrics.FailedRows, 1)
    job.profile.foreach(_.addError(condition.toString, String.valueOf(message)))
    job.onError match {
      case LLMOptions.Fail => throw LLMErrors.whileRunning(condition.toString, String.valueOf(message))
      case LLMOptions.Struct => InternalRow(InternalRow(null, InternalRow(condition, message)))
      case _ => InternalRow(null)
    }
  }

  private def count(metric: String, n: Long): Unit = if (n != 0) {
    job.metrics(metric).add(n)
    site.add(metric, n)
  }

  // Python workers buffer 64 KiB of output; short answers would stay there until the end of the task, and LIMIT and
  // live metrics would wait for them. The runner reads the size where it is constructed, on the executor.
  private def withSmallBuffer[T](create: => T): T = {
    val conf = new SQLConf
    context.getLocalProperties.asScala.foreach {
      case (k, v) if k.startsWith("spark.sql.") => conf.setConfString(k, v)
      case _ =>
    }
    conf.setConf(SQLConf.PANDAS_UDF_BUFFER_SIZE, OutputBufferBytes)
    SQLConf.withExistingConf(conf)(create)
  }
}

object LLMEvalPartition {
  private val OutputBufferBytes = 256

  /** What the worker sends back, a row for each question; written in spark_llm/worker/result.py. */
  private def replySchema(value: DataType): StructType = new StructType()
    .add("value", value).add("condition", StringType).add("message", StringType).add("requests", IntegerType)
    .add("prompt_tokens", LongType).add("cached_prompt_tokens", LongType).add("generated_tokens", LongType)
    .add("engine_wait_ms", LongType).add("retries", IntegerType).add("profile", StringType)
}
