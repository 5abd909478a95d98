\set c random(:first, :last)
SELECT body FROM stored_plain WHERE key = :key AND collection_name = :c;
