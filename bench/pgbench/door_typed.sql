\set i random(1000000, 1009999)
\set c :i / 100
SELECT price, note FROM typed WHERE key = 'bench' AND collection_name = :c::text AND item_name = :i::text;
