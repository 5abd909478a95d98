/*-------------------------------------------------------------------------
 *
 * transcode.c
 *		Text in another encoding, whatever it has.
 *
 * For what is written to files and must not fail for a character (lines of
 * day files, line_write.c), and for names that are for people (manifest.c).  The
 * name of a database is in the encoding of the one that it was made from.
 * The question mark is in all encodings, so what was written can be read back
 * into the database it is of.
 *
 * Locks: none.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"

#include "base/transcode.h"

#define CHUNK		(1024 * 1024)	/* bytes converted at once */

/* Where there is no conversion. */
static void
append_ascii(StringInfo buf, const char *bytes, int len)
{
	for (int i = 0; i < len; i++)
		appendStringInfoChar(buf, IS_HIGHBIT_SET(bytes[i]) ? '?' : bytes[i]);
}

void
cfp_append_transcoded(StringInfo buf, const char *bytes, int len, int from, int to)
{
	Oid			function;

	if (from == PG_SQL_ASCII || to == PG_SQL_ASCII || from == to)
	{
		if (pg_verify_mbstr(to, bytes, len, true))
			appendBinaryStringInfo(buf, bytes, len);
		else
			append_ascii(buf, bytes, len);
		return;
	}

	function = FindDefaultConversionProc(from, to);
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("default conversion function for encoding \"%s\" to \"%s\" does not exist",
						pg_encoding_to_char(from), pg_encoding_to_char(to))));
	while (len > 0)
	{
		int			room = MAX_CONVERSION_GROWTH * Min(len, CHUNK) + 1;
		int			done;

		enlargeStringInfo(buf, room);
		done = pg_do_encoding_conversion_buf(function, from, to,
											 (unsigned char *) bytes, len,
											 (unsigned char *) buf->data + buf->len,
											 room, true);
		buf->len += strlen(buf->data + buf->len);
		bytes += done;
		len -= done;
		if (done == 0)
		{
			int			bad = Min(pg_encoding_mblen(from, bytes), len);

			appendStringInfoChar(buf, '?');
			bytes += bad;
			len -= bad;
		}
	}
}

char *
cfp_valid_text(const char *text)
{
	StringInfoData buf;

	initStringInfo(&buf);
	cfp_append_transcoded(&buf, text, strlen(text), GetDatabaseEncoding(), GetDatabaseEncoding());
	return buf.data;
}

void
cfp_clip_text(char *to, Size size, const char *text)
{
	int			len = text == NULL ? 0 : pg_mbcliplen(text, strlen(text), size - 1);

	Assert(size > 0);
	if (len > 0)
		memcpy(to, text, len);
	to[len] = '\0';
}
