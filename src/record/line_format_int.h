/*-------------------------------------------------------------------------
 *
 * line_format_int.h
 *		The members of a line, for those who write and read it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LINE_FORMAT_INT_H
#define CFP_LINE_FORMAT_INT_H

#include "base/names.h"

/* The members of a line, in the order in which it has them. */
enum
{
	LINE_KEY,
	LINE_COLLECTION,
	LINE_ITEM,
	LINE_DATA,
	LINE_VALUE,
	LINE_TIMESTAMP,
	LINE_STATUS,
	LINE_STATUS_INT,
	LINE_USERNAME,
	LINE_UPDATED_AT,
	LINE_VERSION,
	LINE_OPERATION,
	LINE_TXID,
	LINE_MEMBERS
};

/* Their names. */
extern const char *const cfp_line_members[LINE_MEMBERS];

/* Only the first line of a day file has it. */
#define LINE_HEADER_MEMBER	"cfp"
#define LINE_HEADER_FORMAT	1

/* Only the line of something given up has it; then "at", and "txid". */
#define LINE_FORGET_MEMBER	"forget"

/* What a line ends with, its digits between the two. */
#define LINE_CRC_MEMBER		",\"crc\":\""
#define LINE_CRC_MEMBER_LEN	(sizeof(LINE_CRC_MEMBER) - 1)
#define LINE_CRC_DIGITS		8
#define LINE_CRC_END		"\"}"
#define LINE_CRC_END_LEN	(sizeof(LINE_CRC_END) - 1)
#define LINE_CRC_LEN		(LINE_CRC_MEMBER_LEN + LINE_CRC_DIGITS + LINE_CRC_END_LEN)

/* The checksum of a line's text so far, in its digits. */
extern void cfp_line_crc_digits(char *digits, const char *text, int len);

#endif							/* CFP_LINE_FORMAT_INT_H */
