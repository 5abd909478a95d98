/*-------------------------------------------------------------------------
 *
 * claim.h
 *		Storing a record: claiming its version.
 *
 * See the head of claim.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_CLAIM_H
#define CFP_CLAIM_H

#include "base/names.h"
#include "record/record.h"

/*
 * What a conditional store asks of the current record (NULL: never stored).
 * It may not throw and may not allocate: it runs under the collection's lock.
 */
typedef bool (*CfpStorePredicate) (const CfpRecord *current, void *arg);

/*
 * Store one record; returns its version.  fields->version, create and updated_at are
 * set here.  With a predicate the store happens only when it holds of the
 * item's current record, decided after the outcome of versions in flight;
 * otherwise: with missing_ok returns 0, without throws 40001 with the current
 * version and username in DETAIL.
 *
 * Throws 22004 .. 54000 for what it is given, 25006 in a read-only transaction
 * or on a standby, 55000 when not preloaded or after the pre-commit step,
 * 42501 in a security-restricted operation that would leave code to be run at
 * the commit, 40001 on a conflict, 40P01.  The caller has checked the privilege.
 */
extern int32 cfp_pending_store(const CfpItemName *name, CfpFields *fields,
							   CfpStorePredicate predicate, void *arg,
							   bool missing_ok);

/* The predicate of expected_version; arg is an int64 *. */
extern bool cfp_expect_version(const CfpRecord *current, void *arg);

/* The predicate of a delete: there is something; arg unused. */
extern bool cfp_expect_present(const CfpRecord *current, void *arg);

#endif							/* CFP_CLAIM_H */
