/*-------------------------------------------------------------------------
 *
 * sqlite.c
 *		The upsert with history, and the look-up, in SQLite.
 *
 *		sqlite version
 *		sqlite fill|store|many|get|mixed FILE full|normal THREADS SECONDS SEED DATA
 *
 * fill makes the tables and 10,000 items in 100 collections; store writes an
 * item and its history in a transaction, many 100 items of a collection in
 * one, get reads one item's data; mixed is nine gets to one store, items
 * by Zipf's law.  Each thread has a connection of its own.  SQLite has one
 * writer at a time; those that wait sleep and try again, which wastes time, so
 * writers queue at a mutex, as its documentation advises; readers do not.
 * Prints transactions a second, and p50, p99, p99.9 in milliseconds.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <sqlite3.h>

#include "common.h"

#define PER_COLLECTION 100

typedef struct Session
{
	pthread_t	thread;
	sqlite3    *db;
	sqlite3_stmt *begin,
			   *upsert,
			   *history,
			   *commit,
			   *get;
	uint64_t	random;
} Session;

static const char *mode,
		   *file,
		   *synchronous,
		   *data;
static double deadline;
static pthread_mutex_t writer = PTHREAD_MUTEX_INITIALIZER;

static const char tables[] =
"CREATE TABLE latest (key TEXT NOT NULL, collection_name TEXT NOT NULL, item_name TEXT NOT NULL,"
" data TEXT, value_int INTEGER, value_float REAL, value_string TEXT, timestamp REAL, status TEXT,"
" status_int INTEGER, username TEXT, updated_at REAL NOT NULL, version INTEGER NOT NULL,"
" PRIMARY KEY (key, collection_name, item_name)) WITHOUT ROWID;"
"CREATE TABLE history (key TEXT NOT NULL, collection_name TEXT NOT NULL, item_name TEXT NOT NULL,"
" data TEXT, value_int INTEGER, value_float REAL, value_string TEXT, timestamp REAL, status TEXT,"
" status_int INTEGER, username TEXT, updated_at REAL NOT NULL, version INTEGER NOT NULL,"
" PRIMARY KEY (key, collection_name, item_name, version)) WITHOUT ROWID";

static const char upsert[] =
"INSERT INTO latest (key, collection_name, item_name, data, value_int, timestamp, status, username, updated_at, version)"
" VALUES ('bench', ?1, ?2, ?3, ?4, ?5, 'held', 'box-office-3', ?5, 1)"
" ON CONFLICT (key, collection_name, item_name) DO UPDATE SET data = excluded.data,"
" value_int = excluded.value_int, value_float = excluded.value_float, value_string = excluded.value_string,"
" timestamp = excluded.timestamp, status = excluded.status, status_int = excluded.status_int,"
" username = excluded.username, updated_at = excluded.updated_at, version = version + 1"
" RETURNING version";

static const char history[] =
"INSERT INTO history (key, collection_name, item_name, data, value_int, timestamp, status, username, updated_at, version)"
" VALUES ('bench', ?1, ?2, ?3, ?4, ?5, 'held', 'box-office-3', ?5, ?6)";

static void
check(Session *session, int ok)
{
	if (!ok)
	{
		fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(session->db));
		exit(1);
	}
}

static void
execute(Session *session, const char *sql)
{
	check(session, sqlite3_exec(session->db, sql, NULL, NULL, NULL) == SQLITE_OK);
}

static sqlite3_stmt *
prepare(Session *session, const char *sql)
{
	sqlite3_stmt *statement;

	check(session, sqlite3_prepare_v3(session->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
									  &statement, NULL) == SQLITE_OK);
	return statement;
}

/* Runs a statement that returns nothing. */
static void
run(Session *session, sqlite3_stmt *statement)
{
	check(session, sqlite3_step(statement) == SQLITE_DONE);
	sqlite3_reset(statement);
}

static void
open_session(Session *session)
{
	char		pragma[64];

	check(session, sqlite3_open(file, &session->db) == SQLITE_OK);
	sqlite3_busy_timeout(session->db, 60000);
	execute(session, "PRAGMA journal_mode = WAL; PRAGMA cache_size = -65536; PRAGMA mmap_size = 1073741824;"
			"PRAGMA wal_autocheckpoint = 10000");
	snprintf(pragma, sizeof(pragma), "PRAGMA synchronous = %s", synchronous);
	execute(session, pragma);
	if (strcmp(mode, "fill") == 0)
		execute(session, tables);
	session->begin = prepare(session, "BEGIN IMMEDIATE");
	session->commit = prepare(session, "COMMIT");
	session->upsert = prepare(session, upsert);
	session->history = prepare(session, history);
	session->get = prepare(session, "SELECT data FROM latest"
						   " WHERE key = 'bench' AND collection_name = ?1 AND item_name = ?2");
}

