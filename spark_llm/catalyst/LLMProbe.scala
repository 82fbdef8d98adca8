package org.apache.spark.sql.llm

import org.apache.datasketches.frequencies.LongsSketch

import org.apache.spark.TaskContext
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical.{LogicalPlan, UnaryNode}
import org.apache.spark.sql.catalyst.plans.physical.Partitioning
import org.apache.spark.sql.catalyst.util.DateTimeUtils
import org.apache.spark.sql.execution.{SparkPlan, UnaryExecNode}
import org.apache.spark.sql.types.{LongType, StringType}

/** Measures columns while the rows pass on their way into an exchange. */
case class LLMProbe(columns: Seq[Expression], child: LogicalPlan) extends UnaryNode {
  override def output: Seq[Attribute] = child.output
  override def maxRows: Option[Long] = child.maxRows
  override protected lazy val validConstraints: ExpressionSet = child.constraints
  override protected def withNewChildInternal(newChild: LogicalPlan): LLMProbe = copy(child = newChild)
}

/** Passes rows through; `sketches` is filled when the stage has run. */
case class LLMProbeExec(columns: Seq[Expression], child: SparkPlan) extends UnaryExecNode {
  override def output: Seq[Attribute] = child.output
  override def outputPartitioning: Partitioning = child.outputPartitioning
  override def outputOrdering: Seq[SortOrder] = child.outputOrdering
  override protected def withNewChildInternal(newChild: SparkPlan): LLMProbeExec = copy(child = newChild)

  // each copy of the node has its own; the copy inside a stage is the one that runs
  @transient lazy val sketches: FieldSketches = {
    val accumulator = new FieldSketches(columns.size)
    sparkContext.register(accumulator)
    accumulator
  }

  override protected def doExecute(): RDD[InternalRow] = {
    val (found, input, measured) = (sketches, child.output, columns)
    val zone = DateTimeUtils.getZoneId(conf.sessionLocalTimeZone).getId
    child.execute().mapPartitionsWithIndexInternal { (index, rows) =>
      val probe = new FieldProbe(measured, input, zone)
      TaskContext.get().addTaskCompletionListener[Unit] { context =>
        if (!context.isFailed() && !context.isInterrupted()) found.add(probe.result(index))
      }
      rows.map { row =>
        probe.see(row)
        row
      }
    }
  }
}

/** One task's sketches. */
class FieldProbe(columns: Seq[Expression], input: Seq[Attribute], zone: String) {
  import FieldProbe._
  private val size = columns.size
  private val text = columns.map(_.dataType.isInstanceOf[StringType]).toArray
  private val hashes = UnsafeProjection.create(columns.map(c => If(IsNull(c), NoHash, new XxHash64(Seq(c)))), input)
  private val lengths = UnsafeProjection.create(
    columns.map(c => if (c.dataType.isInstanceOf[StringType]) OctetLength(c) else OctetLength(jsonOf(c))), input)
  private val texts = UnsafeProjection.create(
    columns.map(c => if (c.dataType.isInstanceOf[StringType]) OctetLength(c) else Literal(0)), input)
  private val distinct = Array.fill(size)(new DistinctSketch)
  private val frequent = Array.fill(size)(new LongsSketch(FieldSketches.FrequentItems))
  private val present, chars, sampled = new Array[Long](size)
  private var rows = 0L

  def see(row: InternalRow): Unit = {
    val hash = hashes(row)
    // JSON text of numbers, dates and structs is made for every 64th row only: their lengths differ little
    val full = rows < SampleEvery || rows % SampleEvery == 0
    val length = if (full) lengths(row) else texts(row)
    rows += 1
    var i = 0
    while (i < size) {
      if (!hash.isNullAt(i)) {
        present(i) += 1
        distinct(i).update(hash.getLong(i))
        frequent(i).update(hash.getLong(i))
        if (text(i) || full) {
          sampled(i) += 1
          chars(i) += (if (text(i)) length.getInt(i) + QuoteChars else length.getInt(i) - WrapperChars)
        }
      }
      i += 1
    }
  }

  def result(partition: Int): PartitionSketches = PartitionSketches(partition, rows, present,
    Array.tabulate(size)(i => if (sampled(i) == 0) 0.0 else chars(i).toDouble / sampled(i) * present(i)),
    distinct.map(_.result), frequent.map(_.serializeToString))

  private def jsonOf(c: Expression): Expression = FieldJson.encode(c, zone)
}

object FieldProbe {
  private val SampleEvery = 64
  private val QuoteChars = 2
  private val WrapperChars = 6 // {"v":}
  private val NoHash = Literal(null, LongType)
}
