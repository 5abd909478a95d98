/*-------------------------------------------------------------------------
 *
 * backup.h
 *		The backup of a date: what its manifest says.
 *
 * A backup is complete when its manifest is there, which is written last.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_BACKUP_H
#define CFP_BACKUP_H

#include "cfp.h"
#include "copy_file.h"

#include "nodes/pg_list.h"
#include "utils/date.h"
#include "utils/datetime.h"

/* What a backup has of the history. */
typedef enum CfpBackupKind
{
	CFP_BACKUP_KIND_FULL,		/* all of it */
	CFP_BACKUP_KIND_DAY,		/* what came after the backup it builds on */
	CFP_BACKUP_KIND_OFF			/* nothing */
} CfpBackupKind;

typedef struct CfpManifest
{
	bool		foreign;		/* of another cluster or database; then nothing
								 * else is known */
	DateADT		date;
	CfpBackupKind history_kind;
	DateADT		builds_on;		/* of kind DAY: date of the backup before it */
	char		builds_on_sha256[CFP_SHA256_TEXT];	/* of its history's file;
													 * empty: not known yet */
	bool		compressed;		/* with zstd */
	char		finished[MAXDATELEN + 1];	/* when; tells it from another backup
											 * of the date */
	CfpCopySums history;		/* not of kind OFF */
	CfpCopySums latest;
} CfpManifest;

/* Bytes of a backup's files. */
static inline int64
cfp_backup_bytes(const CfpManifest *manifest)
{
	return manifest->latest.bytes +
		(manifest->history_kind == CFP_BACKUP_KIND_OFF ? 0 : manifest->history.bytes);
}

/*
 * The dates of this database that have a complete backup, ascending: int list
 * of DateADT.  A date whose manifest cannot be used is not among them, nor one
 * whose files are missing, of another size or cannot be read.  Needs a
 * transaction; throws what reading directories throws.
 */
extern List *cfp_list_backups(void);

/*
 * The backups whose history makes up that of this one: list of CfpManifest *,
 * this one first, then what it builds on, back to a full one.  What is missing,
 * of another size, cannot be read or is not the one that was built on ends the
 * list, and *whole is false.  NIL for kind OFF.  Needs a transaction.
 */
extern List *cfp_backup_chain(CfpManifest *manifest, bool *whole);

/*
 * manifest.c: read the manifest of a date.  False when there is none, or it
 * is damaged or foreign; then *problem, if asked for, is NULL or a message
 * (palloc'd).  Needs a transaction.
 */
extern bool cfp_read_manifest(DateADT date, CfpManifest *manifest, char **problem);

/* manifest.c: write it, durably.  Needs a transaction. */
extern void cfp_write_manifest(const CfpManifest *manifest);

/*
 * In a transaction of a process of cfp: rows of the history were changed or
 * removed other than by stores, so the next backup is a full one.
 */
extern void cfp_backup_break_chain(void);

#endif							/* CFP_BACKUP_H */
