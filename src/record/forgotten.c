/*-------------------------------------------------------------------------
 *
 * forgotten.c
 *		What was given up, as cfp_forgotten and the day files say it.
 *
 * Pure functions; forget.c, line_write.c and line_read.c write and read it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "record/forgotten.h"

const char *const cfp_forget_kinds[] = {
	"item", "prune", "all", "restore", "rebuild", "gap"
};

StaticAssertDecl(lengthof(cfp_forget_kinds) == CFP_FORGET_GAP + 1, "each kind has a name");

bool
cfp_forget_kind(const char *name, CfpForgetKind *kind)
{
	for (int i = 0; i < lengthof(cfp_forget_kinds); i++)
	{
		if (strcmp(name, cfp_forget_kinds[i]) == 0)
		{
			*kind = i;
			return true;
		}
	}
	return false;
}

/* "xmin:xmax:xid,xid": the text form is the type's only interface. */
void
cfp_seen_parse(CfpSeen *seen, const char *text)
{
	const char *p = text;
	char	   *end;

	seen->xmin = strtou64(p, &end, 10);
	Assert(*end == ':');
	seen->xmax = strtou64(end + 1, &end, 10);
	Assert(*end == ':' && seen->xmin <= seen->xmax);
	seen->nxip = 0;
	seen->xip = palloc((strlen(end) / 2 + 1) * sizeof(uint64));
	for (p = end + 1; *p != '\0'; p = *end == ',' ? end + 1 : end)
	{
		seen->xip[seen->nxip] = strtou64(p, &end, 10);
		Assert(seen->xip[seen->nxip] >= seen->xmin && seen->xip[seen->nxip] < seen->xmax);
		seen->nxip++;
	}
}
