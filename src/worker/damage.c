/*-------------------------------------------------------------------------
 *
 * damage.c
 *		What to do when a storage table is damaged, missing or altered.
 *
 * The check is a piece of the worker's work, due at its start and after each
 * flush; the description is asked for by failure.c when a piece of its work has failed twice with the same error.
 * The steps are given in full, with the dates there are, because whoever reads
 * them has other worries than looking them up.
 *
 * The check reads through shared buffers, so it must not touch a file that
 * somebody writes past them: a page of zeros it left there would be read by
 * everybody, and stay for ever.  Such a file belongs to an index that is not
 * valid yet (CREATE INDEX and REINDEX CONCURRENTLY), which may also be empty
 * or unfinished for as long as its build lasts, or for good; or to a relation
 * that its writer has locked.  The former are passed over, the latter too:
 * the check waits for no lock.
 *
 * Errors about files and pages name a relation by its file or by its name;
 * they are searched for those of storage_history and storage_latest, their
 * indexes and toast tables.  Steps that lose what is there are given for a
 * table only: an index is built anew, a table that was altered changed back.
 *
 * Locks: ACCESS SHARE on what is read, to the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/calendar.h"
#include "base/compat.h"
#include "files/day_dir.h"
#include "files/manifest.h"
#include "tables/tables.h"
#include "worker/damage.h"
#include "worker/flush.h"

/* The tables' files were looked at, and how many flushes had been done then. */
static bool checked = false;
static uint64 checked_flushes;

static const char *const storage_tables[] = {"storage_history", "storage_latest"};

/* The first step where a table is missing, the only one where it was altered. */
#define UNDO \
	"undo the change of the table, or save the rows of the tables that are there " \
	"with COPY, run DROP EXTENSION cfp and CREATE EXTENSION cfp, and copy them back"

/*-------------------------------------------------------------------------
 * Check
 *-------------------------------------------------------------------------
 */

/* The caller has locked it, and nobody writes its file past shared buffers. */
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

/* Is it built, and neither being dropped nor left behind by a failed build? */
static bool
index_is_valid(Relation index)
{
	return index->rd_index->indisvalid && index->rd_index->indisready &&
		index->rd_index->indislive;
}

/*
 * The table, its indexes and its toast table.  No index of a table that is
 * locked in ACCESS SHARE can be dropped.
 */
static void
check_table(Oid relid)
{
	Relation	rel;
	Oid			toast;
	ListCell   *lc;

	/* Who has the table to himself is perhaps just repairing it. */
	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return;
	rel = table_open(relid, NoLock);
	toast = rel->rd_rel->reltoastrelid;
	read_ends(rel);
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index;

		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
			continue;
		index = index_open(lfirst_oid(lc), NoLock);
		if (index_is_valid(index))
			read_ends(index);
		index_close(index, NoLock);
	}
	table_close(rel, NoLock);
	if (OidIsValid(toast))
		check_table(toast);
}

bool
cfp_damage_due(TimestampTz now, TimestampTz *next)
{
	return !checked || checked_flushes != cfp_flushes;
}

CfpPieceEnd
cfp_damage_piece(int64 *rows)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (cfp_tables_if_installed() != NULL)
	{
		CfpTables	tables = *cfp_tables();

		check_table(tables.history);
		check_table(tables.latest);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	checked = true;
	checked_flushes = cfp_flushes;
	return CFP_PIECE_DONE;
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
 * Is it the table, one of its indexes, or its toast table?  *index: the index
 * that it is, with its schema; else NULL.  What somebody has locked is not
 * waited for: it may be what is damaged, and be so no more in a moment.
 */
static bool
concerns_table(const char *text, Oid relid, char **index)
{
	Relation	rel;
	Oid			toast;
	bool		found;
	ListCell   *lc;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	rel = table_open(relid, NoLock);
	toast = rel->rd_rel->reltoastrelid;
	/* Errors about chunks name the toast table without quotes. */
	found = mentions_relation(text, rel) ||
		(IsToastRelation(rel) && mentions(text, RelationGetRelationName(rel)));
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	irel;

		if (found || !ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
			continue;
		irel = index_open(lfirst_oid(lc), NoLock);
		if (mentions_relation(text, irel))
		{
			*index = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(irel)),
												RelationGetRelationName(irel));
			found = true;
		}
		index_close(irel, NoLock);
	}
	table_close(rel, NoLock);
	return found || (OidIsValid(toast) && concerns_table(text, toast, index));
}

/*
 * The newest date whose backup has the history, and the first whose day files
 * can have more; false when there is none.
 */
static bool
newest_backup(DateADT *date, DateADT *more)
{
	List	   *dates = cfp_list_backups(true);

	for (int i = list_length(dates) - 1; i >= 0; i--)
	{
		CfpManifest manifest;

		if (cfp_read_manifest(list_nth_int(dates, i), &manifest, NULL) &&
			manifest.history_kind != CFP_BACKUP_KIND_OFF)
		{
			*date = manifest.date;
			*more = manifest.on_demand ? manifest.date : manifest.date + 1;
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

/* The steps that bring a table back, in order. */
static char *
table_steps(const char *schema, bool history, bool missing)
{
	StringInfoData hint;
	int			step = 0;
	DateADT		backup = 0;
	DateADT		more = 0;
	List	   *after = NIL;	/* dates whose day files the backup has not */
	bool		have_backup = newest_backup(&backup, &more);
	ListCell   *lc;

	foreach(lc, cfp_list_date_dirs())
	{
		if (!have_backup || lfirst_int(lc) >= more)
			after = lappend_int(after, lfirst_int(lc));
	}

	initStringInfo(&hint);
	appendStringInfoString(&hint, "To recover:");
	if (missing)
		append_step(&hint, &step, UNDO);
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
describe_damage(const ErrorData *error, CfpDamage *damage, MemoryContext context)
{
	const char *schema = NULL;
	bool		altered = error->sqlerrcode == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;

	/* Other errors of that code are not about the shape of a table. */
	if (altered && strncmp(error->message, CFP_TABLE_UNUSABLE, strlen(CFP_TABLE_UNUSABLE)) != 0)
		return false;

	for (int i = 0; i < lengthof(storage_tables); i++)
	{
		Oid			relid = cfp_table_oid(storage_tables[i]);
		char	   *index = NULL;
		char	   *hint;

		if (OidIsValid(relid))
			schema = get_namespace_name(get_rel_namespace(relid));
		if (altered ? !mentions(error->message, storage_tables[i]) :
			!OidIsValid(relid) || !concerns_table(error->message, relid, &index))
			continue;

		if (schema == NULL)
			schema = "cfp";
		/* A disk that does not answer says nothing of what is on it. */
		if (error->sqlerrcode == ERRCODE_IO_ERROR)
			hint = "To recover: 1. see to the disk or its connection; the table may be sound.";
		else if (index != NULL)
			hint = psprintf("To recover: 1. REINDEX INDEX %s, which is enough when the table itself is sound.", index);
		else if (altered && OidIsValid(relid))
			hint = "To recover: 1. " UNDO ".";
		else
			hint = table_steps(quote_identifier(schema), i == 0, altered);
		damage->hint = MemoryContextStrdup(context, hint);
		damage->message = MemoryContextStrdup(context,
											  altered ? error->message :
											  psprintf("failed to read table %s, it may be corrupted: %s",
													   quote_qualified_identifier(schema, storage_tables[i]),
													   error->message));
		return true;
	}
	return false;
}

bool
cfp_damage_describe(const ErrorData *error, CfpDamage *damage)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool found = false;

	Assert(!IsTransactionState());
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
		found = describe_damage(error, damage, context);
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
