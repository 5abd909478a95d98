\set c random(10000, 10099)
SELECT body FROM stored WHERE key = 'bench' AND collection_name = :c;
