# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# cfp_get in a loop in SQL over a list of random names: beside the look-up by
# primary key, and beside the least that a C function of three names costs.

query_file "$db" "$bench/fill.sql"
query "$db" 'SELECT cfp_fold()' >/dev/null
query "$db" "
	SELECT setseed(0.$SEED);
	CREATE TABLE names AS SELECT 'bench' AS k, (i / 100)::text AS c, i::text AS i
	  FROM (SELECT 1000000 + floor(random() * 10000)::int AS i
			  FROM generate_series(1, $million) OFFSET 0) r" >/dev/null
query "$db" 'VACUUM ANALYZE names'
echo "cfp_get returns $(query "$db" "SELECT pg_column_size(cfp_get('bench', '1000000', '10000'))") bytes, floor_get as many"

# Each call is made as given: nothing is remembered, hashed together or run in
# parallel.
prepare="SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_memoize = off;
	SET max_parallel_workers_per_gather = 0;
	SELECT floor_set(cfp_get('bench', '1000000', '10000'))"
look_up='SELECT count(l.data) FROM names n JOIN upsert_latest l
	ON l.key = n.k AND l.collection_name = n.c AND l.item_name = n.i'

section "get: $million calls in one SELECT" 'ms' -
for ((round = 1; round <= rounds; round++)); do
	mapfile -t ms < <(timed "$db" "$prepare" \
		'SELECT count(i) FROM names' \
		'SELECT count(floor_get(k, i, c)) FROM names' \
		'SELECT count(cfp_get(k, i, c)) FROM names' \
		"$look_up")
	sample 'the list alone' "${ms[0]}"
	sample 'C function of three names' "${ms[1]}"
	sample 'cfp_get' "${ms[2]}"
	sample 'look-up by primary key' "${ms[3]}"
done
table
ratio 'look-up by primary key' 'cfp_get' least 8
ratio 'cfp_get' 'C function of three names' most 2.5
for side in 'C function of three names' 'cfp_get' 'look-up by primary key'; do
	echo "$(middle "$side" | cut -d' ' -f1) $(middle 'the list alone' | cut -d' ' -f1)" |
		awk -v side="$side" -v n="$million" \
			'{ printf "   %-42s %8.0f ns a call over the list alone\n", side, ($1 - $2) * 1e6 / n }'
done
query "$db" "$prepare; EXPLAIN (COSTS off) $look_up" | sed '/^$/d; s/^/   plan: /'
