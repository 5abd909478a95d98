# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# One store a transaction, 8 clients, 10,000 items in 100 collections: beside
# the insert as a statement and in C (the floor), a bare WAL message, and what one
# would write by hand.

query_file "$db" "$bench/fill.sql"
query_file "$db" "$bench/floor.sql" -v library="$work/floor/floor"
size=$(row_size "$db")
payload=$(printf '%*s' "$size" '' | tr ' ' x)
echo "a row of storage_history has $size bytes, the WAL message as many"

base=0
for sync in on off; do
	export PGOPTIONS="-c synchronous_commit=$sync"
	section "store: one a transaction, 8 clients, synchronous_commit = $sync" 'a second'
	for ((round = 1; round <= rounds; round++)); do
		settle "$db"
		sample cfp_store "$(clients "$db" cfp_store 8)"
		settle "$db"
		base=$((base + 1000000))
		sample INSERT "$(clients "$db" insert 8 -D base=$base -D n=0)"
		settle "$db"
		base=$((base + 1000000))
		sample 'C insert' "$(clients "$db" floor_insert 8 -D base=$base -D n=0)"
		settle "$db"
		sample 'WAL message' "$(clients "$db" wal_message 8 -D payload="$payload")"
		settle "$db"
		sample 'upsert with history' "$(clients "$db" upsert 8)"
	done
	table
	ratio cfp_store INSERT least 1
	ratio cfp_store 'C insert'
	ratio 'C insert' 'WAL message'
	if [ $sync = on ]; then
		ratio cfp_store 'WAL message' least 0.75
		ratio cfp_store 'upsert with history' least 1.25
	else
		ratio cfp_store 'WAL message' least 0.70
		ratio cfp_store 'upsert with history' least 1.5
	fi
done
unset PGOPTIONS
