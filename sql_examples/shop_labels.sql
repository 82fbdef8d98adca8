-- Tickets by topic: one of the given labels for each ticket, then a plain GROUP BY.
SELECT llm('Choose the topic of the ticket: billing, delivery, defect, account, return.', text) AS topic,
       count(*) AS tickets
FROM tickets
GROUP BY topic
ORDER BY tickets DESC, topic;
