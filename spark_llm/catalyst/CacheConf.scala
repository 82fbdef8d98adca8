package org.apache.spark.sql.llm

import org.apache.hadoop.fs.Path

import org.apache.spark.sql.internal.SQLConf

/** `spark.llm.cache.*` of the session. */
object CacheConf {
  val Enabled = "spark.llm.cache.enabled"
  val LogPrompts = "spark.llm.logPrompts.enabled"
  private val Dir = "spark.llm.cache.dir"
  val Table = "spark.llm.cache.table"
  private val Ttl = "spark.llm.cache.ttl"
  private val MaxSize = "spark.llm.cache.maxSize"
  private val BroadcastMaxSize = "spark.llm.cache.broadcastMaxSize"
  private val FlushInterval = "spark.llm.cache.flushInterval"
  private val DefaultFolder = "spark_llm_cache"

  def enabled: Boolean = LLMConf.boolean(Enabled)
  def logPrompts: Boolean = LLMConf.boolean(LogPrompts)

  /** The folder of all calls' answers; unset: beside the tables of the warehouse. */
  def dir: Path = LLMConf.session(Dir).map(_.trim).filter(_.nonEmpty).map(new Path(_))
    .getOrElse(new Path(SQLConf.get.warehousePath, DefaultFolder))

  /** The name of the table to which finished answers move, as it was written. */
  def table: Option[String] = LLMConf.session(Table).map(_.trim).filter(_.nonEmpty)

  /** Older answers are asked again. */
  def ttlMs: Option[Long] = LLMConf.session(Ttl).map(milliseconds(Ttl, _))

  /** Size of all calls' files above which the oldest go. */
  def maxBytes: Option[Long] = LLMConf.session(MaxSize).map(LLMConf.bytes(MaxSize, _))

  def flushMs: Long = milliseconds(FlushInterval, LLMConf.session(FlushInterval).get)

  def broadcastMaxBytes: Option[Long] = LLMConf.session(BroadcastMaxSize).map(LLMConf.bytes(BroadcastMaxSize, _))

  private def milliseconds(key: String, text: String): Long = math.round(LLMConf.seconds(key, text) * 1000)
}
