# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# A fold of 10,000 dirty items beside a short and beside a long history.

short=$((million / 10)) long=$((million * 5))

# Stores each of the 10,000 items once.
store_once()
{
	query "$1" "
		SELECT count(cfp_store('bench', '$data'::jsonb, i::text, (i / 100)::text, i::bigint))
		  FROM generate_series(1000000, 1009999) i" >/dev/null
}

# A million rows at a time, so that no transaction is larger than a user's.
grow_history()
{
	local rows=0 step

	make_database "$1"
	while [ $rows -lt "$2" ]; do
		step=$(($2 - rows < 1000000 ? $2 - rows : 1000000))
		query "$1" "
			SELECT count(cfp_store('bench', '$data'::jsonb, (1000000 + g % 10000)::text,
								   ((1000000 + g % 10000) / 100)::text, g::bigint))
			  FROM generate_series(0, $step - 1) g" >/dev/null
		rows=$((rows + step))
	done
	query "$1" 'SELECT cfp_fold()' >/dev/null
	query "$1" 'VACUUM ANALYZE'
}

# fold_side SIDE DB
fold_side()
{
	store_once "$2"
	query "$2" 'SELECT cfp_flush()' >/dev/null
	query "$2" 'CHECKPOINT'
	[ "$(query "$2" 'SELECT count(*) FROM storage_dirty')" = 10000 ] ||
		die 'there are not 10,000 dirty items'
	sample "$1" "$(timed "$2" 'SELECT 1' 'SELECT cfp_fold()')"
}

grow_history fold_short $short
grow_history fold_long $long
section 'fold: 10,000 dirty items' 'ms'
for ((round = 1; round <= rounds; round++)); do
	fold_side "history of $short rows" fold_short
	fold_side "history of $long rows" fold_long
done
table
ratio "history of $long rows" "history of $short rows" most 1.5
drop_database fold_short
drop_database fold_long
