/*-------------------------------------------------------------------------
 *
 * transcode.h
 *		Text in another encoding, whatever it has.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_TRANSCODE_H
#define CFP_TRANSCODE_H

#include "cfp.h"

#include "lib/stringinfo.h"

/*
 * Append bytes of one encoding in another, or in the same.  What has no
 * counterpart there, or is not valid, becomes question marks.  Needs a
 * transaction.
 */
extern void cfp_append_transcoded(StringInfo buf, const char *bytes, int len,
								  int from, int to);

#endif							/* CFP_TRANSCODE_H */
