# Databricks notebook source
# MAGIC %md
# MAGIC # Questions to a table of posts
# MAGIC
# MAGIC Import this file as a notebook, or run it as it is: `python sql_examples/notebook.py`.

# COMMAND ----------

from pyspark.sql import SparkSession

import spark_llm

spark = SparkSession.getActiveSession()
if spark is None:
    spark = spark_llm.configure(SparkSession.builder.appName("notebook")).getOrCreate()
spark_llm.register(spark)
# Made-up answers, so that the notebook runs without a model. For yours: set "openai" and spark.llm.engine.endpoint.
spark.conf.set("spark.llm.engine.kind", "fake")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The table

# COMMAND ----------

spark.sql("""
    CREATE OR REPLACE TEMPORARY VIEW post AS
    SELECT * FROM VALUES
      (1, 'Lisbon', 'The soup was warm and the bread was fresh.'),
      (2, 'Lisbon', 'The bus was two hours late.'),
      (3, 'Oslo', 'Best fish of the whole journey!'),
      (4, 'Oslo', 'We could not sleep, the street is loud.'),
      (5, 'Porto', 'The cook came to our table and explained each dish.'),
      (6, 'Porto', CAST(NULL AS STRING))
    AS post (id, city, text)
""")

# COMMAND ----------

# MAGIC %md
# MAGIC ## One question for each row
# MAGIC The answer has the type that `return_type` says.

# COMMAND ----------

# MAGIC %sql
# MAGIC SELECT id, city, llm('What did the meal cost, in euros?', city, text, return_type => 'INT') AS euros
# MAGIC FROM post
# MAGIC WHERE llm('Is this post about a meal?', text, return_type => 'BOOLEAN')
# MAGIC ORDER BY id

# COMMAND ----------

# MAGIC %md
# MAGIC ## The same with a parameter
# MAGIC `:question` is filled by `args`, or by a widget in a `%sql` cell.

# COMMAND ----------

answers = spark.sql(
    """
    SELECT id, city, llm('What did the meal cost, in euros?', city, text, return_type => 'INT') AS euros
    FROM post
    WHERE llm(:question, text, return_type => 'BOOLEAN')
    ORDER BY id
    """,
    args={"question": "Is this post about a meal?"},
)
for row in answers.collect():
    print(*row, sep="\t")
