# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets or uses
# One item under 32 writers: beside the same writers on 10,000 items, beside
# itself with an old snapshot open all the time, and beside the upsert with
# history of one row.  Asynchronous commits, so that the disk hides nothing.

# Opens a snapshot that lasts until drop_snapshot.
hold_snapshot()
{
	PGAPPNAME=old_snapshot "$work/tree/bin/psql" -XqAt -d "$db" -c "
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		SELECT cfp_get('bench', 'hot', 'hot');
		SELECT pg_sleep(3600)" >/dev/null 2>&1 &
	until [ "$(query "$db" "SELECT count(*) FROM pg_stat_activity
			WHERE application_name = 'old_snapshot' AND wait_event = 'PgSleep'")" = 1 ]; do
		sleep 0.1
	done
}

drop_snapshot()
{
	query "$db" "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = 'old_snapshot'" >/dev/null
	wait
}

query_file "$db" "$bench/fill.sql"
query "$db" "SELECT cfp_store('bench', '$data'::jsonb, 'hot', 'hot', 1::bigint)" >/dev/null
export PGOPTIONS='-c synchronous_commit=off'

section 'hot item: 32 writers, synchronous_commit = off' 'a second'
for ((round = 1; round <= rounds; round++)); do
	settle "$db"
	sample '10,000 items' "$(clients "$db" cfp_store 32)"
	settle "$db"
	sample 'one item' "$(clients "$db" cfp_store_hot 32)"
	settle "$db"
	hold_snapshot
	sample 'one item, old snapshot' "$(clients "$db" cfp_store_hot 32)"
	drop_snapshot
	settle "$db"
	sample 'one item, upsert with history' "$(clients "$db" upsert_hot 32)"
done
table
ratio 'one item' '10,000 items' least 0.9
ratio 'one item, old snapshot' 'one item' least 0.9
ratio 'one item' 'one item, upsert with history' least 1
unset PGOPTIONS
