# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# A million stores in one statement, each side of each round in a new
# database: beside COPY of the same rows in the same order, and beside the
# set-based upsert with history.

stores=$million

# The rows, without txid; $1 is the item's number, $2 the version.
bulk_rows()
{
	cat <<-SQL
		SELECT 'bench', ($1 / 100)::text, ($1)::text, '$data'::jsonb, g::bigint,
			NULL::float8, NULL::text, now(), 'held', NULL::int, 'box-office-3',
			clock_timestamp(), $2
	SQL
}

columns='key, collection_name, item_name, data, value_int, value_float, value_string, timestamp, status, status_int, username, updated_at, version'

# The set-based upsert with history of the rows of $1.
bulk_upsert()
{
	cat <<-SQL
		WITH l AS (
			INSERT INTO upsert_latest AS l ($columns) $1
			ON CONFLICT (key, collection_name, item_name) DO UPDATE SET
				data = EXCLUDED.data, value_int = EXCLUDED.value_int,
				value_float = EXCLUDED.value_float, value_string = EXCLUDED.value_string,
				timestamp = EXCLUDED.timestamp, status = EXCLUDED.status,
				status_int = EXCLUDED.status_int, username = EXCLUDED.username,
				updated_at = EXCLUDED.updated_at, version = l.version + 1,
				txid = EXCLUDED.txid
			RETURNING *)
		INSERT INTO upsert_history SELECT * FROM l
	SQL
}

# bulk_side SIDE SQL
bulk_side()
{
	make_database bulk_side
	query bulk_side 'CHECKPOINT'
	sample "$1" "$(timed bulk_side 'SELECT 1' "$2")"
	drop_database bulk_side
}

# $1 title, $2 the item's number and $3 its version by g, $4 the SQL of upsert,
# $5 what is wanted of COPY / cfp_store
bulk_compare()
{
	local file=$work/bulk.copy round

	query "$db" "COPY ($(bulk_rows "$2" "$3") FROM generate_series(0, $stores - 1) g)
		TO '$file' (FORMAT binary)"
	section "bulk: $stores stores in one SELECT, $1" 'ms'
	for ((round = 1; round <= rounds; round++)); do
		bulk_side 'cfp_store' "
			SELECT count(cfp_store('bench', '$data'::jsonb, ($2)::text, ($2 / 100)::text, g::bigint))
			  FROM generate_series(0, $stores - 1) g"
		bulk_side 'COPY binary' "COPY plain_history ($columns) FROM '$file' (FORMAT binary)"
		bulk_side 'cfp_store, data parsed for each row' "
			SELECT count(cfp_store('bench', overlay('$data' placing (1 + g % 9)::text from 9)::jsonb,
				($2)::text, ($2 / 100)::text, g::bigint))
			  FROM generate_series(0, $stores - 1) g"
		bulk_side 'upsert with history' "$4"
	done
	table
	ratio 'COPY binary' 'cfp_store' least "$5"
	ratio 'upsert with history' 'cfp_store' least 2.5
	rm -f "$file"
}

# One statement cannot upsert an item twice, so here it is a loop of
# statements of 10,000 items each, in one transaction.
bulk_compare "$((stores / 10000)) versions of 10,000 items" \
	'(1000000 + g % 10000)' '(1 + g / 10000)' "
	DO \$\$
	BEGIN
		FOR v IN 0 .. $stores / 10000 - 1 LOOP
			$(bulk_upsert "$(bulk_rows '(1000000 + g % 10000)' 1) FROM generate_series(v * 10000, v * 10000 + 9999) g");
		END LOOP;
	END \$\$" 1

bulk_compare 'all of distinct items, 100 a collection' '(1000000 + g)' 1 \
	"$(bulk_upsert "$(bulk_rows '(1000000 + g)' 1) FROM generate_series(0, $stores - 1) g")" 0.87
