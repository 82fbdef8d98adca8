-- A typed answer with fields of its own; rows that do not fit would say why instead of failing the query.
SELECT id, answer.value.topic, answer.value.urgent, answer.error.condition AS error
FROM (
  SELECT id, llm('Give topic and urgent as JSON.', text,
                 return_type => 'STRUCT<topic: STRING, urgent: BOOLEAN>', on_error => 'struct') AS answer
  FROM tickets
  WHERE channel = 'phone'
)
WHERE answer.value.urgent
ORDER BY id;
