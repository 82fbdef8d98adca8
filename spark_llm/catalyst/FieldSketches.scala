package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.datasketches.frequencies.{ErrorType, LongsSketch}

import org.apache.spark.sql.catalyst.expressions.GenericInternalRow
import org.apache.spark.sql.catalyst.util.HyperLogLogPlusPlusHelper
import org.apache.spark.sql.types.LongType
import org.apache.spark.util.AccumulatorV2

/** Counts different values, as approx_count_distinct does; the registers are packed into longs. */
class DistinctSketch(val words: Array[Long] = new Array[Long](DistinctSketch.helper.numWords)) {
  private val buffer = {
    val row = new GenericInternalRow(words.length)
    words.indices.foreach(i => row.setLong(i, words(i)))
    row
  }

  /** @param hash of the value */
  def update(hash: Long): Unit = DistinctSketch.helper.update(buffer, 0, hash, LongType)

  def merge(other: Array[Long]): Unit = DistinctSketch.helper.merge(buffer, new DistinctSketch(other).buffer, 0, 0)

  /** About 95 of 100 times within two standard errors of the truth. */
  def estimate: Long = DistinctSketch.helper.query(buffer, 0)

  def result: Array[Long] = Array.tabulate(words.length)(buffer.getLong)
}

object DistinctSketch {
  /** Standard error of an estimate, as a share of it. */
  val Error = 0.05
  private val helper = new HyperLogLogPlusPlusHelper(Error)
}

/** Statistics of one partition's columns; the sketches as plain data, since accumulators travel by serialization. */
case class PartitionSketches(
    partition: Int,
    rows: Long,
    present: Array[Long],
    chars: Array[Double],
    distinct: Array[Array[Long]],
    frequent: Array[String])

/**
 * Collects what LLMProbeExec sees: per column the rows with a value, their mean length, a HyperLogLog of the values
 * and the most frequent ones. A partition counts once, also when its task ran twice (retry, speculation).
 *
 * At most 2 KiB per column and task go to the driver.
 */
class FieldSketches(columns: Int) extends AccumulatorV2[PartitionSketches, Seq[FieldEstimate]] {
  private val seen = mutable.HashSet.empty[Int]
  private val waiting = mutable.ArrayBuffer.empty[PartitionSketches] // on an executor: what the task found
  private var total: PartitionSketches = _

  override def isZero: Boolean = synchronized(seen.isEmpty)

  override def copy(): FieldSketches = synchronized {
    val other = new FieldSketches(columns)
    other.seen ++= seen
    other.waiting ++= waiting
    other.total = total
    other
  }

  override def reset(): Unit = synchronized {
    seen.clear()
    waiting.clear()
    total = null
  }

  override def add(part: PartitionSketches): Unit = synchronized {
    if (seen.add(part.partition)) waiting += part
  }

  override def merge(other: AccumulatorV2[PartitionSketches, Seq[FieldEstimate]]): Unit = other match {
    case o: FieldSketches => o.parts.foreach(add)
    case o => throw new UnsupportedOperationException(s"cannot merge ${o.getClass.getName} into FieldSketches")
  }

  private def parts: Seq[PartitionSketches] = synchronized((Option(total) ++ waiting).toSeq)

  def rows: Long = synchronized {
    collapse()
    if (total == null) 0 else total.rows
  }

  /** One estimate per column; empty before any row came. */
  override def value: Seq[FieldEstimate] = synchronized {
    if (rows == 0) Nil else (0 until columns).map { i =>
      val present = total.present(i).toDouble / total.rows
      // a long unique field must not pass for a shared one because of the sketch's error
      val most = new DistinctSketch(total.distinct(i)).estimate * (1 + 2 * DistinctSketch.Error)
      val distinct = math.min(most, total.present(i).toDouble) + (if (present < 1) 1 else 0)
      val top = LongsSketch.getInstance(total.frequent(i)).getFrequentItems(ErrorType.NO_FALSE_POSITIVES)
      val heaviest = math.max(1 - present, top.headOption.fold(0.0)(_.getLowerBound.toDouble / total.rows))
      FieldEstimate(total.chars(i) / total.rows, distinct, present, Some(heaviest))
    }
  }

  // merged when read, not while tasks end: that is the scheduler's thread
  private def collapse(): Unit = if (waiting.nonEmpty) {
    val all = parts
    total = PartitionSketches(-1, all.map(_.rows).sum,
      Array.tabulate(columns)(i => all.map(_.present(i)).sum),
      Array.tabulate(columns)(i => all.map(_.chars(i)).sum),
      Array.tabulate(columns) { i =>
        val union = new DistinctSketch()
        all.foreach(p => union.merge(p.distinct(i)))
        union.result
      },
      Array.tabulate(columns) { i =>
        val sum = new LongsSketch(FieldSketches.FrequentItems)
        all.foreach(p => sum.merge(LongsSketch.getInstance(p.frequent(i))))
        sum.serializeToString
      })
    waiting.clear()
  }
}

object FieldSketches {
  /** Slots of the frequent items sketch: finds values that hold more than about 1/24 of the rows. */
  val FrequentItems = 64
}
