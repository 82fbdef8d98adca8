package org.apache.spark.sql.llm

import java.nio.charset.StandardCharsets.UTF_8
import java.security.MessageDigest
import java.util.HexFormat

import scala.util.control.NonFatal

import org.apache.hadoop.fs.Path
import org.apache.hadoop.mapreduce.Job

import org.apache.spark.sql.classic.SparkSession
import org.apache.spark.sql.execution.datasources.OutputWriterFactory
import org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat
import org.apache.spark.sql.types._
import org.apache.spark.util.SerializableConfiguration

/**
 * `spark.llm.errors.table`: where a call's tasks keep the rows that failed; serialized with the task.
 *
 * @param folder     of Parquet files; tasks add files, and nothing is ever changed in one
 * @param call       SHA-256 of the call's instruction, 16 hex digits
 * @param typeName   what the answer should have been
 * @param logPrompts keep fields, and messages as they are, with what they quote
 */
case class ErrorTable(
    folder: String,
    call: String,
    typeName: String,
    logPrompts: Boolean,
    factory: OutputWriterFactory,
    hadoopConf: SerializableConfiguration) {

  /** The message, without what it may quote of row, prompt or answer. */
  def shown(condition: String, message: String): String =
    if (logPrompts || ErrorTable.QuoteNothing.contains(condition)) message
    else LLMErrors.message(condition, Map("type" -> typeName)).replaceAll("<[a-zA-Z]+>", "...")
}

object ErrorTable {
  private val Key = "spark.llm.errors.table"
  private val LogPrompts = "spark.llm.logPrompts.enabled"
  private val HashDigits = 16
  // their parameters are sizes and kinds; a new condition quotes until it is listed here
  private val QuoteNothing = Set("LLM_PROMPT_TOO_LONG", "LLM_OUTPUT_INVALID")

  val schema: StructType = new StructType()
    .add("application", StringType)
    .add("query", StringType)
    .add("time", TimestampType)
    .add("call", StringType)
    .add("fields", StringType)
    .add("condition", StringType)
    .add("message", StringType)

  /** The table of a call about to run, its folder made. Driver only. */
  def of(values: Map[String, String], session: SparkSession, call: LLMCall, query: Option[String]): Option[ErrorTable] =
    values.get(Key).map(_.trim).filter(_.nonEmpty).map { target =>
      val folder = if (isFolder(target)) target else ErrorTableAppend.stage(session, target, query)
      val job = Job.getInstance(session.sessionState.newHadoopConf())
      val factory = new ParquetFileFormat().prepareWrite(session, job, Map.empty, schema)
      try {
        val path = new Path(folder)
        path.getFileSystem(job.getConfiguration).mkdirs(path)
      } catch {
        case NonFatal(e) => throw LLMErrors.of("LLM_FILE_NOT_WRITTEN", "file" -> folder, "reason" -> e.getMessage)
      }
      val log = LLMConf.get(values, LogPrompts).exists(_.trim.equalsIgnoreCase("true"))
      ErrorTable(folder, hash(call), call.options.returnType.sql.toUpperCase, log, factory,
        new SerializableConfiguration(job.getConfiguration))
    }

  private def isFolder(target: String): Boolean = target.contains("/") || target.contains("\\")

  private def hash(call: LLMCall): String = {
    val text = if (call.instruction.foldable) String.valueOf(call.instruction.eval()) else call.instruction.sql
    val digest = MessageDigest.getInstance("SHA-256").digest(text.getBytes(UTF_8))
    HexFormat.of.formatHex(digest).take(HashDigits)
  }
}
