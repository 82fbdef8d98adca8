package org.apache.spark.sql.llm

/** A clock that stands still until it is set, in nanoseconds: what decides by time is tested without waiting. */
class ManualClock extends (() => Long) {
  @volatile private var nowNs = 0L
  def set(ns: Long): Unit = nowNs = ns
  override def apply(): Long = nowNs
}
