\set c random(:first, :last)
SELECT * FROM upsert_latest WHERE key = :key AND collection_name = :c;
