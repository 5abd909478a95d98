# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# Loading a collection of a million items into the cache: from the history
# alone, before any fold, and from storage_latest after it.

store_big_collection "$db"

# load_rounds WHEN
load_rounds()
{
	local round ms

	query "$db" "SELECT cfp_warm('bench', 'big')" >/dev/null
	section "load: a collection of $million items, $1" 'µs an item' -
	for ((round = 1; round <= rounds; round++)); do
		[ "$(query "$db" "SELECT cfp_evict('bench', 'big')")" = t ] ||
			die 'the collection was not in memory, or something holds it there'
		ms=$(timed "$db" 'SELECT 1' "SELECT cfp_warm('bench', 'big')")
		sample cfp_warm "$(awk -v ms="$ms" -v n="$million" 'BEGIN { print ms * 1000 / n }')"
		[ "$(query "$db" "SELECT items FROM cfp_stat_collections WHERE collection_name = 'big'")" = "$million" ] ||
			die 'the collection was not loaded whole'
	done
	table
	verdict "cfp_warm, µs an item, $1" "$(middle cfp_warm | cut -d' ' -f1)" 1 most 2
}

query "$db" 'SELECT cfp_flush()' >/dev/null
query "$db" 'VACUUM ANALYZE storage_history'
load_rounds 'before any fold'
query "$db" 'SELECT cfp_fold()' >/dev/null
query "$db" 'VACUUM ANALYZE storage_latest'
load_rounds 'after the fold'
