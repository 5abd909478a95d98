/*-------------------------------------------------------------------------
 *
 * forgotten.h
 *		What was given up, as cfp_forgotten and the day files say it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FORGOTTEN_H
#define CFP_FORGOTTEN_H

#include "base/names.h"

#include "datatype/timestamp.h"
#include "utils/date.h"

typedef enum CfpForgetKind
{
	CFP_FORGET_ITEM,			/* versions of an item */
	CFP_FORGET_PRUNE,			/* a deleted item */
	CFP_FORGET_ALL,				/* everything */
	CFP_FORGET_RESTORE,			/* what a backup does not have */
	CFP_FORGET_REBUILD,			/* no record: what a rebuild brought back */
	CFP_FORGET_GAP				/* no record: some are in no day file */
} CfpForgetKind;

/* The names of the kinds, in cfp_forgotten and in day files. */
extern const char *const cfp_forget_kinds[];

/* A row of cfp_forgotten; pointers belong to who has filled it in. */
typedef struct CfpForget
{
	CfpForgetKind kind;
	int64		id;
	text	   *name[3];		/* ITEM, PRUNE */
	int32		from_version;
	int32		version;
	DateADT		date;			/* RESTORE */
	char	   *snapshot;		/* RESTORE: as text; NULL: not known */
	int64		from_id;		/* REBUILD */
	int64		to_id;
	uint64		txid;
	TimestampTz at;
} CfpForget;

/* Its kind by name; false for another. */
extern bool cfp_forget_kind(const char *name, CfpForgetKind *kind);

/* A pg_snapshot taken apart. */
typedef struct CfpSeen
{
	uint64		xmin;
	uint64		xmax;
	int			nxip;
	uint64	   *xip;
} CfpSeen;

/* From its text; allocates in CurrentMemoryContext. */
extern void cfp_seen_parse(CfpSeen *seen, const char *text);

/* As pg_visible_in_snapshot(). */
static inline bool
cfp_seen_sees(const CfpSeen *seen, uint64 txid)
{
	if (txid < seen->xmin)
		return true;
	if (txid >= seen->xmax)
		return false;
	for (int i = 0; i < seen->nxip; i++)
	{
		if (seen->xip[i] == txid)
			return false;
	}
	return true;
}

#endif							/* CFP_FORGOTTEN_H */
