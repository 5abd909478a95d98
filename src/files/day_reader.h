/*-------------------------------------------------------------------------
 *
 * day_reader.h
 *		Whose a day file is: what its first line says.
 *
 * All of these are called in a transaction with a snapshot, and throw what
 * reading a file throws.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DAY_READER_H
#define CFP_DAY_READER_H

#include "base/names.h"

#include "utils/date.h"

/* Who has begun a day file. */
typedef enum CfpFileOwner
{
	CFP_FILE_OURS,				/* this server, for this database */
	CFP_FILE_OTHER_INCARNATION, /* the same, before the extension was dropped
								 * and created again */
	CFP_FILE_FOREIGN			/* another server, or for another database */
} CfpFileOwner;

/*
 * Whose the file is.  *origin, if asked for, tells those of different others
 * apart; empty for ours, and for what has no first line of a day file.
 */
extern CfpFileOwner cfp_day_file_owner(const char *path, char **origin);
extern bool cfp_day_file_is_ours(const char *path);

/* Is it a file of the date of which not even the first line was written whole? */
extern bool cfp_day_file_is_torn(const char *path, DateADT date);

#endif							/* CFP_DAY_READER_H */
