-- A store is seen by its own transaction at once, by nobody after a rollback.
BEGIN;
SELECT cfp_store('postgresql', '{}', 'work_mem', 'Resource Usage / Memory', 1) AS version;
SELECT cfp_get_value('postgresql', 'work_mem', 'Resource Usage / Memory') AS inside;
ROLLBACK;
SELECT cfp_get_value('postgresql', 'work_mem', 'Resource Usage / Memory') AS afterwards,
       (SELECT count(*) FROM cfp_history('postgresql', 'work_mem', 'Resource Usage / Memory')) AS records;
-- ROLLBACK TO takes back its part only.
BEGIN;
SELECT cfp_store('trip', '{}', 'hotel', 'bookings', 'Astoria');
SAVEPOINT flight;
SELECT cfp_store('trip', '{}', 'flight', 'bookings', 'LH 172');
ROLLBACK TO flight;
COMMIT;
SELECT cfp_get_values('trip', 'bookings');
