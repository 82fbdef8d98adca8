package org.apache.spark.sql.llm

import scala.jdk.CollectionConverters._

import com.fasterxml.jackson.databind.JsonNode

import org.apache.spark.network.util.JavaUtils
import org.apache.spark.sql.internal.SQLConf

/**
 * `spark.llm.*` as the JVM half needs it. Names, types and defaults come from conf-entries.json, which
 * `spark_llm/conf.py` owns; values from the session, which includes what the application was started with.
 */
object LLMConf {
  val Prefix = "spark.llm."
  private lazy val entries: JsonNode = Resources.json("conf-entries.json")

  // spark.llm.models.<name>.path and its like: known by prefix and last part
  private val NamedModel = """spark\.llm\.models\.[^.]+\.(path|endpoint|secret|revision)""".r

  def known: Seq[String] = entries.fieldNames.asScala.toSeq

  /** All entries the user has set. Fails for a key that does not exist, since Spark itself accepts any. */
  def userSet(conf: SQLConf): Map[String, String] = {
    val set = conf.getAllConfs.filter(_._1.startsWith(Prefix))
    set.keys.filterNot(k => entries.has(k) || NamedModel.matches(k)).toSeq.sorted.headOption.foreach { k =>
      throw LLMErrors.unknownConf(k, known)
    }
    set
  }

  def default(key: String): Option[String] =
    Option(entries.get(key)).map(_.get("default")).filterNot(d => d == null || d.isNull).map(_.asText)

  def get(values: Map[String, String], key: String): Option[String] = values.get(key).orElse(default(key))

  val MoveFilters = "spark.llm.moveFilters.enabled"
  val ShareCalls = "spark.llm.shareCalls.enabled"
  val Dedup = "spark.llm.dedup.enabled"
  val MaxAnswer = "spark.llm.maxAnswerLen"

  def moveFilters: Boolean = boolean(MoveFilters)
  def shareCalls: Boolean = boolean(ShareCalls)
  def dedup: Boolean = boolean(Dedup)
  def reorderRows: Boolean = rowsStay.isEmpty

  /** Why rows are not moved to where they share more, if so. */
  def rowsStay: Option[String] = stays("spark.llm.reorderRows.enabled")

  /** Why fields stand in the prompt as they are written, if so. */
  def fieldsStay: Option[String] = stays("spark.llm.reorderFields.enabled")

  private def stays(key: String): Option[String] =
    if (!boolean(key)) Some(s"$key=false")
    else Some(s"$Policy=$Original").filter(_ => policy == Original)

  private val Policy = "spark.llm.planner.policy"
  private val Original = "original"
  private val Policies = Seq("default", "fixed", "tree", "ggr", "thorough", Original)

  private def policy: String = {
    val text = session(Policy).get
    Some(text.trim.toLowerCase).filter(Policies.contains)
      .getOrElse(throw LLMErrors.invalidConf(Policy, text, Policies.mkString(", ")))
  }

  /** Number of partitions of the exchange below a call; None: chosen from engines and statistics. */
  def exchangePartitions: Option[Int] = {
    val key = "spark.llm.exchange.partitions"
    session(key).map(positive(key, _))
  }

  /** Rows that a worker orders together. */
  def windowRows: Int = {
    val key = "spark.llm.planner.windowRows"
    positive(key, session(key).get)
  }

  def batchRows(values: Map[String, String]): Int = {
    val key = "spark.llm.batchRows"
    positive(key, get(values, key).get)
  }

  def batchBytes(values: Map[String, String]): Long = {
    val key = "spark.llm.batchBytes"
    val text = get(values, key).get
    try JavaUtils.byteStringAsBytes(text)
    catch { case _: NumberFormatException => throw LLMErrors.invalidConf(key, text, "a size such as 8m") }
  }

  private def positive(key: String, text: String): Int =
    text.trim.toIntOption.filter(_ > 0).getOrElse(throw LLMErrors.invalidConf(key, text, "a positive INT"))

  private[llm] def boolean(key: String): Boolean = {
    val text = session(key).get
    text.trim.toLowerCase.toBooleanOption.getOrElse(throw LLMErrors.invalidConf(key, text, "true or false"))
  }

  private[llm] def session(key: String): Option[String] =
    Option(SQLConf.get.getConfString(key, null)).orElse(default(key))
}
