package org.apache.spark.sql.llm

/**
 * The one field order for all rows of a call under which neighbours share most, from per-field statistics.
 *
 * Greedy from the front: next comes the field with the largest tokens x (1 - distinct prefixes / rows), the share of
 * rows that find the prefix up to and including it in their predecessor. Fields are taken for independent, since
 * statistics per field know no better: k1 x k2 combinations, of which `rows` draws hit K (1 - exp(-rows / K)).
 * Source: "Optimizing LLM Queries in Relational Data Analytics Workloads" (arXiv 2403.05821), section 4.2.
 * Differs from the paper: one order for all rows, with tokens in place of squared lengths; orders per row are the
 * Python worker's part, which sees the values.
 */
object ChooseFieldOrder {
  /** Orders that save less than this share of the prompt are not worth another prompt. */
  private val WorthWhile = 0.01

  /** @param estimate None: taken for unique, since nothing can be promised for it */
  case class Field(name: String, estimate: Option[FieldEstimate])

  /**
   * Positions in prompt order.
   *
   * @param first,last positions that are pinned to the front and to the end
   */
  def apply(fields: Seq[Field], rows: Double, first: Seq[Int], last: Seq[Int]): Seq[Int] = {
    val free = fields.indices.filterNot(i => first.contains(i) || last.contains(i))
    val start = prefixes(fields, rows, first).lastOption.getOrElse(1.0)
    val chosen = first ++ greedy(fields, rows, free, start) ++ last
    val written = first ++ free ++ last
    val all = fields.map(tokens(_)).sum
    if (saved(fields, rows, chosen) - saved(fields, rows, written) > WorthWhile * all) chosen else written
  }

  /** Mean tokens per row that stand in the same place of the row before, if rows are sorted by `order`. */
  def saved(fields: Seq[Field], rows: Double, order: Seq[Int]): Double =
    order.zip(prefixes(fields, rows, order)).map { case (i, d) => tokens(fields(i)) * (1 - d / rows) }.sum

  /** Expected number of different prefixes after each field of `order`, at most `rows`. */
  def prefixes(fields: Seq[Field], rows: Double, order: Seq[Int]): Seq[Double] =
    order.scanLeft(1.0)((d, i) => combined(d, distinct(fields(i), rows), rows)).tail

  private def greedy(fields: Seq[Field], rows: Double, free: Seq[Int], start: Double): Seq[Int] = {
    val left = scala.collection.mutable.ArrayBuffer.from(free)
    var prefix = start
    free.map { _ =>
      // rounded, so that noise between fields that save nothing leaves them as written
      def gain(i: Int) =
        math.round(100 * tokens(fields(i)) * (1 - combined(prefix, distinct(fields(i), rows), rows) / rows))
      val best = left.maxBy(gain)
      left -= best
      prefix = combined(prefix, distinct(fields(best), rows), rows)
      best
    }
  }

  private def combined(a: Double, b: Double, rows: Double): Double = {
    val all = a * b
    if (a <= 1 || b <= 1) math.min(all, rows) else math.min(rows, all * (1 - math.exp(-rows / all)))
  }

  private def distinct(field: Field, rows: Double): Double =
    field.estimate.fold(rows)(e => math.max(1.0, math.min(e.distinct, rows)))

  private def tokens(field: Field): Double = field.estimate.fold(0.0)(_.tokens(field.name))
}
