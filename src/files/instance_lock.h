/*-------------------------------------------------------------------------
 *
 * instance_lock.h
 *		One server at a time writes below cfp.base_dir.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_INSTANCE_LOCK_H
#define CFP_INSTANCE_LOCK_H

#include "base/names.h"

#include "datatype/timestamp.h"
#include "utils/date.h"

/* Does this server hold the lock?  Whoever writes files asks first. */
extern bool cfp_instance_lock_held(void);

/*
 * Throws unless this server holds the lock: 55006 when another one does, else
 * why it cannot be taken.  `date` is the date about to be written.
 */
extern void cfp_require_instance_lock(DateADT date);

/*
 * Launcher: take the lock if it is free, see whether it still is the lock if
 * it is held.  Returns when to call again.  Throws nothing; in no transaction.
 */
extern TimestampTz cfp_instance_lock_attend(void);

/* Launcher, at its end: the lock is no longer held.  Cannot throw. */
extern void cfp_instance_lock_release(void);

extern Size cfp_instance_lock_shmem_size(void);
extern void cfp_instance_lock_shmem_init(void);

#endif							/* CFP_INSTANCE_LOCK_H */
