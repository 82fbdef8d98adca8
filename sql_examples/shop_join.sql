-- A question over the two sides of a join: descriptions repeat, so far fewer questions are asked than there are rows.
SELECT p.name, llm('Which material is the product made of?', p.description) AS material, count(*) AS reviews
FROM reviews r
JOIN products p ON p.id = r.product_id
WHERE r.id < 600
GROUP BY p.name, material
ORDER BY reviews DESC, p.name
LIMIT 10;
