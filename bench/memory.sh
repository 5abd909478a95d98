# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# Memory of a cached item over the stored record's own size, which is what
# cfp_get returns and the item's name.

# memory_of TITLE MOST: of all that is cached now.
memory_of()
{
	local items bytes record row

	IFS='|' read -r items bytes < <(query "$db" 'SELECT sum(items), sum(bytes) FROM cfp_stat_collections')
	IFS='|' read -r record row < <(query "$db" '
		SELECT avg(pg_column_size(cfp_get(key, item_name, collection_name)) + octet_length(item_name)),
			   avg(pg_column_size(h.*))
		  FROM storage_history h')
	printf '\n== memory: %s items, %s\n' "$items" "$1" | tee -a "$work/verdicts.$db"
	awk -v items="$items" -v bytes="$bytes" -v record="$record" -v row="$row" 'BEGIN {
		printf "   %-42s %12.1f  bytes an item\n", "cached", bytes / items
		printf "   %-42s %12.1f\n", "the record: cfp_get and item name", record
		printf "   %-42s %12.1f\n", "its row in storage_history", row
	}'
	verdict "bytes an item over the record, $1" \
		"$(awk -v items="$items" -v bytes="$bytes" -v record="$record" 'BEGIN { print bytes / items - record }')" 1 most "$2"
}

# memory_loaded SQL: caches by loading, so that what is measured is not what
# the stores have left; SQL warms.
memory_loaded()
{
	query "$db" 'SELECT cfp_flush()' >/dev/null
	query "$db" 'SELECT count(cfp_evict(key, collection_name)) FROM cfp_stat_collections' >/dev/null
	query "$db" "$1" >/dev/null
}

store_big_collection "$db"
memory_of 'one collection, as stored' 160
memory_loaded "SELECT cfp_warm('bench', 'big')"
memory_of 'one collection, as loaded' 160

drop_database "$db"
make_database "$db"
query_file "$db" "$bench/fill.sql"
memory_of 'collections of 100, as stored' 220
memory_loaded "SELECT count(cfp_warm('bench', c::text)) FROM generate_series(10000, 10099) c"
memory_of 'collections of 100, as loaded' 220
