BEGIN;
SELECT cfp_store('show 42', '{"row": "A", "status": "taken"}', 'A3', 'seats', 'Anna', username => 'anna', expected_version => 0);
SELECT 'Anna looks for her credit card' AS now, pg_sleep(1.5);
COMMIT;
