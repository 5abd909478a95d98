/*-------------------------------------------------------------------------
 *
 * day_dir.h
 *		Where the files of a day are: base, database and date directories.
 *
 *		<cfp.base_dir>/.lock
 *		<cfp.base_dir>/<database oid>_<name>/<YYYY-MM-DD>/wal_NNNNNN.jsonl
 *															storage_history.backup ...
 *
 * All functions throw what file access throws (58xxx, 53100, 42501) unless
 * they say otherwise.  Paths are palloc'd; a relative cfp.base_dir is below
 * the data directory, where every process of the server stands.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DAY_DIR_H
#define CFP_DAY_DIR_H

#include "base/names.h"

#include "nodes/pg_list.h"
#include "utils/date.h"

#define CFP_MANIFEST_FILE		"manifest.json"
#define CFP_HISTORY_BACKUP		"storage_history.backup"
#define CFP_LATEST_BACKUP		"storage_latest.backup"

/*
 * The directory of this database, whether it exists or not.  One made under
 * a former name of the database is found by its oid.  Needs a transaction.
 */
extern char *cfp_database_dir(void);

/* The directory of a date of this database, whether it exists or not. */
extern char *cfp_date_dir(DateADT date);

/* The path of a file in it. */
extern char *cfp_date_file(DateADT date, const char *name);

/* A day file's path. */
extern char *cfp_day_file(DateADT date, int number);

/*
 * Worker: make the directory of a date and those above it, durably; give the
 * database's directory its present name.  Returns the path.
 */
extern char *cfp_make_date_dir(DateADT date);

/* Make the base directory and those above it, durably. */
extern void cfp_make_base_dir(void);

/* The dates that have a directory, ascending: int list of DateADT. */
extern List *cfp_list_date_dirs(void);

/* The numbers of a date's day files, ascending: int list; NIL without any. */
extern List *cfp_list_day_files(DateADT date);

/* Remove a file, if it is there. */
extern void cfp_remove_file(const char *path);

/*
 * Is less than cfp.min_free_space free below cfp.base_dir?  *free_space: the
 * bytes that an ordinary user may still write there; -1 when unknown, which is
 * not short.
 */
extern bool cfp_space_is_short(int64 *free_space);

#endif							/* CFP_DAY_DIR_H */
