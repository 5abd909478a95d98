# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# One store a transaction by 1, 8 and 32 clients, 10,000 items in 100
# collections: beside what one would write by hand, Redis and SQLite, and with
# 8 clients beside the floors: the insert as a statement and in C, with both
# indexes of the history and with its primary key only, and a bare WAL message.

fill
size=$(row_size "$db")
payload=$(printf '%*s' "$size" '' | tr ' ' x)
base=0

# side SIDE SCRIPT [pgbench arguments]
side()
{
	settle "$db"
	case $1 in
		# versions that no round before had: fewer than 50,000 a second and client
		INSERT | 'C insert'*) base=$((base + 50000 * seconds)) ;;
	esac
	sample "$1" "$(clients "$db" "$2" "$n" -D base=$base -D n=0 "${@:3}")"
}

for sync in on off; do
	set_durability $sync
	redis_start "$appendfsync"
	redis_fill "$appendfsync" 100 100
	sqlite_fill "$synchronous"
	for n in "${client_counts[@]}"; do
		who="$n clients"
		[ "$n" != 1 ] || who='1 client'
		section "store: one a transaction, $who, synchronous_commit = $sync" 'a second'
		for ((round = 1; round <= rounds; round++)); do
			side cfp_store cfp_store
			side 'upsert with history' upsert
			side 'upsert, audit trigger' upsert_audit
			side INSERT insert
			if [ "$n" = 8 ]; then
				day_files off
				side 'cfp_store, no day files' cfp_store
				day_files on
				side 'C insert' floor_insert -D table=plain_history
				side 'C insert, primary key only' floor_insert -D table=key_only_history
				side 'WAL message' wal_message -D payload="$payload"
			fi
			sample 'Redis SET' "$(redis_clients "$appendfsync" set "$n")" "$(redis_durability "$appendfsync")"
			sample 'Redis HSET' "$(redis_clients "$appendfsync" hset "$n")" "$(redis_durability "$appendfsync")"
			sample 'SQLite upsert with history' "$(sqlite_clients "$synchronous" store "$n")" \
				"$(sqlite_durability "$synchronous")"
		done
		table
		ratio cfp_store 'upsert, audit trigger'
		ratio cfp_store 'Redis HSET'
		ratio cfp_store 'SQLite upsert with history'
		if [ "$n" != 8 ]; then
			ratio cfp_store INSERT
			ratio cfp_store 'upsert with history'
			ratio cfp_store 'Redis SET'
			continue
		fi
		note "a row of storage_history has $size bytes, the WAL message as many"
		# as installed; and without day files, which the others do not write either
		ratio cfp_store INSERT
		ratio cfp_store 'upsert with history'
		ratio cfp_store 'WAL message'
		ratio 'cfp_store, no day files' INSERT least 1
		ratio 'cfp_store, no day files' 'C insert'
		for floor in 'C insert' 'C insert, primary key only'; do
			ratio "$floor" 'WAL message'
			ratio "$floor" 'upsert with history'
			[ $sync = off ] || ratio "$floor" 'Redis SET'
		done
		[ $sync = off ] || ratio 'WAL message' 'Redis SET'
		if [ $sync = on ]; then
			ratio 'cfp_store, no day files' 'WAL message' least 0.75
			ratio 'cfp_store, no day files' 'upsert with history' least 1.25
			ratio cfp_store 'Redis SET' least 1
		else
			ratio 'cfp_store, no day files' 'WAL message' least 0.70
			ratio 'cfp_store, no day files' 'upsert with history' least 1.5
			ratio cfp_store 'Redis SET'
		fi
		bars "store_$sync"
	done
	redis_stop
done
unset PGOPTIONS
