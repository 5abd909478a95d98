/*-------------------------------------------------------------------------
 *
 * settings.h
 *		The settings cfp.*; see docs/settings.md for what each one does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_SETTINGS_H
#define CFP_SETTINGS_H

#include "cfp.h"

extern int	cfp_cache_size;		/* kB */
extern char *cfp_username;		/* empty: none */
extern char *cfp_base_dir;
extern char *cfp_end_of_day;	/* HH:MM or HH:MM:SS, checked when set */
extern char *cfp_timezone;		/* empty: the database's TimeZone */
extern int	cfp_batch_size;
extern int	cfp_flush_interval; /* ms */
extern int	cfp_max_wal_size;	/* kB */
extern int	cfp_retain_days;
extern bool cfp_wal_files;
extern int	cfp_min_free_space; /* MB */

enum CfpBackupHistory
{
	CFP_BACKUP_AUTO, CFP_BACKUP_FULL, CFP_BACKUP_DAY, CFP_BACKUP_OFF
};
extern int	cfp_backup_history; /* enum CfpBackupHistory */

/* Seconds since local midnight of cfp.end_of_day. */
extern int	cfp_end_of_day_seconds(void);

/* Define all settings; called once by _PG_init. */
extern void cfp_settings_init(void);

/*
 * Waitpoints, for tests: a session that has `cfp.debug_waitpoint` (superuser
 * only, default empty, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL) set to the name
 * of a waitpoint stops there until some session sets
 * `cfp.debug_release` to that name.  cfp_waitpoint() costs one test of a
 * pointer when the setting is empty.  With can_throw it looks for
 * interrupts; without (commit and abort callbacks) it just sleeps.
 */
extern char *cfp_debug_waitpoint;
extern void cfp_waitpoint_slow(const char *name, bool can_throw);
#define cfp_waitpoint(name, can_throw) \
	do { \
		if (unlikely(cfp_debug_waitpoint[0] != '\0')) \
			cfp_waitpoint_slow((name), (can_throw)); \
	} while (0)
/* What setting cfp.debug_release does.  Cannot throw. */
extern void cfp_waitpoint_release(const char *name);
extern Size cfp_waitpoint_shmem_size(void);
extern void cfp_waitpoint_shmem_init(void);

#endif							/* CFP_SETTINGS_H */
