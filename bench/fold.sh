# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# Flush and fold of many items, each round in a new database: the flush of
# distinct items beside that of as many records of few, and beside COPY of the
# names alone; the fold beside one INSERT … SELECT … ON CONFLICT DO UPDATE of
# the same rows into a table like storage_latest.  Then what both are for the
# stores of 8 clients, beside INSERTs at the same time.

columns='key, collection_name, item_name, data, value_int, value_float, value_string, timestamp, status, status_int, username, updated_at, version'
assigned=$(tr -d ' ' <<<"$columns" | tr , '\n' | sed '1,3d; s/.*/& = EXCLUDED.&/' | paste -sd ,)

# store_items DB FROM TO: a record of each of these items, 100 a collection.
store_items()
{
	echo "SELECT count(cfp_store('bench', '$data'::jsonb, (1000000 + g)::text, ((1000000 + g) / 100)::text, g::bigint))
		FROM generate_series($1, $2) g"
}

# flushed SIDE SQL: what is left to do when the stores have committed
flushed()
{
	local times

	query fold_side 'CHECKPOINT'
	mapfile -t times < <(timed fold_side 'SELECT 1' "$2" 'SELECT cfp_flush()')
	echo "$1 ${times[1]}" >>"$work/flushes"
}

# folded CASE: fold and upsert of what has been stored and flushed
folded()
{
	query fold_side "CREATE TABLE rows AS
		SELECT h.* FROM storage_dirty JOIN storage_history h USING (key, collection_name, item_name)
		WHERE version = (SELECT max(version) FROM storage_history n
			WHERE (n.key, n.collection_name, n.item_name) = (h.key, h.collection_name, h.item_name))
		ORDER BY key, collection_name, item_name"
	query fold_side 'VACUUM ANALYZE rows'
	query fold_side 'CHECKPOINT'
	echo "$1|cfp_fold $(timed fold_side 'SELECT 1' 'SELECT cfp_fold()')" >>"$work/folds"
	query fold_side 'CHECKPOINT'
	echo "$1|upsert $(timed fold_side 'SELECT 1' "
		INSERT INTO upsert_latest ($columns) SELECT $columns FROM rows
		ON CONFLICT (key, collection_name, item_name) DO UPDATE SET $assigned")" >>"$work/folds"
	[ "$(query fold_side 'SELECT count(*), sum(version) FROM upsert_latest')" = \
		"$(query fold_side 'SELECT count(*), sum(version) FROM storage_latest')" ] ||
		die 'the fold and the upsert are not of the same rows'
	query fold_side 'DROP TABLE rows'
}

for ((round = 1; round <= rounds; round++)); do
	make_database fold_side
	flushed distinct "$(store_items 1 "$million")"
	query fold_side "CREATE TABLE names (LIKE storage_dirty INCLUDING ALL);
		COPY (SELECT key, collection_name, item_name FROM storage_dirty ORDER BY 1, 2, 3) TO '$work/names.copy'"
	query fold_side 'CHECKPOINT'
	echo "names $(timed fold_side 'SELECT 1' "COPY names FROM '$work/names.copy'")" >>"$work/flushes"
	folded 'all new'
	query fold_side "$(store_items 1 "$million")" >/dev/null
	query fold_side 'SELECT cfp_flush()' >/dev/null
	folded 'all there'
	query fold_side "$(store_items $((million / 2 + 1)) $((million * 3 / 2)))" >/dev/null
	query fold_side 'SELECT cfp_flush()' >/dev/null
	folded 'half of them there'
	flushed repeated "SELECT count(cfp_store('bench', '$data'::jsonb, (1000000 + g % 10000)::text,
		((1000000 + g % 10000) / 100)::text, g::bigint)) FROM generate_series(1, $million) g"
	drop_database fold_side
done

section "flush: $million records" ms
while read -r what value; do
	case $what in
		distinct) sample 'cfp_flush, distinct items' "$value" ;;
		repeated) sample 'cfp_flush, 10,000 items' "$value" ;;
		names) sample 'COPY of the names' "$value" ;;
	esac
done <"$work/flushes"
table
ratio 'cfp_flush, distinct items' 'cfp_flush, 10,000 items' most 1.5
verdict 'the flush of 10,000 items and COPY of the names / cfp_flush, 10,000 items' \
	"$(awk -v a="$(median 'cfp_flush, 10,000 items')" -v b="$(median 'COPY of the names')" 'BEGIN { print a + b }')" \
	"$(median 'cfp_flush, 10,000 items')"

for case in 'all new' 'all there' 'half of them there'; do
	section "fold: $million items, $case" ms
	while IFS='| ' read -r side value; do
		case $side in
			cfp_fold) sample cfp_fold "$value" ;;
			upsert) sample 'INSERT … SELECT … ON CONFLICT DO UPDATE' "$value" ;;
		esac
	done < <(sed -n "s/^$case|//p" "$work/folds")
	table
	ratio cfp_fold 'INSERT … SELECT … ON CONFLICT DO UPDATE' most 1.3
done

# beside SIDE SCRIPT: 8 clients while a million items are flushed and folded
base=0
beside()
{
	local load

	query "$db" "$(store_items 1 "$million")" >/dev/null
	base=$((base + 50000 * seconds))
	query "$db" 'CHECKPOINT'
	query "$db" 'SELECT cfp_fold()' >/dev/null &
	load=$!
	sample "$1" "$(clients "$db" "$2" 8 -D base=$base -D n=0)"
	wait $load
}

section 'stores by 8 clients beside a flush and a fold' 'a second'
for ((round = 1; round <= rounds; round++)); do
	beside cfp_store cfp_store
	beside INSERT insert
done
table
ratio cfp_store INSERT
read -r _ p99 _ < <(middle_latency cfp_store)
read -r _ p99_insert _ < <(middle_latency INSERT)
verdict 'p99 of cfp_store / p99 of INSERT' "$p99" "$p99_insert" most 1.3
