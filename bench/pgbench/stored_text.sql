\set c random(:first, :last)
SELECT body FROM stored WHERE key = :key AND collection_name = :c;
