\set c random(:first, :last)
SELECT jsonb_object_agg(item_name, to_jsonb(t)) FROM upsert_latest t WHERE key = :key AND collection_name = :c;
