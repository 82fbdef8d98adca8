// Spark keeps its hash tables to this package
package org.apache.spark.sql.execution.joins.llm

import org.apache.spark.broadcast.Broadcast
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.execution.SparkPlan
import org.apache.spark.sql.execution.joins.HashedRelation
import org.apache.spark.unsafe.types.UTF8String

/** Rows of (key_high, key_low, answer), hashed by the first, as Spark has broadcast them. */
class StoredAnswers(broadcast: Broadcast[HashedRelation]) extends Serializable {
  /** For one task. */
  def reader(): StoredAnswers.Reader = new StoredAnswers.Reader(broadcast.value.asReadOnlyCopy())
}

object StoredAnswers {
  def of(plan: SparkPlan): StoredAnswers = new StoredAnswers(plan.executeBroadcast[HashedRelation]())

  class Reader(table: HashedRelation) {
    private val unique = table.keyIsUnique

    /** The answer to the question with this key, one of them where there are two; null where there is none. */
    def answer(high: Long, low: Long): UTF8String =
      if (unique) {
        val row = table.getValue(high)
        if (row != null && row.getLong(1) == low) row.getUTF8String(2) else null
      } else first(table.get(high), low)

    private def first(rows: Iterator[InternalRow], low: Long): UTF8String = {
      while (rows != null && rows.hasNext) {
        val row = rows.next()
        if (row.getLong(1) == low) return row.getUTF8String(2)
      }
      null
    }
  }
}
