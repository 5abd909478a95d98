# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# Memory of a cached item over the stored record's own size, which is what
# cfp_get returns and the item's name; and what Redis takes for the record as
# text in a hash.

# memory_of TITLE MOST [BYTES]: of all that is cached now, beside BYTES of Redis.
memory_of()
{
	local items bytes record row overhead

	IFS='|' read -r items bytes < <(query "$db" 'SELECT sum(items), sum(bytes) FROM cfp_stat_collections')
	IFS='|' read -r record row < <(query "$db" '
		SELECT avg(pg_column_size(cfp_get(key, item_name, collection_name)) + octet_length(item_name)),
			   avg(pg_column_size(h.*))
		  FROM storage_history h')
	section "memory: $items items, $1" 'bytes an item'
	sample cached "$(awk -v items="$items" -v bytes="$bytes" 'BEGIN { print bytes / items }')" -
	sample 'the record: cfp_get and item name' "$record" -
	sample 'its row in storage_history' "$row" -
	if [ "${3:-}" ]; then
		sample 'Redis HSET of the same' "$3" -
	fi
	table
	overhead=$(awk -v items="$items" -v bytes="$bytes" -v record="$record" 'BEGIN { print bytes / items - record }')
	verdict "bytes an item over the record, $1" "$overhead" 1 most "$2"
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
fill
redis_start everysec
redis everysec FLUSHALL >/dev/null
before=$(redis everysec INFO memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p')
redis_collections everysec 100 100
after=$(redis everysec INFO memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p')
in_redis=$(((after - before) / 10000))
memory_of 'collections of 100, as stored' 220 "$in_redis"
memory_loaded "SELECT count(cfp_warm('bench', c::text)) FROM generate_series(10000, 10099) c"
memory_of 'collections of 100, as loaded' 220 "$in_redis"
