"""A client of a Spark Connect server: SQL, the Column API, and how a mistake comes back.

The server needs the jar, the client needs this package and `pip install "pyspark-llm[connect]"`:

    "$SPARK_HOME/sbin/start-connect-server.sh" --jars "$(spark-llm jar)" --conf spark.llm.engine.kind=fake
    python sql_examples/connect_client.py sc://localhost:15002
"""

import sys

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

import spark_llm
from spark_llm import functions as LF

POSTS = """
    VALUES
      (1, 'Lisbon', 'The soup was warm and the bread was fresh.'),
      (2, 'Lisbon', 'The bus was two hours late.'),
      (3, 'Oslo', 'Best fish of the whole journey!'),
      (4, 'Oslo', 'We could not sleep, the street is loud.'),
      (5, 'Porto', 'The cook came to our table and explained each dish.'),
      (6, 'Porto', CAST(NULL AS STRING))
    AS post (id, city, text)
"""

spark = SparkSession.builder.remote(sys.argv[1]).getOrCreate()
# Nothing can be installed from here; this only says how to start the server, if it has no jar.
spark_llm.register(spark)

print("-- SQL")
answers = spark.sql(f"""
    SELECT id, city, llm('What did the meal cost, in euros?', city, text, return_type => 'INT') AS euros
    FROM {POSTS}
    WHERE llm('Is this post about a meal?', text, return_type => 'BOOLEAN')
    ORDER BY id
""")
for row in answers.collect():
    print(*row, sep="\t")

print("-- Column API")
answers = (
    spark.sql(f"SELECT * FROM {POSTS}")
    .where(LF.llm("Is this post about a meal?", "text", return_type=bool))
    .select("id", "city", LF.llm("What did the meal cost, in euros?", "city", "text", return_type="INT"))
    .orderBy("id")
)
for row in answers.collect():
    print(*row, sep="\t")

print("-- a mistake")
try:
    spark.sql("SELECT llm('Say hello', returntype => 'INT')").collect()
except AnalysisException as error:
    print(error.getCondition(), error.getSqlState(), sep="\t")
    # The message alone; Spark Connect puts the server's whole stack trace behind it.
    print(spark_llm.from_exception(error))

spark.stop()
