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
 * @param tuple  what makes two neighbours one question; empty: every row is a question of its own
 * @param stored the answer that an earlier query kept, NULL where there is none
 * @param keep   how answers are kept for later queries
 * @param site   the call in the metric system
 * @param profile collects for the run report, where there is one
 * @param tuple    what makes two neighbours one question; empty: every row is a question of its own
 * @param port     the Python worker has to reach the driver
 * @param failures spark.llm.errors.maxFailedRatio, if it is set
 * @param errorTable spark.llm.errors.table, if it is set
 */
case class LLMEvalJob(
    function: SimplePythonFunction,
    engine: Option[EngineSpec],
    argumentExpressions: Seq[Expression],
    argumentSchema: StructType,
    fieldNames: Seq[String],
    tuple: Seq[Expression],
    guard: Option[Expression],
    stored: Option[Expression],
    keep: Option[KeepAnswers],
    input: Seq[Attribute],
    output: Seq[Attribute],
    returnType: DataType,
    onError: String,
    outcome: Outcome,
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
    profile: Option[CallProfile],
    port: Boolean,
    failures: Option[FailureReport.Limit],
    errorTable: Option[ErrorTable])

/** One partition: rows out to the Python worker, answers back beside the rows they belong to, in order. */
class LLMEvalPartition(job: LLMEvalJob, index: Int, rows: Iterator[InternalRow]) {
  import LLMEvalPartition._

  private val context = TaskContext.get()
  private val waiting =
    HybridRowQueue(context.taskMemoryManager(), new File(Utils.getLocalDir(SparkEnv.get.conf)), job.input.length)
  context.addTaskCompletionListener[Unit](_ => waiting.close())
  private val fates = new RowFates
  private val site = CallCounters.of(job.site)
  private val stored = job.stored.map(e => UnsafeProjection.create(Seq(e), job.input))
  private val keeper = job.keep.map(new AnswerKeeper(_, job, context))
  private val errorWriter = job.errorTable.map(new ErrorWriter(_, context))
  private val report = job.failures.map(new FailureReport(_, index, context))

  def answers(): Iterator[InternalRow] = {
    if (rows.hasNext) report.foreach(_.begin())
    // the rest begins with the first row that asks
    val before = new Unasked
    before ++ before.first.fold {
      report.foreach(_.done())
      Iterator.empty[InternalRow]
    }(first => join(replies(first)))
  }

  private def replies(first: InternalRow): Iterator[InternalRow] = {
    val asked = Iterator.single((first, RowFates.Asked)) ++ rows.map(row => (row, fateOf(row)))
    val batches = new BoundedBatches(questions(asked), job.batchRows, job.batchBytes)
    val replies = withSmallBuffer(PythonRunners.create(job, workerFunction())).compute(batches, index, context)
    LLMErrors.unwrapping(replies).flatMap { batch =>
      val struct = batch.column(0).asInstanceOf[ArrowColumnVector]
      val reply = new ColumnarBatch(replySchema(job.returnType).indices.map(struct.getChild).toArray)
      reply.setNumRows(batch.numRows())
      val rows = reply.rowIterator().asScala
      if (reply.column(Early).getLong(0) < 0) rows
      else {
        rows.foreach(r => keeper.foreach(_.early(r.getLong(Early), r)))
        Iterator.empty
      }
    }
  }

  /** Rows before the first that asks: they wait for nobody, and a task that has only such rows needs no worker. */
  private class Unasked extends Iterator[InternalRow] {
    private var row: InternalRow = _
    private var fate = RowFates.Skipped

    /** The row that ends them, if they have ended with one. */
    def first: Option[InternalRow] = Option(row)

    override def hasNext: Boolean = {
      if (row == null && rows.hasNext) {
        row = rows.next()
        fate = fateOf(row)
      }
      row != null && fate != RowFates.Asked
    }

    override def next(): InternalRow = {
      if (!hasNext) throw new NoSuchElementException
      val now = row
      row = null
      answered(now, answerWithout(now, fate))
    }
  }