static void
close_session(Session *session)
{
	sqlite3_finalize(session->begin);
	sqlite3_finalize(session->commit);
	sqlite3_finalize(session->upsert);
	sqlite3_finalize(session->history);
	sqlite3_finalize(session->get);
	check(session, sqlite3_close(session->db) == SQLITE_OK);
}

static void
bind_names(sqlite3_stmt *statement, int item)
{
	char		name[16];

	snprintf(name, sizeof(name), "%d", (1000000 + item) / PER_COLLECTION);
	sqlite3_bind_text(statement, 1, name, -1, SQLITE_TRANSIENT);
	snprintf(name, sizeof(name), "%d", 1000000 + item);
	sqlite3_bind_text(statement, 2, name, -1, SQLITE_TRANSIENT);
}

static void
bind_record(sqlite3_stmt *statement, int item)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	bind_names(statement, item);
	sqlite3_bind_text(statement, 3, data, -1, SQLITE_STATIC);
	sqlite3_bind_int(statement, 4, item);
	sqlite3_bind_double(statement, 5, t.tv_sec + t.tv_nsec / 1e9);
}

static void
store(Session *session, int first, int n)
{
	pthread_mutex_lock(&writer);
	run(session, session->begin);
	for (int item = first; item < first + n; item++)
	{
		int			version;

		bind_record(session->upsert, item);
		check(session, sqlite3_step(session->upsert) == SQLITE_ROW);
		version = sqlite3_column_int(session->upsert, 0);
		run(session, session->upsert);
		bind_record(session->history, item);
		sqlite3_bind_int(session->history, 6, version);
		run(session, session->history);
	}
	run(session, session->commit);
	pthread_mutex_unlock(&writer);
}

static void
get(Session *session, int item)
{
	bind_names(session->get, item);
	check(session, sqlite3_step(session->get) == SQLITE_ROW &&
		  sqlite3_column_bytes(session->get, 0) > 0);
	sqlite3_reset(session->get);
}

static void *
work(void *argument)
{
	Session    *session = argument;
	double		start = now();

	while (start < deadline)
	{
		double		end;
		bool		is_store;
		int			item;

		if (strcmp(mode, "mixed") == 0)
			is_store = next_mixed(&session->random, &item);
		else
		{
			is_store = strcmp(mode, "get") != 0;
			item = next_random(&session->random) % ITEMS;
		}
		if (!is_store)
			get(session, item);
		else if (strcmp(mode, "many") == 0)
			store(session, item - item % PER_COLLECTION, PER_COLLECTION);
		else
			store(session, item, 1);
		end = now();
		count_latency(end - start);
		start = end;
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	Session    *sessions;
	int			threads;
	double		start,
				elapsed;

	if (argc == 2 && strcmp(argv[1], "version") == 0)
	{
		puts(sqlite3_libversion());
		return 0;
	}
	if (argc != 8)
	{
		fputs("usage: sqlite fill|store|many|get|mixed FILE full|normal THREADS SECONDS SEED DATA\n", stderr);
		return 2;
	}
	mode = argv[1];
	file = argv[2];
	synchronous = argv[3];
	threads = atoi(argv[4]);
	data = argv[7];
	sessions = calloc(threads, sizeof(Session));
	for (int i = 0; i < threads; i++)
	{
		open_session(&sessions[i]);
		sessions[i].random = strtoull(argv[6], NULL, 10) * 1000 + i;
	}
	if (strcmp(mode, "fill") == 0)
	{
		store(&sessions[0], 0, ITEMS);
		close_session(&sessions[0]);
		free(sessions);
		return 0;
	}

	execute(&sessions[0], "PRAGMA wal_checkpoint(TRUNCATE)");
	prepare_zipf();
	start = now();
	deadline = start + atof(argv[5]);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&sessions[i].thread, NULL, work, &sessions[i]) != 0)
			return 1;
	for (int i = 0; i < threads; i++)
		pthread_join(sessions[i].thread, NULL);
	elapsed = now() - start;
	for (int i = 0; i < threads; i++)
		close_session(&sessions[i]);
	free(sessions);

	report(elapsed);
	return 0;
}
