# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# What a get, a load, a flush, a fold and a store cost beside histories of all
# sizes, all of the same 10,000 items in 100 collections, and an INSERT into a
# plain table of as many rows.  Small histories are made anew in each round: the
# rounds would make them much larger.

# copy_last DB: what the last transaction stored, into the plain table, in the
# same order, so that its indexes grow as those of the history do.
copy_last()
{
	query "$1" "
		INSERT INTO plain_history
		SELECT key, collection_name, item_name, data, value_int, value_float, value_string, timestamp, status, status_int,
			   username, updated_at, version, txid FROM storage_history WHERE txid = (SELECT max(txid) FROM storage_history)"
}

# grow DB ROWS: a million rows at a time, so that no transaction is larger than
# a user's.
grow()
{
	local rows=0 step

	make_database "$1"
	while [ $rows -lt "$2" ]; do
		step=$(($2 - rows < 1000000 ? $2 - rows : 1000000))
		query "$1" "
			SELECT count(cfp_store('bench', '$data'::jsonb, (1000000 + g % 10000)::text,
								   ((1000000 + g % 10000) / 100)::text, g::bigint))
			  FROM generate_series(0, $step - 1) g" >/dev/null
		copy_last "$1"
		rows=$((rows + step))
	done
	query "$1" 'SELECT cfp_fold()' >/dev/null
	query "$1" 'VACUUM ANALYZE'
	query "$1" 'CHECKPOINT'
	[ "$(query "$1" 'SELECT count(*) FROM plain_history')" = "$2" ] ||
		die "there are not $2 rows in the plain table"
}

# measured WHAT: keeps what it reads as a sample of $size.
measured()
{
	local value

	read -r value || die "no measurement: $1 beside $size rows"
	echo "$size $value" >>"$work/growth.$1"
}

# Milliseconds of loading all collections.
load_all()
{
	local collections="SELECT c::text AS c FROM generate_series(10000, 10099) c"

	query "$1" "SELECT count(cfp_evict('bench', c)) FROM ($collections) c" >/dev/null
	timed "$1" 'SELECT 1' "SELECT count(cfp_warm('bench', c)) FROM ($collections) c"
}

# each_committed DB STATEMENT: microseconds of one of 5,000, of item g.
each_committed()
{
	timed "$1" 'SET synchronous_commit = off' "
		DO \$\$ BEGIN
			FOR g IN 1 .. 5000 LOOP
				$2;
				COMMIT;
			END LOOP;
		END \$\$" | awk '{ print $1 / 5 }'
}

# All sizes begin with everything folded.  The stores come after those of the
# flush, and the INSERTs after the same rows: what the checkpoint makes the first
# change of each page cost is paid.  They take turns, since a loop is short; the
# worker is done with the stores before the INSERTs begin.
measure_size()
{
	local db=growth_$size turn version
	local item='(1000000 + g * 7919 % 10000)::text' collection='((1000000 + g * 7919 % 10000) / 100)::text'

	timed "$db" "SELECT count(cfp_warm('bench', c::text)) FROM generate_series(10000, 10099) c" "
		SELECT count(cfp_get('bench', $item, $collection))
		  FROM generate_series(1, 200000) g" | awk '{ print $1 * 5 }' | measured get
	load_all "$db" | awk '{ print $1 * 10 }' | measured load
	timed "$db" "
		SELECT count(cfp_store('bench', '$data'::jsonb, i::text, (i / 100)::text, i::bigint))
		  FROM generate_series(1000000, 1009999) i" 'SELECT cfp_flush()' | measured flush
	load_all "$db" | awk '{ print $1 * 10 }' | measured load_dirty
	copy_last "$db"
	for ((turn = 1; turn <= 3; turn++)); do
		each_committed "$db" "PERFORM cfp_store('bench', '$data', $item, $collection, g::bigint)" | measured store
		query "$db" 'SELECT cfp_flush()' >/dev/null
		# what each of the items has now
		version=$(query "$db" "SELECT cfp_get('bench', '1007919', '10079') -> 'version'")
		each_committed "$db" "
			INSERT INTO plain_history (key, collection_name, item_name, data, value_int,
									   timestamp, status, username, updated_at, version)
			VALUES ('bench', $collection, $item, '$data', g,
					now(), 'held', 'box-office-3', clock_timestamp(), $version)" | measured INSERT
	done
	settle "$db"
	[ "$(query "$db" 'SELECT count(*) FROM storage_dirty')" = 10000 ] ||
		die 'there are not 10,000 dirty items'
	timed "$db" 'SELECT 1' 'SELECT cfp_fold()' | measured fold
	query "$db" 'VACUUM ANALYZE storage_latest'
	query "$db" 'CHECKPOINT'
}

for ((round = 1; round <= rounds; round++)); do
	for size in "${growth_sizes[@]}"; do
		if [ $round -gt 1 ] && [ "$size" -le 100000 ]; then
			drop_database "growth_$size"
		fi
		if [ $round -eq 1 ] || [ "$size" -le 100000 ]; then
			grow "growth_$size" "$size"
		fi
		measure_size
	done
done
for size in "${growth_sizes[@]}"; do
	drop_database "growth_$size"
done

# growth WHAT LINE TITLE UNIT DURABILITY [MOST]
growth()
{
	local least="${growth_sizes[0]} rows" most="${growth_sizes[-1]} rows" base size value

	section "growth: $3" "$4"
	rm -f "$work/latency"
	while read -r size value; do
		sample "$size rows" "$value" "$5"
	done <"$work/growth.$1"
	table
	ratio "$most" "$least" ${6:+most "$6"}
	base=$(median "$least")
	{
		echo "\"$2\""
		for size in "${growth_sizes[@]}"; do
			echo "$size $(median "$size rows")" | awk -v base="$base" '{ print $1, $2 / base }'
		done
	} >"$work/growth.$1.line"
}

# grown WHAT: how many times as much as beside the smallest.
grown()
{
	tail -n 1 "$work/growth.$1.line" | cut -d' ' -f2
}

growth store cfp_store 'a store, each committed, in a loop' µs 'not waited for, 0.6 s may be lost' 1.2
growth INSERT INSERT 'an INSERT into a plain table, each committed, in a loop' µs 'not waited for, 0.6 s may be lost'
verdict 'growth of a store / growth of an INSERT' "$(grown store)" "$(grown INSERT)" most 1.1
growth get cfp_get 'a get, in a loop of SQL that makes the names' ns - 1.2
growth flush cfp_flush 'a flush of 10,000 records' ms 'fsync at commit' 1.5
growth fold cfp_fold 'a fold of 10,000 dirty items' ms 'fsync at commit' 1.5
growth load 'cfp_warm, folded' 'loading collections of 100 items, all folded' 'µs a collection' - 1.5
growth load_dirty 'cfp_warm, not folded' 'loading collections of 100 items, none folded' 'µs a collection' -
for name in store INSERT get flush fold load load_dirty; do
	[ $name = store ] || printf '\n\n'
	cat "$work/growth.$name.line"
done >"$work/growth"
lines growth "Cost beside a history of so many rows, at ${growth_sizes[0]} rows = 1" 'rows of history' '' \
	"$work/growth" 'set logscale x; set format x "%.0s%c"'
