\set c random(10000, 10099)
SELECT jsonb_object_agg(item_name, to_jsonb(t)) FROM upsert_latest t WHERE key = 'bench' AND collection_name = :c;
