package org.apache.spark.sql.llm

import scala.util.control.NonFatal

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileStatus, FileSystem, Path}
import org.apache.hadoop.fs.permission.FsAction

import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions.Expression
import org.apache.spark.sql.classic
import org.apache.spark.sql.execution.datasources._
import org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat
import org.apache.spark.sql.types._

/**
 * The folder of one call's answers. Files are written under a hidden name, renamed when they are whole, and never
 * changed after that, so that any number of readers and writers share the folder.
 * {{{
 *   spark.llm.cache.dir / call=<fingerprint> / part-<uuid>.parquet
 * }}}
 */
case class CacheFolder(path: Path, conf: Configuration) {
  private def fs: FileSystem = path.getFileSystem(conf)

  /** The finished files; empty where there is no folder. */
  def files: Seq[FileStatus] = listed.filter(_.getLen > 0)

  private[llm] def listed: Seq[FileStatus] =
    try fs.listStatus(path).toSeq.filter(f => f.isFile && !hidden(f.getPath.getName))
    catch { case _: java.io.FileNotFoundException => Nil }

  private def hidden(name: String): Boolean = name.startsWith(".") || name.startsWith("_")

  /** Some of them as a table. The schema is given, so that no job reads it from the files. */
  def relation(session: classic.SparkSession, files: Seq[FileStatus]): LogicalRelation = {
    val options = Map("ignoreMissingFiles" -> "true", "ignoreCorruptFiles" -> "true")
    LogicalRelation(HadoopFsRelation(
      new Listed(files), new StructType, CacheFolder.schema, None, new ParquetFileFormat, options)(session))
  }

  private class Listed(files: Seq[FileStatus]) extends FileIndex {
    override def rootPaths: Seq[Path] = Seq(path)
    override def partitionSchema: StructType = new StructType
    override def listFiles(partition: Seq[Expression], data: Seq[Expression]): Seq[PartitionDirectory] =
      Seq(PartitionDirectory(InternalRow.empty, files.toArray))
    override def inputFiles: Array[String] = files.map(_.getPath.toString).toArray
    override def sizeInBytes: Long = files.map(_.getLen).sum
    override def refresh(): Unit = ()
  }

  /** Fails where answers could not be written; makes nothing, since EXPLAIN comes here too. */
  def checkWritable(): Unit =
    try {
      val nearest = Iterator.iterate(path)(_.getParent).takeWhile(_ != null).find(fs.exists)
      nearest.foreach { p =>
        if (!fs.getFileStatus(p).isDirectory) throw new java.io.IOException(s"$p is a file")
        fs.access(p, FsAction.WRITE_EXECUTE)
      }
    } catch { case NonFatal(e) => throw LLMErrors.cacheNotWritable(path.getParent.toString, reason(e)) }

  def create(): Unit =
    try if (!fs.mkdirs(path)) throw new java.io.IOException("it cannot be created")
    catch { case NonFatal(e) => throw LLMErrors.cacheNotWritable(path.getParent.toString, reason(e)) }

  private def reason(e: Throwable): String = Option(e.getMessage).getOrElse(e.toString).takeWhile(_ != '\n')
}

object CacheFolder {
  private val Name = "call=[0-9a-f]{32}".r

  /** Those of all calls below `root`. */
  def all(root: Path, conf: Configuration): Seq[CacheFolder] =
    try root.getFileSystem(conf).listStatus(root).toSeq
      .filter(f => f.isDirectory && Name.matches(f.getPath.getName)).map(f => CacheFolder(f.getPath, conf))
    catch { case _: java.io.FileNotFoundException => Nil }

  /** One schema for all calls; `instruction` and `fields` are NULL unless spark.llm.logPrompts.enabled. */
  val schema: StructType = new StructType()
    .add("key_high", LongType, nullable = false).add("key_low", LongType, nullable = false)
    .add("answer", StringType, nullable = false)
    .add("model", StringType).add("revision", StringType).add("instruction_hash", StringType)
    .add("instruction", StringType).add("fields", StringType)
    .add("prompt_tokens", LongType).add("generated_tokens", LongType)
    .add("created_at", TimestampType, nullable = false)
}
