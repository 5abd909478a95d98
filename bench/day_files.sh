# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets or uses
# Day files: the records a second of a flush that writes them, beside a plain
# loop in C that makes json-c serialise the same records, and beside a flush
# without them; then the stores of 8 clients with and without day files.


# 10,000 items in 100 collections.
fill()
{
	query "$db" "
		SELECT count(cfp_store('bench', '$data'::jsonb, i::text, (i / 100)::text, i::bigint))
		  FROM generate_series(1000000, 1009999) i" >/dev/null
}

# Records a second of the flush of $million records committed at once.
flushed()
{
	local milliseconds

	milliseconds=$(timed "$db" "
		SELECT count(cfp_store('bench', '$data'::jsonb, i::text, (i / 100)::text, i::bigint))
		  FROM generate_series(1, $million) g, LATERAL (SELECT $1) AS item(i)" \
		'SELECT cfp_flush()')
	awk -v n="$million" -v ms="$milliseconds" 'BEGIN { printf "%.0f\n", n / ms * 1000 }'
}

for items in '1000000 + g % 10000' '2000000 + g'; do
	query "$db" 'TRUNCATE storage_history, storage_latest'
	if [ "$items" = '2000000 + g' ]; then
		section "flush: $million records of as many items" 'a second'
	else
		fill
		section "flush: $million records of 10,000 items" 'a second'
	fi
	for ((round = 1; round <= rounds; round++)); do
		if [ "$items" = '2000000 + g' ]; then
			# or its items are known after the first round
			query "$db" 'TRUNCATE storage_history, storage_latest, storage_dirty'
		fi
		day_files on
		settle "$db"
		sample 'with day files' "$(flushed "$items")"
		if [ "$items" = '2000000 + g' ]; then
			query "$db" 'TRUNCATE storage_history, storage_latest, storage_dirty'
		fi
		day_files off
		settle "$db"
		sample 'without' "$(flushed "$items")"
		sample 'loop of json-c' "$(query "$db" "
			SELECT round(count(*) * 1000000.0 / floor_json('storage_history')) FROM storage_history")"
	done
	table
	if [ "$items" = '2000000 + g' ]; then
		ratio 'with day files' 'loop of json-c'
	else
		ratio 'with day files' 'loop of json-c' least 0.75
		verdict 'records a second' "$(middle 'with day files' | cut -d' ' -f1)" 1 least 300000
	fi
done

query "$db" 'TRUNCATE storage_history, storage_latest'
fill
for sync in on off; do
	export PGOPTIONS="-c synchronous_commit=$sync"
	section "store: one a transaction, 8 clients, synchronous_commit = $sync" 'a second'
	for ((round = 1; round <= rounds; round++)); do
		for setting in on off; do
			day_files $setting
			settle "$db"
			sample "day files $setting" "$(clients "$db" cfp_store 8)"
		done
	done
	table
	ratio 'day files on' 'day files off' least 0.9
done
unset PGOPTIONS