  private lazy val guard = {
    val condition = job.guard.map(Predicate.create(_, job.input))
    condition.foreach(_.initialize(index))
    condition
  }
  private val repeats = EqualNeighbours(job.tuple, job.input)
  private val (rowsIn, rowsOut, bytesOut) =
    (job.metrics(LLMMetrics.Rows), job.metrics(LLMMetrics.OutputRows), job.metrics(LLMMetrics.OutputBytes))
  private val (skipped, duplicates) = (job.metrics(LLMMetrics.SkippedRows), job.metrics(LLMMetrics.DuplicateRows))

  /** To be asked once per row, in order. */
  private def fateOf(row: InternalRow): Int = {
    rowsIn += 1
    if (!guard.forall(_.eval(row))) {
      skipped += 1
      RowFates.Skipped
    } else if (stored.exists(!_(row).isNullAt(0))) {
      count(LLMMetrics.CachedRows, 1)
      RowFates.Stored
    } else if (repeats(row)) {
      duplicates += 1
      RowFates.Repeated
    } else RowFates.Asked
  }

  private def questions(asked: Iterator[(InternalRow, Int)]): Iterator[UnsafeRow] = {
    val arguments = UnsafeProjection.create(job.argumentExpressions, job.input)
    asked.flatMap { case (row, fate) =>
      waiting.add(row.asInstanceOf[UnsafeRow])
      fates.add(fate)
      if (fate == RowFates.Asked) {
        keeper.foreach(_.ask(row))
        Some(arguments(row))
      } else None
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
    if (job.port) environment.put("SPARK_LLM_PORT", WorkerPort.path)
    job.function.copy(envVars = environment)
  }

  private val both = new JoinedRow
  private val toUnsafe = UnsafeProjection.create(job.output, job.input :+ job.output.last)
  private val noAnswer = InternalRow(null)

  private def answered(row: InternalRow, answer: InternalRow): InternalRow = {
    rowsOut += 1
    // as the exchange counts its rows: a long row is more of the work than a short one
    bytesOut += row.asInstanceOf[UnsafeRow].getSizeInBytes
    toUnsafe(both(row, answer))
  }

  private def answerWithout(row: InternalRow, fate: Int): InternalRow =
    if (fate == RowFates.Stored) job.outcome(stored.get(row).get(0, job.returnType), null, null, Outcome.Cache)
    else noAnswer

  private def join(replies: Iterator[InternalRow]): Iterator[InternalRow] = new Iterator[InternalRow] {
    private var last: InternalRow = noAnswer // the answer of the last row that asked, for rows that equal it
    private var lastError: Option[(String, String)] = None

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
      if (fates.isEmpty) report.foreach(_.done())
      !fates.isEmpty
    }

    override def hasNext: Boolean = ready()

    override def next(): InternalRow = {
      if (!ready()) throw new NoSuchElementException
      val fate = fates.remove()
      val reply = if (fate == RowFates.Asked) replies.next() else null
      val row = waiting.remove()
      val answer = fate match {
        case RowFates.Repeated =>
          counted(lastError, row)
          last
        case RowFates.Asked => keep(row, reply)
        case _ => answerWithout(row, fate)
      }
      answered(row, answer)
    }

    private def keep(row: InternalRow, reply: InternalRow): InternalRow = {
      val error = Option(reply.getUTF8String(1)).map(c => (c.toString, String.valueOf(reply.getUTF8String(2))))
      counted(error, row)
      cost(reply)
      val answer = value(reply, if (reply.getInt(3) > 0) Outcome.Engine else Outcome.Dedup)
      keeper.foreach(_.next(reply))
      if (job.tuple.nonEmpty) {
        // the reply lies in a buffer that the next batch overwrites
        last = value(reply, Outcome.Dedup).copy()
        lastError = error
      }
      answer
    }
  }

  private def cost(reply: InternalRow): Unit = {
    count(LLMMetrics.Requests, reply.getInt(3))
    count(LLMMetrics.PromptTokens, reply.getLong(4))
    count(LLMMetrics.CachedPromptTokens, reply.getLong(5))
    count(LLMMetrics.GeneratedTokens, reply.getLong(6))
    count(LLMMetrics.EngineWait, reply.getLong(7))
    count(LLMMetrics.Retries, reply.getInt(8))
    if (reply.getInt(3) > 0) count(LLMMetrics.Questions, 1)
    count(LLMMetrics.ThinkingTokens, reply.getLong(12))
    count(LLMMetrics.ReasonedRows, reply.getInt(13))
    count(LLMMetrics.CutRows, reply.getInt(14))
    count(LLMMetrics.UnaskedRows, reply.getInt(15))
    count(LLMMetrics.CostlyRows, reply.getInt(17))
    count(LLMMetrics.CostlyTokens, reply.getLong(18))
    if (!reply.isNullAt(9)) job.profile.foreach(_.addPrefixes(reply.getUTF8String(9).toString))
  }

