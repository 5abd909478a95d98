-- What there is, to compare with.
SELECT cfp_fold() IS NOT NULL AS folded;
CREATE TEMP TABLE history_before AS TABLE storage_history;
CREATE TEMP TABLE latest_before AS TABLE storage_latest;
ALTER TABLE history_before DROP COLUMN txid;
ALTER TABLE latest_before DROP COLUMN txid;
CREATE FUNCTION pg_temp.differences(OUT history bigint, OUT latest bigint) LANGUAGE sql AS $$
  SELECT count(*) FILTER (WHERE t = 'h'), count(*) FILTER (WHERE t = 'l')
  FROM (SELECT 'h' AS t, to_jsonb(b) AS r FROM history_before b EXCEPT ALL SELECT 'h', to_jsonb(h) - 'txid' FROM storage_history h
        UNION ALL (SELECT 'h', to_jsonb(h) - 'txid' FROM storage_history h EXCEPT ALL SELECT 'h', to_jsonb(b) FROM history_before b)
        UNION ALL (SELECT 'l', to_jsonb(b) FROM latest_before b EXCEPT ALL SELECT 'l', to_jsonb(l) - 'txid' FROM storage_latest l)
        UNION ALL (SELECT 'l', to_jsonb(l) - 'txid' FROM storage_latest l EXCEPT ALL SELECT 'l', to_jsonb(b) FROM latest_before b)) d $$;
SELECT date AS closed, date + 1 AS open FROM storage_days \gset
-- storage_latest is lost: the history has it all.
TRUNCATE storage_latest;
SELECT cfp_rebuild_latest_from_history() AS rows;
SELECT * FROM pg_temp.differences();
-- Both tables are lost: the backup of the closed date, then the day files after it.
TRUNCATE storage_history, storage_latest;
SELECT cfp_get_values('trip', 'bookings') AS lost;
SELECT cfp_restore_backup(:'closed') AS rows;
SELECT cfp_rebuild_history_from_wal(:'open') AS records;
SELECT cfp_fold() IS NOT NULL AS folded;
SELECT * FROM pg_temp.differences();
-- Nobody had to restart anything.
SELECT cfp_get_values('trip', 'bookings') AS trip;
DO $$
BEGIN
  ASSERT (SELECT history + latest = 0 FROM pg_temp.differences()), 'what was rebuilt is not what there was';
  ASSERT (SELECT count(*) > 100 FROM storage_history), 'there was nothing to compare';
END $$;
