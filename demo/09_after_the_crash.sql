-- What the clients wrote down: item, version, value.
CREATE TEMP TABLE acknowledged (item_name text, version int, value_int bigint);
\copy acknowledged FROM PROGRAM 'cat acknowledged.*' WITH (FORMAT csv)
-- Each of them is in the history as it was acknowledged ...
SELECT count(*) AS acknowledged, count(h.version) AS found, count(*) - count(h.version) AS missing
FROM acknowledged a LEFT JOIN storage_history h
  ON (h.key, h.collection_name) = ('burst', 'orders')
 AND (h.item_name, h.version, h.value_int) = (a.item_name, a.version, a.value_int);
-- ... and what is read now is never older than the last one acknowledged.
SELECT count(*) AS items, count(*) FILTER (WHERE c.version < a.version OR c.version IS NULL) AS older
FROM (SELECT item_name, max(version) AS version FROM acknowledged GROUP BY item_name) a
LEFT JOIN cfp_items('burst', 'orders') c USING (item_name);
-- No version was given twice, and the set of before is as it was.
SELECT count(*) AS records, count(DISTINCT (item_name, version)) AS versions
FROM storage_history WHERE key = 'burst';
SELECT cfp_get_values('trip', 'bookings') AS trip, cfp_get_values('show 42', 'seats') AS seats;
DO $$
BEGIN
  ASSERT (SELECT count(*) > 0 FROM acknowledged), 'the burst acknowledged nothing';
  ASSERT NOT EXISTS (SELECT item_name, version, value_int FROM acknowledged
                     EXCEPT SELECT item_name, version, value_int FROM storage_history WHERE key = 'burst'),
         'acknowledged stores are missing from the history';
  ASSERT NOT EXISTS (SELECT FROM (SELECT item_name, max(version) AS version FROM acknowledged GROUP BY item_name) a
                     LEFT JOIN cfp_items('burst', 'orders') c USING (item_name)
                     WHERE c.version < a.version OR c.version IS NULL),
         'an item is read older than acknowledged';
END $$;
