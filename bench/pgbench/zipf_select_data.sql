\set z random_zipfian(1, 10000, 1.07)
\set i 1000000 + permute(:z - 1, 10000, 1)
\set c :i / 100
SELECT data FROM upsert_latest WHERE key = 'bench' AND collection_name = :c AND item_name = :i;
