package org.apache.spark.sql.llm

/**
 * By how many of the leading fields rows are hashed, and into how many partitions.
 *
 * Hashing by the leading field keeps every group of rows with an equal prefix on one engine. Each further field
 * balances better and cuts groups: one of g rows lies in up to E (1 - (1 - 1/E)^g) of E engines, and each of them
 * computes the prefix again. So fields are added only until there are enough prefixes to go round, and until no
 * value holds much more than one partition's share of the rows.
 */
object ChooseExchange {
  /** Prefixes per partition from which hashing spreads rows evenly enough. */
  private val PrefixesPerPartition = 4
  /** With whole groups per partition, smaller partitions even out what the groups' sizes differ. */
  private val WavesOfTasks = 2
  /** Times the even share that the heaviest value may hold. */
  private val HeavyShare = 2.0
  /** Rows below which a partition is not worth a task. */
  private val RowsPerTask = 64

  /** @param leading number of leading fields hashed by; None: all */
  case class Choice(leading: Option[Int], partitions: Int)

  /** The reason of a call whose rows are all read by one task. */
  val FewRows = "few rows for one engine: one task orders them together"

  /** Rows that a worker orders in one window keep their groups whole in one task; one task keeps one engine busy. */
  def oneTask(rows: Double, engines: Engines): Boolean =
    engines.count == 1 && rows <= LLMConf.windowRows && LLMConf.exchangePartitions.isEmpty

  def byAllFields(engines: Engines, maxRows: Option[Long]): Choice = Choice(None, partitions(engines.slots, maxRows))

  /** @param fields in the chosen order */
  def byLeadingFields(
      fields: Seq[ChooseFieldOrder.Field],
      rows: Double,
      engines: Engines,
      maxRows: Option[Long]): Choice = {
    val n = if (oneTask(rows, engines)) 1 else partitions(WavesOfTasks * engines.slots, maxRows)
    val prefixes = ChooseFieldOrder.prefixes(fields, rows, fields.indices)
    val heaviest = fields.scanLeft(1.0)((share, f) => share * f.estimate.flatMap(_.heaviest).getOrElse(0.0)).tail
    val enough = fields.indices.find { i =>
      n == 1 || (prefixes(i) >= PrefixesPerPartition * n && heaviest(i) <= HeavyShare / n)
    }
    enough.filter(_ < fields.size - 1) match {
      case Some(i) => Choice(Some(i + 1), n)
      case None if n == 1 => Choice(None, n)
      case None => byAllFields(engines, maxRows)
    }
  }

  private def partitions(wanted: Int, maxRows: Option[Long]): Int = LLMConf.exchangePartitions.getOrElse {
    val useful = maxRows.fold(Long.MaxValue)(rows => (rows + RowsPerTask - 1) / RowsPerTask)
    math.max(1L, math.min(wanted.toLong, useful)).toInt
  }
}
