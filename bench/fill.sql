-- 10,000 items in 100 collections, in cfp and in the tables of a user without it.
SELECT count(cfp_store('bench', :'data'::jsonb, i::text, (i / 100)::text, i::bigint))
  FROM generate_series(1000000, 1009999) i
\g /dev/null

WITH l AS (
	INSERT INTO upsert_latest (key, collection_name, item_name, data, value_int,
							   timestamp, status, username, updated_at, version)
	SELECT 'bench', (i / 100)::text, i::text, :'data'::jsonb, i,
		   now(), 'held', 'box-office-3', clock_timestamp(), 1
	  FROM generate_series(1000000, 1009999) i
	RETURNING *)
INSERT INTO upsert_history SELECT * FROM l;

INSERT INTO audit_latest SELECT * FROM upsert_latest;

VACUUM ANALYZE upsert_latest, upsert_history, audit_latest, audit_history;
