\set c random(10000, 10099)
SELECT item_name, data FROM upsert_latest WHERE key = 'many' AND collection_name = :c AND item_name = ANY(:names::text[]);
