# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# A collection of 100 items by 8 clients: beside the same text kept ready in a
# table (as it comes, which PostgreSQL compresses, and uncompressed), and
# beside putting it together from rows.

query_file "$db" "$bench/fill.sql"
query "$db" 'SELECT cfp_fold()' >/dev/null
query "$db" "
	CREATE TABLE stored (key text, collection_name text, body text,
						 PRIMARY KEY (key, collection_name));
	CREATE TABLE stored_plain (LIKE stored INCLUDING ALL);
	ALTER TABLE stored_plain ALTER body SET STORAGE EXTERNAL;
	INSERT INTO stored
	SELECT 'bench', c::text, cfp_get_collection_json('bench', c::text)
	  FROM generate_series(10000, 10099) c;
	INSERT INTO stored_plain SELECT * FROM stored"
query "$db" 'VACUUM ANALYZE stored, stored_plain'
query "$db" "SELECT format('a collection is %s bytes of JSON text', length(body)) FROM stored LIMIT 1"

section 'collection of 100 items: 8 clients' 'a second'
for ((round = 1; round <= rounds; round++)); do
	sample cfp_get_collection_json "$(clients "$db" cfp_get_collection_json 8)"
	sample 'stored text' "$(clients "$db" stored_text 8)"
	sample 'stored text, uncompressed' "$(clients "$db" stored_plain 8)"
	sample cfp_get_collection "$(clients "$db" cfp_get_collection 8)"
	sample jsonb_object_agg "$(clients "$db" object_agg 8)"
done
table
ratio cfp_get_collection_json 'stored text' least 1
ratio cfp_get_collection_json 'stored text, uncompressed' least 1
ratio cfp_get_collection_json jsonb_object_agg least 20
ratio cfp_get_collection jsonb_object_agg least 4
