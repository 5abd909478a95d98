/*-------------------------------------------------------------------------
 *
 * line_format.h
 *		What a line of a day file says of itself, without its being read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LINE_FORMAT_H
#define CFP_LINE_FORMAT_H

#include "base/names.h"

typedef enum CfpLineChecksum
{
	CFP_CHECKSUM_NONE,
	CFP_CHECKSUM_RIGHT,
	CFP_CHECKSUM_WRONG
} CfpLineChecksum;

/* Is the checksum of a line (without its newline) right, if it has one? */
extern CfpLineChecksum cfp_line_checksum(const char *line, int len);

/* Does the line begin as those of what was given up do? */
static inline bool
cfp_line_is_forget(const char *line, Size len)
{
	static const char begin[] = "{\"forget\":";

	return len >= sizeof(begin) - 1 && memcmp(line, begin, sizeof(begin) - 1) == 0;
}

#endif							/* CFP_LINE_FORMAT_H */
