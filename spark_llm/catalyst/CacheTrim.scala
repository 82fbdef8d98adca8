package org.apache.spark.sql.llm

import java.nio.charset.StandardCharsets.UTF_8

import org.apache.hadoop.fs.Path

import org.apache.spark.internal.Logging
import org.apache.spark.sql.classic.SparkSession

/**
 * Keeps the folder small, with the tool that users have for it: here is only decided whether it is worth a process.
 * {{{
 *   more bytes than spark.llm.cache.maxSize              ->  spark-llm cache trim DIR --max-size BYTES
 *   a call with ManyFiles small files, and no table      ->  spark-llm cache compact DIR
 * }}}
 * Neither touches a file younger than the time of grace.
 *
 * @param root the folder spark.llm.cache.dir
 */
case class CacheTrim(session: SparkSession, root: Path) extends Logging {
  import CacheTrim._

  private val conf = session.sessionState.newHadoopConf()
  private val oldMs = System.currentTimeMillis() - CacheUpkeep.GraceMs

  /** @param calls those of the query that has ended */
  def apply(calls: Seq[CallCache]): Unit = {
    calls.flatMap(_.maxBytes).minOption.foreach { most =>
      val files = CacheFolder.all(root, conf).flatMap(_.files)
      if (files.map(_.getLen).sum > most && files.exists(_.getModificationTime < oldMs)) {
        tool("trim", "--max-size", most.toString)
      }
    }
    // with a table, small files go there soon
    val many = calls.filter(_.table.isEmpty).exists { c =>
      CacheFolder(new Path(c.folder), conf).files
        .count(f => f.getModificationTime < oldMs && f.getLen < SmallBytes) >= ManyFiles
    }
    if (many) tool("compact")
  }

  private def tool(action: String, options: String*): Unit = {
    val command = Seq(PythonCommand.executable(session.sessionState.conf), "-m", "spark_llm.cli", "cache", action,
      shown, "--grace", s"${CacheUpkeep.GraceMs / 1000}s") ++ options
    val builder = new ProcessBuilder(command: _*).redirectErrorStream(true)
    builder.environment().put("PYTHONPATH", PythonCommand.pythonPath)
    val process = builder.start()
    process.getOutputStream.close()
    val told = new String(process.getInputStream.readAllBytes(), UTF_8).trim
    if (process.waitFor() != 0) throw new java.io.IOException(s"spark-llm cache $action: $told")
    logInfo(s"spark-llm cache $action $shown: $told")
  }

  /** As the tool takes it: a path on a local disk, else a URI, with the one name that pyarrow has for S3. */
  private def shown: String = {
    val uri = root.getFileSystem(conf).makeQualified(root).toUri
    if (uri.getScheme == "file") uri.getPath else uri.toString.replaceFirst("^s3[an]:", "s3:")
  }
}

object CacheTrim {
  /** As in cache/layout.py. */
  private val SmallBytes = 64L << 20
  /** A page of an object store's listing, and 32 tasks for Spark, which counts 4 MiB for opening a file. */
  private val ManyFiles = 1000
}
