/*-------------------------------------------------------------------------
 *
 * manifest.h
 *		The manifest of a backup, and which backups there are.
 *
 * A backup is complete when its manifest is there, which is written last.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_MANIFEST_H
#define CFP_MANIFEST_H

#include "base/names.h"
#include "files/copy_file.h"

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
	bool		foreign;		/* of another cluster or database; then
								 * nothing else is known */
	DateADT		date;
	CfpBackupKind history_kind;
	DateADT		builds_on;		/* of kind DAY: date of the backup before it */
	char		builds_on_sha256[CFP_SHA256_TEXT];	/* of its history's file;
													 * empty: not known yet */
	bool		compressed;		/* with zstd */
	char		finished[MAXDATELEN + 1];	/* when; tells it from another
											 * backup of the date */
	char	   *snapshot;		/* what it has, as text; NULL: not known */
	bool		on_demand;		/* made while the date was open: the close of
								 * day replaces it, and nothing builds on it */
	bool		other_incarnation;	/* made before the extension was dropped
									 * and created again */
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
 * of another incarnation of the extension, nor one that a restore has gone back
 * behind since it was made, nor one whose files are missing, of another size or
 * cannot be read; with on_demand also those that were made on demand.  Needs a
 * transaction; throws what reading directories throws.
 */
extern List *cfp_list_backups(bool on_demand);

/*
 * The backups whose history makes up that of this one: list of CfpManifest *,
 * this one first, then what it builds on, back to a full one.  What is missing,
 * of another size, cannot be read or is not the one that was built on ends the
 * list, and *whole is false.  NIL for kind OFF.  Needs a transaction.
 */
extern List *cfp_backup_chain(CfpManifest *manifest, bool *whole);

/*
 * Read the manifest of a date.  False when there is none, or it
 * is damaged or foreign; then *problem, if asked for, is NULL or a message
 * (palloc'd).  Needs a transaction.
 */
extern bool cfp_read_manifest(DateADT date, CfpManifest *manifest, char **problem);

/* Write it, durably.  Needs a transaction. */
extern void cfp_write_manifest(const CfpManifest *manifest);

#endif							/* CFP_MANIFEST_H */
