/*-------------------------------------------------------------------------
 *
 * day_disk_int.h
 *		The day files on the disk: as they were saved, and what is written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DAY_DISK_INT_H
#define CFP_DAY_DISK_INT_H

#include "base/names.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "tables/state.h"

/* The files of one flush. */
typedef struct CfpDayDisk
{
	CfpStateFiles saved;		/* file 0: none of its date yet */
	CfpStateFiles end;			/* after what this flush has written */
	char	   *opened;			/* path of the file saved.file, once opened */
	List	   *created;		/* paths */
	char	   *path;			/* of the file being written */
	int			fd;
	bool		has_record;		/* it has one */
	int64		space_checked;	/* bytes written since the last look */
} CfpDayDisk;

/* Throws 53100 when less than cfp.min_free_space is free. */
extern void cfp_disk_require_space(CfpDayDisk *disk);

/*
 * Take off what the last file has beyond the saved end, and remove the files
 * beyond it that this server has made.
 */
extern void cfp_disk_remove_unsaved(CfpDayDisk *disk);

/* Open the file in which the last flush ended, or begin a new one. */
extern void cfp_disk_open(CfpDayDisk *disk);

/* The buffer has got another line, behind the first `before` bytes. */
extern void cfp_disk_line(CfpDayDisk *disk, StringInfo buf, int before);

/* Have all that was written, and what is in the buffer, on the disk. */
extern void cfp_disk_finish(CfpDayDisk *disk, StringInfo buf);

/*
 * After trouble, when open files are closed: take off what this flush has
 * written, as far as possible.  Throws nothing.
 */
extern void cfp_disk_put_back(CfpDayDisk *disk);

#endif							/* CFP_DAY_DISK_INT_H */
