\set c random(10000, 10099)
SELECT body FROM stored_plain WHERE key = 'bench' AND collection_name = :c;
