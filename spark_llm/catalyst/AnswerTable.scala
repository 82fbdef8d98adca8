package org.apache.spark.sql.llm

import java.time.Instant

import scala.util.control.NonFatal

import org.apache.spark.sql.catalyst.expressions.Alias
import org.apache.spark.sql.catalyst.planning.PhysicalOperation
import org.apache.spark.sql.catalyst.plans.logical.{LogicalPlan, Project}
import org.apache.spark.sql.classic.{DataFrame, SparkSession}
import org.apache.spark.sql.connector.catalog.{CatalogManager, Column, SupportsNamespaces, TableCatalog}
import org.apache.spark.sql.connector.catalog.CatalogV2Implicits._
import org.apache.spark.sql.execution.datasources.{HadoopFsRelation, LogicalRelation}
import org.apache.spark.sql.functions.{col, lit}
import org.apache.spark.sql.internal.StaticSQLConf
import org.apache.spark.sql.types.{StringType, StructType}

/**
 * `spark.llm.cache.table`: stored answers as a table of any catalog, to which CacheMove brings what tasks have written.
 * {{{
 *   call=<fingerprint>/part-<uuid>.parquet  --CacheMove-->  table  <--  users: SELECT, JOIN, DELETE
 *                      \--------- both: look-up of the next query ---------/
 * }}}
 *
 * @param name with its catalog, quoted
 */
case class AnswerTable(name: String) {
  import AnswerTable._

  def exists(session: SparkSession): Boolean = session.catalog.tableExists(name)

  /**
   * key_high, key_low, answer of one call as an optimized plan, and the bytes that are read for it; None: no rows.
   *
   * @param sinceMs older answers do not count
   */
  def answers(session: SparkSession, call: String, sinceMs: Option[Long]): Option[(LogicalPlan, BigInt)] = {
    // a table may lose files to others between planning and reading
    val all = session.read.option("ignoreMissingFiles", "true").table(name).where(col(Call) === call)
    val young = sinceMs.fold(all)(ms => all.where(col(CreatedAt) > lit(Instant.ofEpochMilli(ms))))
    val key = CacheFolder.schema.take(3).map(f => col(f.name))
    val plan = key.foldLeft(young)((rows, c) => rows.where(c.isNotNull)).select(key: _*).queryExecution.optimizedPlan
    // the same table may stand elsewhere in the query, with the same ids
    val fresh = plan.output.map(a => Alias(a, a.name)())
    Some(Project(fresh, plan) -> bytes(plan)).filter(_._2 > 0)
  }

  /** Does it end with the application? So does a table of Spark's own catalog without Hive support. */
  def fleeting(session: SparkSession): Boolean =
    name.startsWith(s"${CatalogManager.SESSION_CATALOG_NAME}.") &&
      session.conf.get(StaticSQLConf.CATALOG_IMPLEMENTATION.key) != "hive" &&
      session.conf.getOption(s"spark.sql.catalog.${CatalogManager.SESSION_CATALOG_NAME}").forall(_ == "builtin")

  def create(session: SparkSession): Unit =
    session.sql(s"CREATE TABLE IF NOT EXISTS $name (${schema.toDDL}) PARTITIONED BY ($Call)")

  /** Adds rows of `schema`, in whatever order the table has its columns; columns of the user's own become NULL. */
  def append(session: SparkSession, rows: DataFrame): Unit = {
    val same = session.sessionState.conf.resolver
    val columns = session.table(name).schema.map { f =>
      if (schema.exists(g => same(g.name, f.name))) col(f.name) else lit(null).cast(f.dataType).as(f.name)
    }
    rows.select(columns: _*).hint("rebalance", col(Call)).write.insertInto(name)
  }
}

object AnswerTable {
  private val Call = "call"
  private val CreatedAt = "created_at"

  /** CacheFolder.schema and the call, all nullable, since not every catalog can say otherwise. */
  val schema: StructType = StructType(CacheFolder.schema.map(_.copy(nullable = true))).add(Call, StringType)

  /** The table of the session, if one is set. Fails where it cannot hold answers; makes nothing. */
  def of(session: SparkSession): Option[AnswerTable] = CacheConf.table.map { text =>
    val parts =
      try session.sessionState.sqlParser.parseMultipartIdentifier(text)
      catch { case NonFatal(_) => throw LLMErrors.invalidConf(CacheConf.Table, text, "the name of a table") }
    def invalid(reason: String) = LLMErrors.of("LLM_CACHE_TABLE_INVALID", "table" -> text, "reason" -> reason)
    import session.sessionState.analyzer.CatalogAndIdentifier
    try parts match {
      case CatalogAndIdentifier(catalog: TableCatalog, ident) =>
        if (catalog.tableExists(ident)) {
          // other applications add to it
          catalog.invalidateTable(ident)
          wrong(catalog.loadTable(ident).columns.toSeq, session).foreach(reason => throw invalid(reason))
        } else catalog match {
          case n: SupportsNamespaces if !n.namespaceExists(ident.namespace) =>
            throw invalid(s"there is no schema ${ident.namespace.quoted}")
          case _ =>
        }
        AnswerTable((catalog.name +: ident.namespace.toSeq :+ ident.name).quoted)
      case _ => throw invalid("its catalog has no tables")
    } catch {
      case e: LLMAnalysisException => throw e
      case NonFatal(e) => throw invalid(Option(e.getMessage).getOrElse(e.toString).takeWhile(_ != '\n'))
    }
  }

  private def wrong(columns: Seq[Column], session: SparkSession): Option[String] = {
    val same = session.sessionState.conf.resolver
    val faults = schema.flatMap { f =>
      columns.find(c => same(c.name, f.name)) match {
        case None => Some(s"it has no column ${f.name} ${f.dataType.sql}")
        case Some(c) if c.dataType != f.dataType => Some(s"${f.name} is ${c.dataType.sql}, not ${f.dataType.sql}")
        case _ => None
      }
    } ++ columns.filterNot(c => c.nullable || schema.exists(f => same(c.name, f.name))).map { c =>
      s"its further column ${c.name} is NOT NULL"
    }
    faults.headOption
  }

  /** Size of the files of this call where Spark knows it, else what the source says about itself. */
  private def bytes(plan: LogicalPlan): BigInt = plan match {
    case PhysicalOperation(_, filters, l: LogicalRelation) => l.relation match {
      case files: HadoopFsRelation =>
        val partition = l.resolve(files.partitionSchema, files.sparkSession.sessionState.analyzer.resolver)
        val pruning = filters.filter(f => f.references.nonEmpty && f.references.forall(partition.contains))
        files.location.listFiles(pruning, Nil).flatMap(_.files).map(f => BigInt(f.getLen)).sum
      case _ => l.stats.sizeInBytes
    }
    case _ => plan.collectLeaves().map(_.stats.sizeInBytes).sum
  }
}
