package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions.UnsafeRow

/**
 * Cuts rows into batches of at most `maxRows` rows; a batch also ends with the row that takes it to `maxBytes`, so
 * a column of 10 MB texts does not make an Arrow batch of gigabytes. Each batch must be drained before the next.
 */
class BoundedBatches(rows: Iterator[UnsafeRow], maxRows: Int, maxBytes: Long) extends Iterator[Iterator[InternalRow]] {
  override def hasNext: Boolean = rows.hasNext

  override def next(): Iterator[InternalRow] = new Iterator[InternalRow] {
    private var taken = 0
    private var bytes = 0L
    override def hasNext: Boolean = taken < maxRows && bytes < maxBytes && rows.hasNext
    override def next(): InternalRow = {
      val row = rows.next()
      taken += 1
      bytes += row.getSizeInBytes
      InternalRow(row) // the Arrow input of the Python worker is one struct column
    }
  }
}
