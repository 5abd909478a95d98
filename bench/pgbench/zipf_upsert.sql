\set z random_zipfian(1, 10000, 1.07)
\set i 1000000 + permute(:z - 1, 10000, 1)
\set c :i / 100
\set v random(1, 100000)
WITH l AS (INSERT INTO upsert_latest AS l (key, collection_name, item_name, data, value_int, timestamp, status, username, updated_at, version) VALUES ('bench', :c, :i, :data, :v, now(), 'held', 'box-office-3', clock_timestamp(), 1) ON CONFLICT (key, collection_name, item_name) DO UPDATE SET data = EXCLUDED.data, value_int = EXCLUDED.value_int, value_float = EXCLUDED.value_float, value_string = EXCLUDED.value_string, timestamp = EXCLUDED.timestamp, status = EXCLUDED.status, status_int = EXCLUDED.status_int, username = EXCLUDED.username, updated_at = EXCLUDED.updated_at, version = l.version + 1, txid = EXCLUDED.txid RETURNING *) INSERT INTO upsert_history SELECT * FROM l;
