"""LLM calls in a session that somebody else started: a notebook's `spark`, a shell, a test's session.

From the project's root:

    python sql_examples/live_session.py
"""

from pyspark.sql import SparkSession

import spark_llm

# Stands for the session that was there before us: no jar, no extension, no plug-in.
spark = SparkSession.builder.appName("live").getOrCreate()

spark_llm.register(spark)

# The plug-in that starts engines with their executors cannot be added any more: the first call starts them.
# An endpoint needs none:
#   spark.conf.set("spark.llm.engine.kind", "openai")
#   spark.conf.set("spark.llm.engine.endpoint", "https://host/v1")
spark.conf.set("spark.llm.engine.kind", "fake")

spark.sql("""
    CREATE TEMPORARY VIEW post AS
    SELECT * FROM VALUES
      (1, 'Lisbon', 'The soup was warm and the bread was fresh.'),
      (2, 'Lisbon', 'The bus was two hours late.'),
      (3, 'Oslo', 'Best fish of the whole journey!'),
      (4, 'Oslo', 'We could not sleep, the street is loud.'),
      (5, 'Porto', 'The cook came to our table and explained each dish.'),
      (6, 'Porto', CAST(NULL AS STRING))
    AS post (id, city, text)
""")
answers = spark.sql("""
    SELECT id, city, llm('What did the meal cost, in euros?', city, text, return_type => 'INT') AS euros
    FROM post
    WHERE llm('Is this post about a meal?', text, return_type => 'BOOLEAN')
    ORDER BY id
""")
for row in answers.collect():
    print(*row, sep="\t")