  private def value(reply: InternalRow, source: String): InternalRow = {
    val condition = reply.getUTF8String(1)
    // a row without a question has no prompt, and its NULL is nobody's answer
    val (hash, from) = if (reply.isNullAt(10)) (null, null) else (reply.getUTF8String(10), source)
    val mode = if (reply.isNullAt(16)) null else reply.getUTF8String(16)
    if (condition != null) failed(condition, reply.getUTF8String(2), hash, from, mode, reply.getInt(19))
    else
      job.outcome(
        if (reply.isNullAt(0)) null else reply.get(0, job.returnType), null, hash, from, mode, reply.getInt(19))
  }

  private def counted(error: Option[(String, String)], row: InternalRow): Unit =
    if (error.exists(_._1 == OverBudget)) count(LLMMetrics.OverBudgetRows, 1)
    else {
      error.foreach { case (condition, message) =>
        count(LLMMetrics.FailedRows, 1)
        job.profile.foreach(_.addError(condition, message))
        errorWriter.foreach(_.add(condition, message, fieldsOf(row)))
      }
      report.foreach(_.row(error))
    }

  private lazy val fieldTexts = UnsafeProjection.create(job.argumentExpressions, job.input)

  /** The fields as one JSON object; each comes as {"v":VALUE}, and as {} where it is NULL. */
  private def fieldsOf(row: InternalRow): String = {
    val texts = fieldTexts(row)
    job.fieldNames.zipWithIndex.map { case (name, i) =>
      val text = texts.getUTF8String(i).toString
      s"${Resources.write(name)}:${if (text == "{}") "null" else text.stripPrefix("{\"v\":").stripSuffix("}")}"
    }.mkString("{", ",", "}")
  }

  private def failed(
      condition: UTF8String,
      message: UTF8String,
      hash: UTF8String,
      source: String,
      mode: UTF8String,
      model: Int): InternalRow =
    // a row that the budget does not reach is no failure; the worker fails where onExceeded asks for it
    if (job.onError == LLMOptions.Fail && condition.toString != OverBudget) {
      throw LLMErrors.whileRunning(condition.toString, String.valueOf(message))
    } else job.outcome(null, InternalRow(condition, message), hash, source, mode, model)

  private def count(metric: String, n: Long): Unit = if (n != 0) {
    job.metrics(metric).add(n)
    site.add(metric, n)
  }

  // Python workers buffer 64 KiB of output; short answers would stay there until the end of the task, and LIMIT, live
  // metrics and the cache would wait for them. A batch ends with eight bytes at least, its last row's number, and what
  // is longer than the buffer passes it. The runner reads the size where it is constructed, on the executor.
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
  private val OutputBufferBytes = 4
  private val OverBudget = "LLM_BUDGET_EXCEEDED"

  /** The column that tells answers to be kept before their turn. */
  private val Early = 11

  /**
   * What the worker sends back: a row for each question, in order, and in batches of their own rows that are to be
   * kept before their turn; written in spark_llm/worker/result.py.
   */
  private def replySchema(value: DataType): StructType = new StructType()
    .add("value", value).add("condition", StringType).add("message", StringType).add("requests", IntegerType)
    .add("prompt_tokens", LongType).add("cached_prompt_tokens", LongType).add("generated_tokens", LongType)
    .add("engine_wait_ms", LongType).add("retries", IntegerType).add("profile", StringType)
    .add("prompt_hash", StringType).add("early", LongType).add("thinking_tokens", LongType)
    .add("reasoned", IntegerType).add("thinking_cut", IntegerType).add("unasked_thinking", IntegerType)
    .add("reasoning", StringType).add("costly", IntegerType).add("costly_tokens", LongType).add("model", IntegerType)
}
