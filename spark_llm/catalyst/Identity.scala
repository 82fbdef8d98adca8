package org.apache.spark.sql.llm

/** A key that equals only itself: for draws, of which equal ones are still two. */
private[llm] class Identity(val of: AnyRef) {
  override def hashCode: Int = System.identityHashCode(of)
  override def equals(other: Any): Boolean = other match {
    case o: Identity => o.of eq of
    case _ => false
  }
}
