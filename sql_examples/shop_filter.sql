-- Which reviews are positive? The predicate on the city is cheap, so the model sees only Oslo's and Lisbon's rows.
SELECT id, city, title, text
FROM reviews
WHERE city < 'M' AND llm('Is this review positive?', text, return_type => 'BOOLEAN')
ORDER BY id;
