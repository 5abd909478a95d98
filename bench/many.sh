# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# 100 items of one collection stored, and got, at once by 8 clients: in one
# call, in one transaction of 100 statements, and in one pipeline, which is a
# transaction, too; 100 collections to choose from.  The floor: the rows inserted
# in C, in the order of the primary key.  All rates are of items.

# statements FILE BEFORE SQL AFTER: a script of 100 statements.
statements()
{
	local i

	{
		printf '\\set c random(10000, 10099)\n'
		[ ! "$2" ] || printf '%s\n' "$2"
		for ((i = 1; i <= 100; i++)); do
			printf '%s\n' "${3//ITEM/$i}"
		done
		[ ! "$4" ] || printf '%s\n' "$4"
	} >"$work/$1.sql"
}

# side SIDE SCRIPT [pgbench arguments]
side()
{
	settle "$db"
	sample "$1" "$(clients "$db" "$2" 8 "${@:3}" | awk '{ print $1 * 100 }')"
}

# redis_side SIDE KIND DEPTH
redis_side()
{
	sample "$1" "$(redis_clients "$appendfsync" "$2" 8 "$3" | awk '{ print $1 * 100 }')" \
		"$(redis_durability "$appendfsync")"
}

fill
IFS=$'\t' read -r items names datas numbers < <("$work/tree/bin/psql" -XqAt -F $'\t' -d "$db" -c "
	SELECT jsonb_object_agg(i::text, jsonb_build_object('data', '$data'::jsonb, 'value', i)),
		   array_agg(i::text), array_agg('$data'::jsonb), array_agg(i)
	  FROM generate_series(1, 100) i")
query "$db" "SELECT count(cfp_store_many('many', '$items', c::text)) FROM generate_series(10000, 10099) c" >/dev/null
query "$db" "
	INSERT INTO upsert_latest (key, collection_name, item_name, data, value_int, timestamp, status, username, updated_at, version)
	SELECT 'many', c::text, i::text, '$data', i, now(), 'held', 'box-office-3', clock_timestamp(), 1
	  FROM generate_series(10000, 10099) c, generate_series(1, 100) i;
	INSERT INTO upsert_history SELECT * FROM upsert_latest WHERE key = 'many'"
query "$db" 'VACUUM ANALYZE upsert_latest, upsert_history'

store="SELECT cfp_store('many', :data, 'ITEM', :c, ITEM::bigint);"
upsert=$(sed -n "/^WITH/{ s/'bench', :c, :i, :data, :v/'many', :c, 'ITEM', :data, ITEM/; p }" "$bench/pgbench/upsert.sql")
statements transaction_cfp 'BEGIN;' "$store" 'COMMIT;'
statements transaction_upsert 'BEGIN;' "$upsert" 'COMMIT;'
statements pipeline_cfp '\startpipeline' "$store" '\endpipeline'
statements pipeline_upsert '\startpipeline' "$upsert" '\endpipeline'
statements pipeline_get '\startpipeline' "SELECT cfp_get('many', 'ITEM', :c);" '\endpipeline'
statements pipeline_select '\startpipeline' \
	"SELECT data FROM upsert_latest WHERE key = 'many' AND collection_name = :c AND item_name = 'ITEM';" '\endpipeline'

base=0
syncs=(on off)
[ ! "$QUICK" ] || syncs=(on)
for sync in "${syncs[@]}"; do
	set_durability "$sync"
	redis_start "$appendfsync"
	redis_fill "$appendfsync" 100 100
	sqlite_fill "$synchronous"
	section "many: 100 items stored at once, 8 clients, synchronous_commit = $sync" 'items a second'
	for ((round = 1; round <= rounds; round++)); do
		side 'cfp_store_many' many_cfp -D items="$items"
		day_files off
		side 'cfp_store_many, no day files' many_cfp -D items="$items"
		day_files on
		side 'upsert with history of a JSON document' many_upsert_json -D items="$items"
		side 'upsert with history of arrays' many_upsert_arrays -D names="$names" -D datas="$datas" -D numbers="$numbers"
		base=$((base + 50000 * seconds)) # versions that no round before had
		side 'C insert of 100 rows' floor_insert_many -D names="$names" -D datas="$datas" -D numbers="$numbers" -D base=$base -D n=0
		redis_side 'Redis HSET of 100 fields' hset_many 1
		side 'cfp_store, transaction' "$work/transaction_cfp.sql"
		side 'upsert with history, transaction' "$work/transaction_upsert.sql"
		sample 'SQLite, transaction' "$(sqlite_clients "$synchronous" many 8 | awk '{ print $1 * 100 }')" \
			"$(sqlite_durability "$synchronous")"
		side 'cfp_store, pipeline' "$work/pipeline_cfp.sql"
		side 'upsert with history, pipeline' "$work/pipeline_upsert.sql"
		redis_side 'Redis SET, pipeline' set 100
	done
	table
	least=()
	[ "$sync" = off ] || least=(least 2.5)
	# the others write no files either; what those cost: day_files.sh
	ratio 'cfp_store_many, no day files' 'upsert with history of a JSON document' "${least[@]}"
	ratio 'cfp_store_many, no day files' 'upsert with history of arrays' "${least[@]}"
	ratio cfp_store_many 'upsert with history of arrays'
	ratio 'C insert of 100 rows' 'upsert with history of arrays'
	ratio 'cfp_store_many, no day files' 'C insert of 100 rows'
	ratio cfp_store_many 'Redis HSET of 100 fields'
	ratio 'cfp_store, transaction' 'upsert with history, transaction'
	ratio 'cfp_store, transaction' 'SQLite, transaction'
	ratio 'cfp_store, pipeline' 'upsert with history, pipeline'
	ratio 'cfp_store, pipeline' 'Redis SET, pipeline'
	bars "many_$sync"
	redis_stop
done
unset PGOPTIONS

# reading SIDE SCRIPT [pgbench arguments]
reading()
{
	sample "$1" "$(clients "$db" "$2" 8 "${@:3}" | awk '{ print $1 * 100 }')" -
}

query "$db" 'SELECT cfp_fold()' >/dev/null
settle "$db"
redis_start everysec
redis_fill everysec 100 100
section 'many: 100 items got at once, 8 clients' 'items a second'
for ((round = 1; round <= rounds; round++)); do
	reading cfp_get_many many_cfp_get -D names="$names"
	reading 'SELECT of 100 names' many_select -D names="$names"
	sample 'Redis MGET of 100 keys' "$(redis_clients everysec mget 8 | awk '{ print $1 * 100 }')" -
	reading 'cfp_get, pipeline' "$work/pipeline_get.sql"
	reading 'SELECT by primary key, pipeline' "$work/pipeline_select.sql"
	sample 'Redis GET, pipeline' "$(redis_clients everysec get 8 100 | awk '{ print $1 * 100 }')" -
done
table
ratio cfp_get_many 'SELECT of 100 names'
ratio cfp_get_many 'Redis MGET of 100 keys'
ratio 'cfp_get, pipeline' 'SELECT by primary key, pipeline'
ratio 'cfp_get, pipeline' 'Redis GET, pipeline'
bars many_get
