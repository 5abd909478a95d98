# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# Plain SQL on storage_current beside a table with the same rows and primary
# key: reads and updates by name by 4 clients, a join that looks 10,000 items
# up, ten of a million in order, and all of a million; folded, and with a tenth
# of the items stored since.  A typed table beside storage_current; COPY of
# 100,000 items out, and in beside one into a table with the history's columns
# and indexes.

fill
query "$db" 'SELECT cfp_fold()' >/dev/null
n=4

query "$db" 'CREATE FOREIGN TABLE typed (
		key text COLLATE "C", collection_name text COLLATE "C", item_name text COLLATE "C",
		"row" integer, block text, price numeric, note text, version integer) SERVER cfp'
query "$db" "CREATE TABLE copied_rows AS SELECT 'copied' AS key, (g / 1000)::text AS collection_name, g::text AS item_name,
		'$data'::jsonb AS data, g::bigint AS value_int, now() AS updated_at, 1 AS version
	FROM generate_series(100000, 199999) g"

for mode in prepared simple; do
	section "table: reads by name, $n clients, -M $mode" 'a second'
	for ((round = 1; round <= rounds; round++)); do
		sample 'storage_current' "$(clients "$db" door_select $n -M $mode)" -
		sample 'SELECT data by primary key' "$(clients "$db" select_data $n -M $mode)" -
		sample 'typed table' "$(clients "$db" door_typed $n -M $mode)" -
		sample 'cfp_get' "$(clients "$db" cfp_get $n -M $mode)" -
	done
	table
	ratio 'typed table' storage_current least 0.8
	if [ $mode = prepared ]; then
		ratio storage_current 'SELECT data by primary key' least 1
	else
		ratio storage_current 'SELECT data by primary key' least 0.9
	fi
done

for mode in prepared simple; do
	section "table: updates by name, $n clients, -M $mode" 'a second'
	for ((round = 1; round <= rounds; round++)); do
		settle "$db"
		sample 'storage_current' "$(clients "$db" door_update $n -M $mode --max-tries=1000)"
		settle "$db"
		sample 'UPDATE, history by a trigger' "$(clients "$db" audit_update $n -M $mode)"
		settle "$db"
		sample 'UPDATE' "$(clients "$db" plain_update $n -M $mode)"
	done
	table
	ratio storage_current 'UPDATE, history by a trigger' least 0.8
	ratio storage_current UPDATE least 0.6
done

# statement TITLE MOST SQL: with "storage_current" in it, and the plain table
statement()
{
	local title=$1 most=$2 sql=$3

	section "table: $title" ms
	for ((round = 1; round <= rounds; round++)); do
		sample storage_current "$(timed "$db" "$sql" "$sql")" -
		sample 'plain table' "$(timed "$db" "${sql//storage_current/plain}" "${sql//storage_current/plain}")" -
	done
	table
	ratio storage_current 'plain table' most "$most"
}

store_big_collection "$db"
query "$db" 'SELECT cfp_fold()' >/dev/null
query "$db" 'CREATE TABLE plain AS SELECT * FROM storage_current;
	ALTER TABLE plain ADD PRIMARY KEY (key, collection_name, item_name)'
query "$db" "CREATE TABLE asked AS SELECT 'bench' AS key, (i / 100)::text AS collection_name, i::text AS item_name
	FROM generate_series(1000000, 1009999) i"
query "$db" 'VACUUM ANALYZE'
query "$db" "SELECT cfp_warm('bench', 'big')" >/dev/null

for dirty in no yes; do
	if [ $dirty = yes ]; then
		query "$db" "SELECT count(cfp_store('bench', '$data'::jsonb, (1000000 + g * 10)::text, 'big', g::bigint))
			FROM generate_series(1, $million / 10) g" >/dev/null
		query "$db" 'SELECT cfp_flush()' >/dev/null
		what='a tenth stored since the fold'
	else
		what='all folded'
	fi
	statement "a join with $(query "$db" 'SELECT count(*) FROM asked') look-ups, $what" 1.25 \
		'SELECT count(s.value_int) FROM asked a JOIN storage_current s USING (key, collection_name, item_name)'
	statement "ten of a collection of $million in order, from the middle, $what" 1.25 \
		"SELECT item_name, value_int FROM storage_current WHERE key = 'bench' AND collection_name = 'big'
			AND item_name > '1500000' ORDER BY item_name LIMIT 10"
	statement "count(*) of $million, $what" 3 'SELECT count(*) FROM storage_current'
	statement "ten of a collection of $million in descending order, $what" 1.25 \
		"SELECT item_name, value_int FROM storage_current WHERE key = 'bench' AND collection_name = 'big'
			ORDER BY item_name DESC LIMIT 10"
done

# The same 100,000 rows, by way of a file of the server's.
columns='key, collection_name, item_name, data, value_int, updated_at, version'
file=$work/rows
query "$db" "COPY copied_rows TO '$file'"
section 'table: COPY of 100,000 items in' ms
for ((round = 1; round <= rounds; round++)); do
	query "$db" "SELECT count(cfp_delete_collection('copied', c)) FROM (SELECT DISTINCT collection_name c FROM storage_current WHERE key = 'copied') x" >/dev/null
	settle "$db"
	sample storage_current "$(timed "$db" 'SELECT 1' "COPY storage_current ($columns) FROM '$file'")"
	query "$db" 'TRUNCATE plain_history'
	settle "$db"
	sample 'table like the history' "$(timed "$db" 'SELECT 1' "COPY plain_history ($columns) FROM '$file'")"
done
table
ratio storage_current 'table like the history' most 1.2

query "$db" 'CREATE TABLE plain_key AS SELECT * FROM copied_rows; ALTER TABLE plain_key ADD PRIMARY KEY (key, collection_name, item_name)'
query "$db" 'VACUUM ANALYZE plain_key'
query "$db" 'SELECT cfp_fold()' >/dev/null
query "$db" "SELECT count(cfp_warm('copied', c)) FROM (SELECT DISTINCT collection_name c FROM copied_rows) x" >/dev/null
section 'table: COPY of a key of 100,000 items out' ms
for ((round = 1; round <= rounds; round++)); do
	sample storage_current "$(timed "$db" 'SELECT 1' "COPY (SELECT $columns FROM storage_current WHERE key = 'copied') TO '$file'")"
	sample 'plain table' "$(timed "$db" 'SELECT 1' "COPY (SELECT $columns FROM plain_key WHERE key = 'copied') TO '$file'")"
done
table
ratio storage_current 'plain table' most 1.3
