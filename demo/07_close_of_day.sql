-- The worker notes which items have changed (flush), and brings storage_latest
-- up to date with them at the end of the day (fold). Here, now.
SELECT count(*) AS records, (SELECT count(*) FROM storage_latest) AS latest FROM storage_history;
SELECT cfp_flush() AS flushed;
SELECT cfp_fold() AS folded;
SELECT count(*) AS records, (SELECT count(*) FROM storage_latest) AS latest FROM storage_history;
-- Two items stored since then: what storage_current reads is still all of it.
SELECT cfp_store('trip', '{}', 'hotel', 'bookings', 'Bristol'), cfp_store('trip', '{}', 'train', 'bookings', 'ICE 5');
SELECT item_name, value, version FROM storage_current WHERE key = 'trip';
SELECT item_name, value_string, version FROM storage_latest WHERE key = 'trip';
