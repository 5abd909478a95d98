\set i random(1000000, 1009999)
\set c :i / 100
UPDATE audit_latest SET value_int = value_int + 1, version = version + 1 WHERE key = 'bench' AND collection_name = :c::text AND item_name = :i::text;
