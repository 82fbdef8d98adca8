package org.apache.spark.sql.llm

import java.nio.charset.StandardCharsets.UTF_8

import org.apache.hadoop.fs.Path

import org.apache.spark.internal.Logging
import org.apache.spark.sql.classic.{Dataset, SparkSession}
import org.apache.spark.sql.execution.datasources._
import org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat
import org.apache.spark.sql.types.StringType

/**
 * Brings finished files of the folder to the table, in one append, and deletes them after a time of grace, since a
 * query that has listed one may still be going to read it. Until then a marker says that the table has its rows.
 * {{{
 *   call=<fingerprint>/part-<uuid>.parquet  --append-->  table
 *   _moved/<hash of the table>/call=<fingerprint>/part-<uuid>.parquet    the marker, empty
 * }}}
 * Killed in between, or beside another driver, it appends rows twice, which the look-up bears: an answer in both places
 * is the same answer.
 *
 * @param root the folder spark.llm.cache.dir
 */
case class CacheMove(session: SparkSession, root: Path, table: AnswerTable) extends Logging {
  import CacheMove._

  private val conf = session.sessionState.newHadoopConf()
  private val fs = root.getFileSystem(conf)

  def apply(): Unit = {
    val known = table.exists(session)
    if (known) forget()
    val files = folders(root).flatMap { folder =>
      // markers speak of a table that is there: one that was dropped gets again what the folder still has
      val moved = if (known) marked(folder, table) else Set.empty[String]
      folder.files.filterNot(f => moved(f.getPath.getName))
    }
    if (files.nonEmpty) {
      table.create(session)
      if (!known && table.fleeting(session)) {
        logWarning(s"${table.name} ends with this application, and the answers in it: Spark's own catalog keeps " +
          "tables only with Hive support")
      }
      table.append(session, Dataset.ofRows(session, relation(files.map(_.getPath))))
      files.foreach { f =>
        val marker = new Path(markers(root, f.getPath.getParent.getName, table), f.getPath.getName)
        fs.create(marker, true).close()
      }
      logInfo(s"${files.size} files of stored answers moved to ${table.name}")
    }
  }

  /** Deletes files whose grace is over, then their markers. */
  private def forget(): Unit = folders(markers(root, "", table)).flatMap(_.listed).foreach { marker =>
    if (marker.getModificationTime < System.currentTimeMillis() - CacheUpkeep.GraceMs) {
      val path = marker.getPath
      fs.delete(new Path(new Path(root, path.getParent.getName), path.getName), false)
      fs.delete(path, false)
    }
  }

  private def folders(parent: Path): Seq[CacheFolder] = CacheFolder.all(parent, conf)

  private def relation(files: Seq[Path]): LogicalRelation = {
    // not ignoreCorruptFiles: what cannot be read now stays where it is
    val options = Map("ignoreMissingFiles" -> "true", "basePath" -> root.toString)
    val schema = CacheFolder.schema.add("call", StringType)
    val index = new InMemoryFileIndex(session, files, options, Some(schema))
    LogicalRelation(HadoopFsRelation(
      index, index.partitionSchema, CacheFolder.schema, None, new ParquetFileFormat, options)(session))
  }
}

object CacheMove {
  private val Digits = 16

  /** Names of the folder's files that are in the table. */
  def marked(folder: CacheFolder, table: AnswerTable): Set[String] =
    folder.copy(path = markers(folder.path.getParent, folder.path.getName, table)).listed.map(_.getPath.getName).toSet

  private def markers(root: Path, call: String, table: AnswerTable): Path = {
    val hash = ModelIdentity.hex(ModelIdentity.sha(table.name.getBytes(UTF_8))).take(Digits)
    new Path(root, Seq("_moved", hash, call).filter(_.nonEmpty).mkString("/"))
  }
}
