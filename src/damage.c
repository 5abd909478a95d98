/*-------------------------------------------------------------------------
 *
 * damage.c
 *		What to do when a storage table is damaged, missing or altered.
 *
 * Called by worker.c: the check at its start and after each flush, the
 * description when a piece of its work has failed.  The steps are given in
 * full, with the dates there are, because whoever reads them has other
 * worries than looking them up.
 *
 * Errors about files and pages name a relation by its file or by its name;
 * they are searched for those of storage_history and storage_latest, their
 * indexes and toast tables.
 *
 * Locks: ACCESS SHARE on what is read, to the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "backup.h"
#include "compat.h"
#include "damage.h"
#include "day_dir.h"
#include "tables.h"

static const char *const storage_tables[] = {"storage_history", "storage_latest"};

/*-------------------------------------------------------------------------
 * Check
 *-------------------------------------------------------------------------
 */

static void
read_ends(Relation rel)
{
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);

	if (blocks > 0)
		ReleaseBuffer(ReadBuffer(rel, 0));
	if (blocks > 1)
		ReleaseBuffer(ReadBuffer(rel, blocks - 1));
	/* A table may be empty; an index has at least its first page. */
	if (blocks == 0 && rel->rd_rel->relkind == RELKIND_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has lost its file's contents",
						RelationGetRelationName(rel))));
}

static void
check_table(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	ListCell   *lc;

	read_ends(rel);
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		read_ends(index);
		index_close(index, NoLock);
	}
	if (OidIsValid(rel->rd_rel->reltoastrelid))
	{
		Relation	toast = table_open(rel->rd_rel->reltoastrelid, AccessShareLock);

		read_ends(toast);
		table_close(toast, NoLock);
	}
	table_close(rel, NoLock);
}

void
cfp_damage_check(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (cfp_tables_if_installed() != NULL)
	{
		CfpTables	tables = *cfp_tables();

		/* Who has the table to himself is perhaps just repairing it. */
		if (ConditionalLockRelationOid(tables.history, AccessShareLock))
			check_table(tables.history);
		if (ConditionalLockRelationOid(tables.latest, AccessShareLock))
			check_table(tables.latest);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*-------------------------------------------------------------------------
 * Description
 *-------------------------------------------------------------------------
 */

/* Does the text have the words, not as a part of a longer number or name? */
static bool
mentions(const char *text, const char *words)
{
	const char *at = text;
	Size		len = strlen(words);

	while ((at = strstr(at, words)) != NULL)
	{
		if (!isalnum((unsigned char) at[len]))
			return true;
		at += len;
	}
	return false;
}

static bool
mentions_relation(const char *text, Relation rel)
{
	return mentions(text, cfp_relation_path(rel)) ||
		strstr(text, psprintf("\"%s\"", RelationGetRelationName(rel))) != NULL;
}

/*
 * Is it the table, one of its indexes, or its toast table?  *index: the name
 * of the index that it is; else NULL.
 */
static bool
concerns_table(const char *text, Oid relid, char **index)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		found = mentions_relation(text, rel);
	ListCell   *lc;

	*index = NULL;
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	irel = index_open(lfirst_oid(lc), AccessShareLock);

		if (!found && mentions_relation(text, irel))
		{
			*index = pstrdup(RelationGetRelationName(irel));
			found = true;
		}
		index_close(irel, NoLock);
	}
	if (!found && OidIsValid(rel->rd_rel->reltoastrelid))
	{
		Relation	toast = table_open(rel->rd_rel->reltoastrelid, AccessShareLock);

		/* Errors about chunks name the table without quotes. */
		found = mentions_relation(text, toast) ||
			mentions(text, RelationGetRelationName(toast));
		foreach(lc, RelationGetIndexList(toast))
		{
			Relation	irel = index_open(lfirst_oid(lc), AccessShareLock);

			found |= mentions_relation(text, irel);
			index_close(irel, NoLock);
		}
		table_close(toast, NoLock);
	}
	table_close(rel, NoLock);
	return found;
}

