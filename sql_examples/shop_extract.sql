-- A number out of free text becomes a join key: the ticket names an order, the order knows its city.
SELECT t.id, t.order_id, o.customer, o.city, t.text
FROM (
  SELECT id, text, llm('Which order number is named in the ticket?', text, return_type => 'INT') AS order_id
  FROM tickets
  WHERE channel = 'email'
) t
JOIN orders o ON o.id = t.order_id
ORDER BY t.id;
