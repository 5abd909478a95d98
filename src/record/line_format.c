/*-------------------------------------------------------------------------
 *
 * line_format.c
 *		The format of a line of a day file: its members and its checksum.
 *
 * line_write.c writes lines, line_read.c reads them; who only looks at files
 * asks for the checksum alone.  Functions of their arguments: no locks, no
 * shared memory.
 *
 * A line has these members, all of them always, in this order:
 *
 *		key, collection_name, item_name, data, value, timestamp, status,
 *		status_int, username, updated_at, version, operation, txid, crc
 *
 * The names are the file format's, which other tools read, and not taken from
 * the columns of the tables (columns.h), though they agree.
 *
 * "operation" is create, update or delete.  In a line without it is what the rest
 * of the record tells.
 *
 * "value" is the one of value_int, value_float and value_string that is not
 * NULL.  A number without point and exponent is an integer, any other a
 * float; a float is the shortest text that reads back as the same float8.
 * Timestamps are written as cfp_get() gives them.  Lines are UTF-8 whatever the
 * server's encoding, '?' for what has no place there; in a SQL_ASCII database
 * they have its bytes as they are.
 *
 * "crc" is the CRC-32C of the line's bytes before its comma, in eight digits.
 * Every line has it, the first one of a file included.  Lines without are read
 * too, so that files can be written by hand; but in a file that has had one
 * with, a line without has lost it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "port/pg_crc32c.h"

#include "record/line_format.h"
#include "record/line_format_int.h"

const char *const cfp_line_members[] = {
	"key", "collection_name", "item_name", "data", "value", "timestamp", "status",
	"status_int", "username", "updated_at", "version", "operation", "txid"
};

StaticAssertDecl(lengthof(cfp_line_members) == LINE_MEMBERS, "each member has a name");

void
cfp_line_crc_digits(char *digits, const char *text, int len)
{
	static const char hex[] = "0123456789abcdef";
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, text, len);
	FIN_CRC32C(crc);
	for (int i = LINE_CRC_DIGITS - 1; i >= 0; i--)
	{
		digits[i] = hex[crc & 0xF];
		crc >>= 4;
	}
}

CfpLineChecksum
cfp_line_checksum(const char *text, int len)
{
	int			before = len - (int) LINE_CRC_LEN;
	const char *digits;
	char		wanted[LINE_CRC_DIGITS];

	Assert(len >= 0);

	if (before < 0 || memcmp(text + before, LINE_CRC_MEMBER, LINE_CRC_MEMBER_LEN) != 0)
		return CFP_CHECKSUM_NONE;
	digits = text + before + LINE_CRC_MEMBER_LEN;
	if (memcmp(digits + LINE_CRC_DIGITS, LINE_CRC_END, LINE_CRC_END_LEN) != 0)
		return CFP_CHECKSUM_NONE;
	cfp_line_crc_digits(wanted, text, before);
	return memcmp(digits, wanted, LINE_CRC_DIGITS) == 0 ? CFP_CHECKSUM_RIGHT : CFP_CHECKSUM_WRONG;
}
