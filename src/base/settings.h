/*-------------------------------------------------------------------------
 *
 * settings.h
 *		The settings cfp.*; see docs/settings.md for what each one does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_SETTINGS_H
#define CFP_SETTINGS_H

#include "base/names.h"

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

#endif							/* CFP_SETTINGS_H */
