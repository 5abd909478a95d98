/*-------------------------------------------------------------------------
 *
 * replay.c
 *		What the day files say was given up, and which records it covers.
 *
 * Used by rebuild.c, which must end at the state that was lost and not at one
 * that was given up on purpose, and by retention.c, which must not miss what
 * was.  Both read the day files twice: here for the lines of what was given
 * up (forget.c), which come after the records they are about, from the first
 * date asked for to the newest there is; then for the records.
 *
 * A record is given up by a line that comes later in the files:
 *	- item, prune: when it is one of the item's versions named;
 *	- all: whatever it is;
 *	- restore: when the backup's snapshot does not see its transaction.
 *
 * The recipe of recovery itself gives things up: a TRUNCATE, then a restore
 * that discards what is newer.  So such a line counts only when a record comes
 * after it: until then it is the loss that is being repaired.  A rebuild that
 * makes it good writes a line that lifts it, so that a second loss, after
 * records stored since, brings back everything too.  A line of kind "gap"
 * stands for records that are in no day file.
 *
 * A restore goes back to a moment: lines of transactions that its snapshot
 * does not see, those that lift others included, no longer count.
 *
 * Files of different origins (servers, databases, incarnations of the
 * extension) know nothing of each other, and each are replayed by themselves.
 * To ours comes what waits in cfp_forgotten for the next flush.  It is read
 * before the files: a flush may write it into them meanwhile, and then it is
 * there twice, which its id tells.
 *
 * Locks: none of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "files/day_dir.h"
#include "files/day_reader.h"
#include "files/replay.h"
#include "files/wal_files.h"
#include "record/forgotten.h"
#include "record/record.h"
#include "tables/forget.h"
#include "tables/new_rows.h"
#include "tables/state.h"
#include "tables/statement.h"
#include "tables/tables.h"

/* Where a line stands. */
typedef struct Place
{
	int			file;			/* of the replay's, from 0 */
	int64		line;
} Place;

typedef struct Forget
{
	CfpForget	forget;
	Place		place;
	CfpSeen    *seen;			/* RESTORE: its snapshot; NULL: not known */
	bool		followed;		/* a record comes after it */
	bool		stands;			/* nothing has undone or lifted it */
} Forget;

typedef struct Origin
{
	CfpFileOwner owner;
	char	   *name;
	Forget	   *forgets;		/* in the order of the files */
	int			nforgets;
	int			allocated;
	int			nfollowed;		/* so many of them are followed by a record */
	Forget	  **items;			/* those of items, by their names */
	int			nitems;
	Forget	  **wide;			/* those of everything, and restores */
	int			nwide;
} Origin;

typedef struct DayFile
{
	DateADT		date;
	int			number;
	int			origin;
} DayFile;

struct CfpReplay
{
	MemoryContext context;
	DayFile    *files;			/* in the order of their dates and numbers */
	int			nfiles;
	Origin	   *origins;
	int			norigins;
	int64		bytes;
	Origin		queue;			/* what was in no file at first */
	bool		unwritten;		/* nor were some records */
	CfpWalReader *reader;
	int			next;			/* of files */
	bool		reading;		/* the one before it */
	bool		done;
};

/* What is in no day file yet. */
static CfpStatement queue_read = {
	.table = "cfp_forgotten",
	.sql = "SELECT " CFP_FORGET_READ ", seen::text FROM @schema@.cfp_forgotten ORDER BY id",
};

/*-------------------------------------------------------------------------
 * The files
 *-------------------------------------------------------------------------
 */

static int
find_origin(CfpReplay *replay, CfpFileOwner owner, const char *name)
{
	Origin	   *origin;

	for (int i = 0; i < replay->norigins; i++)
	{
		if (replay->origins[i].owner == owner && strcmp(replay->origins[i].name, name) == 0)
			return i;
	}
	replay->origins = repalloc(replay->origins, (replay->norigins + 1) * sizeof(Origin));
	origin = &replay->origins[replay->norigins];
	memset(origin, 0, sizeof(Origin));
	origin->owner = owner;
	origin->name = pstrdup(name);
	return replay->norigins++;
}


