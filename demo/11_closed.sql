-- The date has been closed, and its records stand in files.
SELECT date, records, items_folded, backup_bytes, finished - started AS took, error FROM storage_days;
SELECT date AS closed, date + 1 AS open FROM storage_days \gset
SELECT cfp_verify_backup(:'closed') AS verified_rows;
-- Stores of the next date go into its own files. A day's files can be queried.
SELECT cfp_store('trip', '{}', 'hotel', 'bookings', 'Bath'), cfp_store('trip', '{"nights": 2}', 'spa', 'bookings', 1.0),
       cfp_delete('trip', 'train', 'bookings');
SELECT cfp_flush();
SELECT date, file, bytes, records FROM cfp_wal_files;
SELECT item_name, version, data, value_float, value_string FROM cfp_read_wal(:'open') ORDER BY updated_at, version;
