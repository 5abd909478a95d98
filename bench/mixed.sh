# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# Nine gets to one store by 8 clients, the items chosen by Zipf's law: the most
# wanted of 10,000 in one of seven calls or so, spread over all collections.
# Beside the same by hand, Redis and SQLite, and the floor: nine statements that
# return a constant to one insert in C.

fill
query "$db" 'SELECT cfp_fold()' >/dev/null

base=0
for sync in on off; do
	set_durability $sync
	redis_start "$appendfsync"
	redis_items "$appendfsync" 10000
	sqlite_fill "$synchronous"
	section "mixed: 90 % get, 10 % store, 8 clients, synchronous_commit = $sync" 'a second'
	for ((round = 1; round <= rounds; round++)); do
		settle "$db"
		sample cfp "$(clients "$db" 'zipf_cfp_get@9 zipf_cfp_store@1' 8)"
		settle "$db"
		sample 'PostgreSQL alone' "$(clients "$db" 'zipf_select_data@9 zipf_upsert@1' 8)"
		settle "$db"
		# versions that no round before had
		base=$((base + 50000 * seconds))
		sample 'nine constants to one C insert' "$(clients "$db" 'zipf_constant@9 floor_insert@1' 8 \
			-D table=plain_history -D base=$base -D n=0)"
		sample Redis "$(redis_clients "$appendfsync" mixed 8)" "$(redis_durability "$appendfsync")"
		sample SQLite "$(sqlite_clients "$synchronous" mixed 8)" "$(sqlite_durability "$synchronous")"
	done
	redis_stop
	table
	ratio cfp 'PostgreSQL alone' least 1.5
	ratio 'nine constants to one C insert' 'PostgreSQL alone'
	ratio cfp Redis
	ratio cfp SQLite
	bars mixed_$sync
done
unset PGOPTIONS
