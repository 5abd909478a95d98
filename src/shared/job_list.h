/*-------------------------------------------------------------------------
 *
 * job_list.h
 *		The jobs of the job worker, a row each.
 *
 * From it come CfpJobKind (database.h), what the askers and cfp_stat_progress
 * know of a job (jobs.c), and what the job worker runs (job_worker.c), in whose
 * wing each job has its file.  So a new job is a file and a row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_JOB_LIST_H
#define CFP_JOB_LIST_H

/*
 * The kind (after CFP_JOB_); its name for DBAs; who asks for it; whether it
 * changes what the storage tables say; the function that runs it.
 */
#define CFP_JOB_LIST(JOB) \
	JOB(BACKUP, "backup", "backup", false, cfp_backup_job) \
	JOB(BACKUP_NOW, "backup", "cfp_backup()", false, cfp_backup_now_job) \
	JOB(VERIFY_BACKUP, "verify backup", "cfp_verify_backup()", false, cfp_verify_backup_job) \
	JOB(RESTORE_BACKUP, "restore backup", "cfp_restore_backup()", true, cfp_restore_backup_job) \
	JOB(PRUNE_HISTORY, "prune history", "cfp_prune_history()", true, cfp_prune_history_job) \
	JOB(REBUILD_HISTORY, "rebuild history", "cfp_rebuild_history_from_wal()", true, \
		cfp_rebuild_history_job) \
	JOB(REBUILD_LATEST, "rebuild latest", "cfp_rebuild_latest_from_history()", true, \
		cfp_rebuild_latest_job)

#endif							/* CFP_JOB_LIST_H */