int64
cfp_replay_bytes_done(const CfpReplay *replay)
{
	return replay->reader->bytes_done;
}

int64
cfp_replay_bytes(const CfpReplay *replay)
{
	return replay->bytes;
}

int
cfp_replay_origins(const CfpReplay *replay)
{
	return replay->norigins;
}

CfpFileOwner
cfp_replay_owner(const CfpReplay *replay, int origin)
{
	Assert(origin >= 0 && origin < replay->norigins);
	return replay->origins[origin].owner;
}

List *
cfp_replay_numbers(const CfpReplay *replay, DateADT date, int origin)
{
	List	   *numbers = NIL;

	for (int i = 0; i < replay->nfiles; i++)
	{
		if (replay->files[i].date == date && replay->files[i].origin == origin)
			numbers = lappend_int(numbers, replay->files[i].number);
	}
	return numbers;
}

/*-------------------------------------------------------------------------
 * Reading
 *-------------------------------------------------------------------------
 */

static text *
copy_text(text *value)
{
	text	   *copy;

	if (value == NULL)
		return NULL;
	copy = palloc(VARSIZE_ANY(value));
	memcpy(copy, value, VARSIZE_ANY(value));
	return copy;
}

static Forget *
add_forget(CfpReplay *replay, Origin *origin, const CfpForget *from, int file, int64 line)
{
	MemoryContext old = MemoryContextSwitchTo(replay->context);
	Forget	   *forget;

	if (origin->nforgets == origin->allocated)
	{
		origin->allocated = Max(64, origin->allocated * 2);
		origin->forgets = origin->forgets == NULL ?
			palloc(origin->allocated * sizeof(Forget)) :
			repalloc_huge(origin->forgets, origin->allocated * sizeof(Forget));
	}
	forget = &origin->forgets[origin->nforgets++];
	memset(forget, 0, sizeof(*forget));
	forget->forget = *from;
	forget->place.file = file;
	forget->place.line = line;
	for (int i = 0; i < 3; i++)
		forget->forget.name[i] = copy_text(from->name[i]);
	if (from->snapshot != NULL)
	{
		forget->forget.snapshot = pstrdup(from->snapshot);
		forget->seen = palloc(sizeof(CfpSeen));
		cfp_seen_parse(forget->seen, from->snapshot);
	}
	MemoryContextSwitchTo(old);
	return forget;
}

/* Has the history a record that is not in this snapshot? */
static bool
stored_since(const CfpTables *tables, const CfpSeen *seen)
{
	CfpNewTransactions transactions = {.below = PG_UINT64_MAX};
	CfpNewRows *rows;
	bool		found;

	transactions.xmax = seen->xmax;
	transactions.nxip = seen->nxip;
	transactions.xip = palloc(Max(seen->nxip, 1) * sizeof(Datum));
	for (int i = 0; i < seen->nxip; i++)
		transactions.xip[i] = UInt64GetDatum(seen->xip[i]);
	rows = cfp_new_rows_begin(tables->history, tables->history_txid, &transactions);
	found = cfp_new_rows_next(rows) != NULL;
	cfp_new_rows_end(rows);
	return found;
}

/*
 * What waits for the next flush.  A record that is not in what the row has seen
 * was stored later; so were those the files have not got yet, after all that
 * the files have.
 */
