package org.apache.spark.sql.llm

import java.util.ArrayDeque

import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions._

/**
 * What became of each row that waits for its answer, oldest first. Equal neighbours are counted, so ten million rows
 * with one question take no more memory here than one; the rows themselves wait in a queue that spills.
 */
class RowFates {
  private class Run(val fate: Int, var rows: Long)
  private val runs = new ArrayDeque[Run]

  def isEmpty: Boolean = runs.isEmpty

  /** The fate of the oldest row. */
  def next: Int = runs.peekFirst().fate

  def add(fate: Int): Unit = {
    val last = runs.peekLast()
    if (last != null && last.fate == fate) last.rows += 1 else runs.addLast(new Run(fate, 1))
  }

  def remove(): Int = {
    val first = runs.peekFirst()
    first.rows -= 1
    if (first.rows == 0) runs.removeFirst()
    first.fate
  }
}

object RowFates {
  /** Its condition is not true: NULL. */
  final val Skipped = 0
  /** Sent to the worker: the next reply is its answer. */
  final val Asked = 1
  /** Equal to the last row that asked, and answered by that one's reply. */
  final val Repeated = 2
  /** Answered by an earlier query, and the answer stands in the row. */
  final val Stored = 3
}

/**
 * Tells whether a row asks what the last asking row asked. Compared are the bytes of the arguments: NULL equals NULL
 * and differs from the text 'null'; values that only compare equal, such as -0.0 and 0.0, are two questions.
 */
class EqualNeighbours(tuple: Seq[Expression], input: Seq[Attribute]) {
  private val arguments = UnsafeProjection.create(tuple, input)
  private val last = UnsafeRow.createFromByteArray(64, tuple.size)
  private var first = true

  def apply(row: InternalRow): Boolean = {
    val now = arguments(row)
    val equal = !first && now == last
    if (!equal) last.copyFrom(now)
    first = false
    equal
  }
}

object EqualNeighbours {
  /** Never, when there is nothing to compare. */
  def apply(tuple: Seq[Expression], input: Seq[Attribute]): InternalRow => Boolean =
    if (tuple.isEmpty) _ => false
    else {
      val compare = new EqualNeighbours(tuple, input)
      compare(_)
    }
}
