"""An application for spark-submit, on one machine or on a cluster.

From the project's root, where the settings name the jar, the plug-in and the model:

    spark-submit --properties-file conf/spark-defaults.conf sql_examples/app.py
"""

from pyspark.sql import SparkSession

import spark_llm
from spark_llm import functions as LF

POSTS = [
    (1, "Lisbon", "The soup was warm and the bread was fresh."),
    (2, "Lisbon", "The bus was two hours late."),
    (3, "Oslo", "Best fish of the whole journey!"),
    (4, "Oslo", "We could not sleep, the street is loud."),
    (5, "Porto", "The cook came to our table and explained each dish."),
    (6, "Porto", None),
]


def main() -> None:
    # Under spark-submit the jar must come from --jars or the properties file: the JVM runs before this line.
    # `python sql_examples/app.py` starts the JVM itself, and configure gives it the jar.
    spark = spark_llm.configure(SparkSession.builder.appName("posts")).getOrCreate()
    posts = spark.createDataFrame(POSTS, "id INT, city STRING, text STRING")
    answers = (
        posts.where(LF.llm("Is this post about a meal?", "text", return_type=bool))
        .select("id", "city", LF.llm("What did the meal cost, in euros?", "city", "text", return_type="INT"))
        .orderBy("id")
    )
    for row in answers.collect():
        print(*row, sep="\t")
    spark.stop()


if __name__ == "__main__":
    main()
