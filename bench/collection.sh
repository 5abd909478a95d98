# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# Collections of 10, 100 and 1,000 items by 8 clients: beside reading the rows,
# putting the collection together from rows, as many bytes of text from a C
# function, and Redis's hashes; those of 100 also beside the same text kept ready
# in a table (as it comes, which PostgreSQL compresses, and uncompressed).

fill
redis_start everysec
query "$db" "
	CREATE TABLE stored (key text, collection_name text, body text,
						 PRIMARY KEY (key, collection_name));
	CREATE TABLE stored_plain (LIKE stored INCLUDING ALL);
	ALTER TABLE stored_plain ALTER body SET STORAGE EXTERNAL"
for items in 10 1000; do
	query "$db" "
		SELECT count(cfp_store('bench$items', '$data'::jsonb, i::text, (i / $items)::text, i::bigint))
		  FROM generate_series(1000000, 1009999) i" >/dev/null
	query "$db" "
		INSERT INTO upsert_latest
		SELECT 'bench$items', (item_name::int / $items)::text, item_name, data, value_int, value_float, value_string,
			   timestamp, status, status_int, username, updated_at, version, txid
		  FROM upsert_latest WHERE key = 'bench'"
done
query "$db" 'SELECT cfp_fold()' >/dev/null
query "$db" "
	INSERT INTO stored
	SELECT 'bench', c::text, cfp_get_collection_json('bench', c::text)
	  FROM generate_series(10000, 10099) c;
	INSERT INTO stored_plain SELECT * FROM stored"
query "$db" 'VACUUM ANALYZE stored, stored_plain, upsert_latest'

for items in 100 10 1000; do
	first=$((1000000 / items)) last=$((1009999 / items)) key=bench$items
	[ $items != 100 ] || key=bench
	redis_fill everysec $((10000 / items)) $items
	size=$(query "$db" "SELECT length(cfp_get_collection_json('$key', '$first')::text)")

	# side SIDE SCRIPT
	side()
	{
		sample "$1" "$(clients "$db" "$2" 8 -D key=$key -D first=$first -D last=$last -D size="$size")" -
	}

	section "collection of $items items: 8 clients" 'a second'
	for ((round = 1; round <= rounds; round++)); do
		side cfp_get_collection_json cfp_get_collection_json
		side cfp_get_collection cfp_get_collection
		side 'the rows' rows
		side jsonb_object_agg object_agg
		side 'text from C' floor_text
		if [ $items = 100 ]; then
			side 'stored text' stored_text
			side 'stored text, uncompressed' stored_plain
		fi
		sample 'Redis HGETALL' "$(redis_clients everysec hgetall 8 1 $items)" -
	done
	table
	note "a collection is $size bytes of JSON text"
	if [ $items = 100 ]; then
		ratio cfp_get_collection_json 'stored text' least 1
		ratio cfp_get_collection_json 'stored text, uncompressed' least 1
		ratio cfp_get_collection_json jsonb_object_agg least 20
		ratio cfp_get_collection jsonb_object_agg least 4
		ratio cfp_get_collection_json 'Redis HGETALL' least 2
	else
		ratio cfp_get_collection_json jsonb_object_agg
		ratio cfp_get_collection jsonb_object_agg
		ratio cfp_get_collection_json 'Redis HGETALL'
	fi
	ratio cfp_get_collection_json 'the rows'
	ratio cfp_get_collection_json 'text from C'
	ratio 'text from C' 'Redis HGETALL'
	bars "collection_$items"
done
