/*-------------------------------------------------------------------------
 *
 * encode.h
 *		jsonb written by hand.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_ENCODE_H
#define CFP_ENCODE_H

#include "base/names.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

/*
 * A timestamp in ISO 8601 and UTC, as the server writes it into jsonb; returns
 * the length.  buf has room for MAXDATELEN + 1.
 */
extern int	cfp_encode_timestamp(char *buf, TimestampTz ts);

/*
 * Assemble one jsonb object from parts without taking them apart.  Keys need
 * not be sorted (they are sorted here, by length then bytes) and must be
 * distinct.  Each value is a whole jsonb container (object or
 * scalar-in-array as jsonb has it at the root).  Throws 54000 when a jsonb
 * object cannot hold it.
 */
typedef struct CfpPair
{
	const char *key;
	int			key_len;
	const JsonbContainer *value;	/* NULL: JSON null */
	uint32		value_len;
} CfpPair;

extern Jsonb *cfp_jsonb_object(CfpPair *pairs, int npairs);

#endif							/* CFP_ENCODE_H */
