-- LLM calls in plain SQL, no Python driver. From the project's root:
--   spark-sql --jars "$(spark-llm jar)" --conf spark.llm.engine.kind=fake -f sql_examples/hello.sql
-- The fake engine makes up answers, the same at each run; for a model: --conf spark.llm.model=Qwen/Qwen3-0.6B

CREATE TEMPORARY VIEW post AS
SELECT * FROM VALUES
  (1, 'Lisbon', 'The soup was warm and the bread was fresh.'),
  (2, 'Lisbon', 'The bus was two hours late.'),
  (3, 'Oslo', 'Best fish of the whole journey!'),
  (4, 'Oslo', 'We could not sleep, the street is loud.'),
  (5, 'Porto', 'The cook came to our table and explained each dish.'),
  (6, 'Porto', CAST(NULL AS STRING))
AS post (id, city, text);

-- A call may stand wherever an expression may, and has the type that return_type says.
-- A NULL field gives NULL and asks nothing.
SELECT
  id,
  city,
  llm('What did the meal cost, in euros?', city, text, return_type => 'INT') AS euros
FROM post
WHERE llm('Is this post about a meal?', text, return_type => 'BOOLEAN')
ORDER BY id;
