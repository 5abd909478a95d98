/*-------------------------------------------------------------------------
 *
 * copy_file.h
 *		Rows of a storage table in a file: COPY's binary format, compressed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_COPY_FILE_H
#define CFP_COPY_FILE_H

#include "base/names.h"

#define CFP_SHA256_TEXT		65	/* in hexadecimal, with its NUL */

/* What a file is known by. */
typedef struct CfpCopySums
{
	int64		rows;
	int64		bytes;			/* as stored */
	char		sha256[CFP_SHA256_TEXT];	/* as stored */
} CfpCopySums;

/* Are files compressed when written, and can compressed ones be read? */
extern bool cfp_copy_compresses(void);

/* SHA-256 of so many bytes. */
extern void cfp_sha256_text(const char *data, size_t len, char text[CFP_SHA256_TEXT]);

typedef struct CfpCopyWriter CfpCopyWriter;
typedef struct CfpCopyReader CfpCopyReader;

/*
 * Write a new file, replacing what is there.  Needs a transaction, and belongs
 * to it: if that ends before cfp_copy_finish(), which writes the file through
 * to the disk, the file is removed.  Throws what file access throws, and 53100
 * when less than cfp.min_free_space is left; of a row 22021 or 54000, when it
 * could not be read back (content.h).
 */
extern CfpCopyWriter *cfp_copy_create(const char *path);
extern void cfp_copy_row(CfpCopyWriter *writer, const Datum *values, const bool *nulls);
extern void cfp_copy_finish(CfpCopyWriter *writer, CfpCopySums *sums);

/*
 * Read a file.  Needs a transaction, and belongs to it.  Both ways of reading
 * go through the file once, from its beginning; take one of them.  Throws
 * 58P01 when it is missing, XX001 when it is damaged.
 */
extern CfpCopyReader *cfp_copy_open(const char *path, bool compressed);

/* A row's fields as COPY has them; a length of -1 is NULL. */
typedef struct CfpCopyField
{
	const char *data;			/* good until the next call */
	int			len;
} CfpCopyField;

/* The next row, CFP_NCOLS fields; false after the last. */
extern bool cfp_copy_next_row(CfpCopyReader *reader, CfpCopyField *fields);

/* Bytes for COPY FROM: at least min unless the file ends, at most max. */
extern int	cfp_copy_read(CfpCopyReader *reader, void *to, int min, int max);

/* Read what is left, check that all is as it was written, and close. */
extern void cfp_copy_check(CfpCopyReader *reader, int64 rows, const CfpCopySums *sums);

/* Throws XX001: the file is damaged, with the detail. */
pg_noreturn extern void cfp_copy_damaged(const char *path, const char *detail);

#endif							/* CFP_COPY_FILE_H */
