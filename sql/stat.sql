-- Statistics.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

-- counters are added up at the end of each transaction
CREATE TEMP TABLE before AS SELECT * FROM cfp.cfp_stat;
CREATE FUNCTION pg_temp.counted() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT format('stores %s, gets %s, hits %s, misses %s, loads %s, serializable %s', n.stores - b.stores, n.gets - b.gets,
		n.hits - b.hits, n.misses - b.misses, n.loads - b.loads, n.table_reads_serializable - b.table_reads_serializable)
	FROM cfp.cfp_stat n, before b
$$;
SELECT cfp.cfp_store('stat', '{}', 'i' || n, 'c', n) FROM generate_series(1, 3) n;
SELECT pg_temp.counted();
SELECT cfp.cfp_get_value('stat', 'i' || n, 'c') FROM generate_series(1, 3) n;
SELECT pg_temp.counted();
SELECT cfp.cfp_evict('stat', 'c');
SELECT cfp.cfp_get_value('stat', 'i1', 'c');
SELECT pg_temp.counted();
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cfp.cfp_get_value('stat', 'i1', 'c');
COMMIT;
SELECT pg_temp.counted();

SELECT cfp.cfp_flush() >= 0 AS flushed;
SELECT worker_pid IS NOT NULL AS worker, worker_state IN ('idle', 'flushing') AS state, next_end_of_day > now() AS next, last_closed_date < now() AS closed,
	cache_size, cache_used > 0 AS used, cache_used + cache_largest_free <= cache_size AS free, cached_collections > 0 AS collections, cached_bytes > 0 AS bytes,
	unflushed_records, unflushed_age, dirty_items >= 3 AS dirty, last_flush IS NOT NULL AS flushed,
	(last_error IS NULL) = (last_error_at IS NULL) AS error, wal_behind, wal_error, wal_error_at, stats_reset < now() AS reset
FROM cfp.cfp_stat;
SELECT cfp.cfp_fold() > 0 AS folded;
SELECT dirty_items, last_fold IS NOT NULL AS folded FROM cfp.cfp_stat;

SELECT key, collection_name, items, bytes > 0 AS bytes, hits > 0 AS hits, last_use BETWEEN now() - interval '1 hour' AND now() AS recent
FROM cfp.cfp_stat_collections WHERE key = 'stat';
SELECT cfp.cfp_evict('stat', 'c');
SELECT count(*) FROM cfp.cfp_stat_collections WHERE key = 'stat';

-- names too long to be stored are not cached either
SELECT cfp.cfp_get(repeat('k', 3000), repeat('i', 3000), repeat('c', 3000)), cfp.cfp_get_collection(repeat('k', 70000), repeat('c', 70000)),
	(SELECT count(*) FROM cfp.cfp_items(repeat('k', 2001))), (SELECT count(*) FROM cfp.cfp_history(repeat('k', 2001))),
	cfp.cfp_get_key(repeat('k', 70000)), cfp.cfp_evict(repeat('k', 70000));
SELECT count(*) FROM cfp.cfp_stat_collections WHERE octet_length(key) + octet_length(collection_name) > 2000;

SELECT count(*) FROM cfp.cfp_stat_progress WHERE done > total;

SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type LIKE 'cfp%';
SELECT count(*) = (SELECT count(*) FROM cfp.cfp_stat_collections) AS same_rows FROM cfp.cfp_stat_collections_rows();

-- no job runs; day files may be empty, where the extension went during its first flush
SELECT worker_pid, job, progress_done, progress_total FROM cfp.cfp_stat_job_row();
SELECT count(*) FROM cfp.cfp_wal_files_rows() WHERE date IS NULL OR file !~ '^wal_[0-9]{6}\.jsonl$' OR records NOT BETWEEN 0 AND bytes;

-- a get is counted once, whatever its etag is; warming is no get
TRUNCATE before;
INSERT INTO before SELECT * FROM cfp.cfp_stat;
SELECT cfp.cfp_warm('stat', 'c');
SELECT pg_temp.counted();
SELECT cfp.cfp_get_collection_json('stat', 'c', '0000000000000000') IS NOT NULL AS stale;
SELECT pg_temp.counted();
SELECT cfp.cfp_get_collection_json('stat', 'c', cfp.cfp_get_collection_json('stat', 'c')::json ->> 'etag') IS NULL AS same;
SELECT pg_temp.counted();

-- the counters begin anew; those of this transaction as well
SELECT stats_reset AS reset_before FROM cfp.cfp_stat \gset
SELECT stores > 0 AS stores, gets > 0 AS gets, loads > 0 AS loads FROM cfp.cfp_stat;
SELECT cfp.cfp_get_value('stat', 'i1', 'c'), cfp.cfp_stat_reset();
SELECT stores, gets, hits, misses, loads, evictions, table_reads_serializable, stats_reset > :'reset_before' AS reset FROM cfp.cfp_stat;
SELECT cfp.cfp_get_value('stat', 'i1', 'c');
SELECT stores, gets FROM cfp.cfp_stat;
SELECT has_function_privilege('public', 'cfp.cfp_stat_reset()', 'EXECUTE');
