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
 * Append bytes that are valid in one encoding in another.  A character that
 * has no counterpart becomes a question mark.  Needs a transaction.
 */
extern void cfp_append_transcoded(StringInfo buf, const char *bytes, int len,
								  int from, int to);

#endif							/* CFP_TRANSCODE_H */