static void
read_queue(CfpReplay *replay)
{
	CfpTables	tables = cfp_tables_locked();
	CfpSeen		seen;
	bool		isnull;
	uint64		n;

	replay->unwritten = cfp_state_read_seen("files", &seen) && stored_since(&tables, &seen);
	n = cfp_statement_run(&queue_read, NULL, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		CfpForget	forget;

		cfp_forget_take(i, &forget);
		add_forget(replay, &replay->queue, &forget, PG_INT32_MAX, i);
		cfp_seen_parse(&seen, TextDatumGetCString(SPI_getbinval(SPI_tuptable->vals[i],
																SPI_tuptable->tupdesc,
																SPI_tuptable->tupdesc->natts,
																&isnull)));
		if (forget.kind == CFP_FORGET_GAP || stored_since(&tables, &seen))
			replay->queue.nfollowed = replay->queue.nforgets;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* It comes after all that the files had then. */
static void
add_queue(CfpReplay *replay)
{
	Origin	   *ours = &replay->origins[0];
	const Origin *queue = &replay->queue;
	int64		last_id = ours->nforgets == 0 ? 0 : ours->forgets[ours->nforgets - 1].forget.id;
	int64		followed = queue->nfollowed == 0 ? 0 :
	queue->forgets[queue->nfollowed - 1].forget.id;

	for (int i = 0; i < queue->nforgets; i++)
	{
		const Forget *forget = &queue->forgets[i];

		if (forget->forget.id > last_id)
			add_forget(replay, ours, &forget->forget, forget->place.file, forget->place.line);
	}
	while (ours->nfollowed < ours->nforgets &&
		   (ours->forgets[ours->nfollowed].forget.id <= followed ||
			(replay->unwritten &&
			 (queue->nforgets == 0 ||
			  ours->forgets[ours->nfollowed].forget.id < queue->forgets[0].forget.id))))
		ours->nfollowed++;
}

/* A restore to this moment: is what the transaction did undone by it? */
static bool
restore_undoes(const Forget *restore, const CfpReplay *replay, const Forget *forget)
{
	if (restore->seen != NULL)
		return !cfp_seen_sees(restore->seen, forget->forget.txid);
	return forget->place.file == PG_INT32_MAX ||
		replay->files[forget->place.file].date > restore->forget.date;
}

static int
compare_items(const Forget *forget, text *const *name)
{
	int			cmp = 0;

	for (int i = 0; i < 3 && cmp == 0; i++)
		cmp = cfp_compare_texts(&forget->forget.name[i], &name[i]);
	return cmp;
}

/* For qsort: by names, then in the order of the files. */
static int
compare_forgets(const void *a, const void *b)
{
	const Forget *x = *(const Forget *const *) a;
	const Forget *y = *(const Forget *const *) b;
	int			cmp = compare_items(x, y->forget.name);

	return cmp != 0 ? cmp : x < y ? -1 : x > y;
}

/* Which of the origin's lines stand; from the last to the first. */
static void
resolve_forgets(CfpReplay *replay, Origin *origin)
{
	List	   *restores = NIL;
	List	   *lifts = NIL;
	ListCell   *lc;

	if (origin->nforgets == 0)
		return;
	origin->items = palloc_extended(origin->nforgets * sizeof(Forget *), MCXT_ALLOC_HUGE);
	origin->wide = palloc_extended(origin->nforgets * sizeof(Forget *), MCXT_ALLOC_HUGE);
	for (int i = origin->nforgets - 1; i >= 0; i--)
	{
		Forget	   *forget = &origin->forgets[i];

		forget->followed = i < origin->nfollowed;
		forget->stands = true;
		foreach(lc, restores)
			forget->stands &= !restore_undoes(lfirst(lc), replay, forget);
		foreach(lc, lifts)
		{
			const CfpForget *lift = &((Forget *) lfirst(lc))->forget;

			forget->stands &= forget->forget.id < lift->from_id ||
				forget->forget.id > lift->to_id;
		}
		if (!forget->stands)
			continue;
		if (forget->forget.kind == CFP_FORGET_REBUILD)
			lifts = lappend(lifts, forget);
		if (forget->forget.kind == CFP_FORGET_RESTORE && forget->followed)
			restores = lappend(restores, forget);
	}
	for (int i = 0; i < origin->nforgets; i++)
	{
		Forget	   *forget = &origin->forgets[i];

		if (!forget->stands)
			continue;
		if (forget->forget.name[0] != NULL)
			origin->items[origin->nitems++] = forget;
		else if (forget->forget.kind == CFP_FORGET_ALL || forget->forget.kind == CFP_FORGET_RESTORE)
			origin->wide[origin->nwide++] = forget;
	}
	qsort(origin->items, origin->nitems, sizeof(Forget *), compare_forgets);
}

/* The next file, if there is one. */
static bool
next_file(CfpReplay *replay)
{
	const DayFile *file;

	if (replay->next == replay->nfiles)
		return false;
	file = &replay->files[replay->next++];
	cfp_wal_reader_start_files(replay->reader, file->date, list_make1_int(file->number));
	replay->reading = true;
	return true;
}

CfpReplay *
cfp_replay_begin(DateADT from)
{
	CfpReplay  *replay = palloc0(sizeof(CfpReplay));
	int			allocated = 16;
	ListCell   *date_cell;
	ListCell   *number_cell;

	Assert(ActiveSnapshotSet());
	replay->context = CurrentMemoryContext;
	replay->reader = cfp_wal_reader_create();
	replay->files = palloc(allocated * sizeof(DayFile));
	replay->origins = palloc(sizeof(Origin));
	(void) find_origin(replay, CFP_FILE_OURS, "");
	read_queue(replay);
	foreach(date_cell, cfp_list_date_dirs())
	{
		DateADT		date = lfirst_int(date_cell);

		if (date < from)
			continue;
		replay->bytes += cfp_wal_bytes(date);
		foreach(number_cell, cfp_list_day_files(date))
		{
			int			number = lfirst_int(number_cell);
			char	   *name;
			CfpFileOwner owner = cfp_day_file_owner(cfp_day_file(date, number), &name);

			if (replay->nfiles == allocated)
			{
				allocated *= 2;
				replay->files = repalloc(replay->files, allocated * sizeof(DayFile));
			}
			replay->files[replay->nfiles].date = date;
			replay->files[replay->nfiles].number = number;
			replay->files[replay->nfiles++].origin = find_origin(replay, owner, name);
		}
	}
	return replay;
}

bool
cfp_replay_read(CfpReplay *replay, int64 bytes)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "cfp replay line",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	int64		until = replay->reader->bytes_done + bytes;

	while (!replay->done && replay->reader->bytes_done < until)
	{
		int			file = replay->next - 1;
		CfpForget	forget;
		Origin	   *origin;

		if (!replay->reading)
		{
			if (next_file(replay))
				continue;
			add_queue(replay);
			MemoryContextSwitchTo(replay->context);
			for (int i = 0; i < replay->norigins; i++)
				resolve_forgets(replay, &replay->origins[i]);
			MemoryContextSwitchTo(scratch);
			replay->done = true;
			break;
		}
		origin = &replay->origins[replay->files[file].origin];
		switch (cfp_wal_reader_next_forget(replay->reader, until, &forget,
										   origin->nfollowed < origin->nforgets))
		{
			case CFP_WAL_FORGET:
				(void) add_forget(replay, origin, &forget, file, replay->reader->line);
				if (forget.kind == CFP_FORGET_GAP)
					origin->nfollowed = origin->nforgets;
				break;
			case CFP_WAL_RECORD:
				origin->nfollowed = origin->nforgets;
				break;
			case CFP_WAL_PAUSE:
				break;
			case CFP_WAL_END:
				replay->reading = false;
				break;
		}
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return !replay->done;
}

/*-------------------------------------------------------------------------
 * Asking
 *-------------------------------------------------------------------------
 */

static bool
comes_after(const Forget *forget, const Place *place)
{
	return forget->place.file != place->file ? forget->place.file > place->file :
		forget->place.line > place->line;
}

static bool
forget_counts(const Forget *forget, bool lenient)
{
	return forget->followed ||
		(lenient && (forget->forget.kind == CFP_FORGET_RESTORE ||
					 forget->forget.kind == CFP_FORGET_PRUNE));
}

/* The first of the item's that covers the record. */
static const Forget *
item_covers(const Origin *origin, const Place *place, const Datum *values, bool lenient)
{
	text	   *name[3];
	int32		version = DatumGetInt32(values[CFP_COL_VERSION]);
	int			low = 0;
	int			high = origin->nitems;

	for (int i = 0; i < 3; i++)
		name[i] = (text *) DatumGetPointer(values[CFP_COL_KEY + i]);
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (compare_items(origin->items[middle], name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < origin->nitems && compare_items(origin->items[low], name) == 0; low++)
	{
		const Forget *forget = origin->items[low];

		if (version >= forget->forget.from_version && version <= forget->forget.version &&
			comes_after(forget, place) && forget_counts(forget, lenient))
			return forget;
	}
	return NULL;
}

const CfpForget *
cfp_replay_covers(const CfpReplay *replay, int origin_number, DateADT date, int number,
				  int64 line, const Datum *values, const bool *nulls, bool lenient,
				  DateADT *given_up)
{
	const Origin *origin = &replay->origins[origin_number];
	const Forget *first;
	Place		place = {.line = line};
	int			low = 0;
	int			high = replay->nfiles;

	Assert(replay->done);
	Assert(origin_number >= 0 && origin_number < replay->norigins);
	if (origin->nitems == 0 && origin->nwide == 0)
		return NULL;
	while (low < high)
	{
		int			middle = (low + high) / 2;
		const DayFile *file = &replay->files[middle];

		if (file->date < date || (file->date == date && file->number < number))
			low = middle + 1;
		else
			high = middle;
	}
	place.file = low;
	first = item_covers(origin, &place, values, lenient);
	for (int i = 0; i < origin->nwide; i++)
	{
		const Forget *forget = origin->wide[i];
		bool		covered = true;

		if (first != NULL && forget >= first)
			break;
		if (!comes_after(forget, &place) || !forget_counts(forget, lenient))
			continue;
		if (forget->forget.kind == CFP_FORGET_RESTORE)
		{
			if (forget->seen == NULL || nulls[CFP_COL_TXID])
				covered = date > forget->forget.date;
			else
				covered = !cfp_seen_sees(forget->seen,
										 DatumGetUInt64(values[CFP_COL_TXID]));
		}
		if (covered)
		{
			first = forget;
			break;
		}
	}
	if (first == NULL)
		return NULL;
	*given_up = first->place.file == PG_INT32_MAX ? DATEVAL_NOEND :
		replay->files[first->place.file].date;
	return &first->forget;
}

const CfpForget *
cfp_replay_after_backup(const CfpReplay *replay, int *next)
{
	const Origin *ours = &replay->origins[0];
	const Forget *restore = NULL;

	for (int i = 0; i < ours->nwide; i++)
	{
		if (ours->wide[i]->forget.kind == CFP_FORGET_RESTORE && !ours->wide[i]->followed)
			restore = ours->wide[i];
	}
	while (restore != NULL && *next < ours->nforgets)
	{
		const Forget *forget = &ours->forgets[(*next)++];

		if (forget->stands && forget->followed && restore_undoes(restore, replay, forget) &&
			(forget->forget.kind == CFP_FORGET_ALL || forget->forget.name[0] != NULL))
			return &forget->forget;
	}
	return NULL;
}

bool
cfp_replay_loss(const CfpReplay *replay, bool all, int64 *from_id, int64 *to_id)
{
	const Origin *ours = &replay->origins[0];
	bool		found = false;

	for (int i = 0; i < ours->nforgets; i++)
	{
		const Forget *forget = &ours->forgets[i];

		if (!forget->stands || (forget->followed && !all) ||
			forget->forget.kind == CFP_FORGET_REBUILD || forget->forget.kind == CFP_FORGET_GAP)
			continue;
		*from_id = found ? Min(*from_id, forget->forget.id) : forget->forget.id;
		*to_id = found ? Max(*to_id, forget->forget.id) : forget->forget.id;
		found = true;
	}
	return found;
}
