-- Seen from a third session:
SELECT b.application_name AS waits, b.wait_event AS for_the, a.application_name AS of
FROM pg_stat_activity b JOIN pg_stat_activity a ON a.pid = ANY (pg_blocking_pids(b.pid))
WHERE b.application_name = 'ben';
-- Anna finds her card.
SELECT cfp_store('show 42', '{}', 'credit card', 'found');
