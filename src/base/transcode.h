/*-------------------------------------------------------------------------
 *
 * transcode.h
 *		Text in another encoding, whatever it has.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_TRANSCODE_H
#define CFP_TRANSCODE_H

#include "base/names.h"

#include "lib/stringinfo.h"

/*
 * Append bytes of one encoding in another, or in the same.  What has no
 * counterpart there, or is not valid, becomes question marks.  Needs a
 * transaction, unless the encodings are the same.
 */
extern void cfp_append_transcoded(StringInfo buf, const char *bytes, int len,
								  int from, int to);

/*
 * A copy in which what is not valid in the database's encoding is question
 * marks: the message of an error may have a file's name, which can be of any
 * encoding.
 */
extern char *cfp_valid_text(const char *text);

/*
 * Copy the text, which is valid, into an array of this size, as much as fits
 * without cutting a character in two; NULL as the empty string.  Cannot throw.
 */
extern void cfp_clip_text(char *to, Size size, const char *text);

#endif							/* CFP_TRANSCODE_H */