/* The newest date whose backup has the history; false when there is none. */
static bool
newest_backup(DateADT *date)
{
	List	   *dates = cfp_list_backups();

	for (int i = list_length(dates) - 1; i >= 0; i--)
	{
		CfpManifest manifest;

		if (cfp_read_manifest(list_nth_int(dates, i), &manifest, NULL) &&
			manifest.history_kind != CFP_BACKUP_KIND_OFF)
		{
			*date = manifest.date;
			return true;
		}
	}
	return false;
}

static void
append_step(StringInfo hint, int *step, const char *text)
{
	appendStringInfo(hint, " %d. %s;", ++*step, text);
}

/* The steps that bring the table back, in order. */
static char *
recovery_steps(const char *schema, bool history, bool gone, const char *index)
{
	StringInfoData hint;
	int			step = 0;
	DateADT		backup = 0;
	List	   *after = NIL;	/* dates whose day files the backup has not */
	bool		have_backup = newest_backup(&backup);
	ListCell   *lc;

	schema = quote_identifier(schema);
	foreach(lc, cfp_list_date_dirs())
	{
		if (!have_backup || lfirst_int(lc) > backup)
			after = lappend_int(after, lfirst_int(lc));
	}

	initStringInfo(&hint);
	appendStringInfoString(&hint, "To recover:");
	if (gone)
		append_step(&hint, &step, "undo the change of the table, or save the rows of the tables that are there "
					"with COPY, run DROP EXTENSION cfp and CREATE EXTENSION cfp, and copy them back");
	if (index != NULL)
		append_step(&hint, &step,
					psprintf("REINDEX INDEX %s.%s, which is enough when the table itself is sound",
							 schema, quote_identifier(index)));
	append_step(&hint, &step, "use point-in-time recovery if there is one, else go on");
	if (!history)
		append_step(&hint, &step, psprintf("TRUNCATE %s.storage_latest", schema));
	else
	{
		if (have_backup)
			append_step(&hint, &step, psprintf("SELECT %s.cfp_restore_backup('%s', discard_newer := true)",
											   schema, cfp_date_text(backup)));
		else
			append_step(&hint, &step, psprintf("there is no backup: save with COPY what can still be read, then TRUNCATE %s.storage_history",
											   schema));
		if (after != NIL)
			append_step(&hint, &step, psprintf("SELECT %s.cfp_rebuild_history_from_wal('%s', '%s')",
											   schema, cfp_date_text(linitial_int(after)),
											   cfp_date_text(llast_int(after))));
	}
	append_step(&hint, &step, psprintf("SELECT %s.cfp_rebuild_latest_from_history()", schema));
	hint.data[hint.len - 1] = '.';
	return hint.data;
}

static bool
describe(const ErrorData *error, CfpDamage *damage, MemoryContext context)
{
	const char *schema = NULL;
	bool		altered = error->sqlerrcode == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;

	for (int i = 0; i < lengthof(storage_tables); i++)
	{
		Oid			relid = cfp_table_oid(storage_tables[i]);
		char	   *index = NULL;
		char	   *table;
		char	   *hint;

		if (OidIsValid(relid))
			schema = get_namespace_name(get_rel_namespace(relid));
		if (altered ? !mentions(error->message, storage_tables[i]) :
			!OidIsValid(relid) || !concerns_table(error->message, relid, &index))
			continue;

		if (schema == NULL)
			schema = "cfp";
		table = quote_qualified_identifier(schema, storage_tables[i]);
		hint = recovery_steps(schema, i == 0, altered, index);
		damage->hint = MemoryContextStrdup(context, hint);
		damage->message = MemoryContextStrdup(context,
											  altered ? error->message :
											  psprintf("failed to read table %s, it may be corrupted: %s",
													   table, error->message));
		return true;
	}
	return false;
}

bool
cfp_damage_describe(const ErrorData *error, CfpDamage *damage)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool found = false;

	switch (error->sqlerrcode)
	{
		case ERRCODE_DATA_CORRUPTED:
		case ERRCODE_INDEX_CORRUPTED:
		case ERRCODE_UNDEFINED_FILE:
		case ERRCODE_IO_ERROR:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			break;
		default:
			return false;
	}

	PG_TRY();
	{
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		found = describe(error, damage, context);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		/* What is known of the error must do. */
		MemoryContextSwitchTo(context);
		FlushErrorState();
		AbortOutOfAnyTransaction();
		found = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return found;
}
