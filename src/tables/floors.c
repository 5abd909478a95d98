/*-------------------------------------------------------------------------
 *
 * floors.c
 *		Versions that stay taken although their records are gone.
 *
 * A version that was given to a committed record is never given to another.
 * As long as the newest record of an item is in one of the storage tables its
 * number says where the item goes on.  When it leaves both (prune, DELETE,
 * TRUNCATE, a rename, a restore), storage_floors keeps the number for the
 * collection: what the collection stores from then on is above it.  A row
 * whose names are NULL is for all collections.
 *
 *		new_items	where an item begins that is in neither table; raised by
 *					prune, which takes whole items
 *		all_items	below the next version of any item of the collection; raised
 *					by whatever may leave older records of the item
 *
 * Read when a collection is loaded, and for each store in table mode; so a
 * store into a cached collection pays nothing.  Whoever raises a floor sees
 * to it that the collection is loaded anew (prune.c), or changes the tables
 * by hand, after which all is.
 *
 * What changes by hand take from the tables is found out in given_up.c.  It
 * is written directly, as the table's owner (table_write.c): the role needs no
 * privilege on storage_floors.
 *
 * Locks: ROW EXCLUSIVE on storage_floors.  Who writes it by what is here has
 * the gate in SHARE ROW EXCLUSIVE, or as a fold in SHARE UPDATE EXCLUSIVE, so
 * nobody else does meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "tables/floors.h"
#include "tables/table_write.h"
#include "tables/tables.h"

/* Columns of storage_floors. */
#define FLOORS_KEY			1
#define FLOORS_COLLECTION	2
#define FLOORS_NEW_ITEMS	3
#define FLOORS_ALL_ITEMS	4
#define FLOORS_COLUMNS		4

static void
name_key(ScanKey key, AttrNumber column, const text *name)
{
	if (name == NULL)
		ScanKeyEntryInitialize(key, SK_ISNULL | SK_SEARCHNULL, column, InvalidStrategy,
							   InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	else
		ScanKeyEntryInitialize(key, 0, column, BTEqualStrategyNumber, InvalidOid,
							   C_COLLATION_OID, F_TEXTEQ, PointerGetDatum(name));
}

/* The collection's row, a copy; NULL when the snapshot sees none. */
static HeapTuple
find_floor(Relation rel, Oid index_oid, Snapshot snapshot, const text *key,
		   const text *collection)
{
	Relation	index = index_open(index_oid, AccessShareLock);
	IndexScanDesc scan = cfp_index_beginscan(rel, index, snapshot, 2);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	HeapTuple	tuple = NULL;
	ScanKeyData keys[2];

	name_key(&keys[0], FLOORS_KEY, key);
	name_key(&keys[1], FLOORS_COLLECTION, collection);
	index_rescan(scan, keys, lengthof(keys), NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, slot))
		tuple = ExecCopySlotHeapTuple(slot);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	return tuple;
}

/* A column that is a number; 0 when NULL, as in a row still to be checked. */
static int32
column_int(Relation rel, HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, RelationGetDescr(rel), &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static text *
column_name(Relation rel, HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, RelationGetDescr(rel), &isnull);

	return isnull ? NULL : DatumGetTextPP(value);
}

/* Take the higher of what is there and what the row has. */
static void
add_floor(CfpFloors *floors, Relation rel, HeapTuple tuple)
{
	if (tuple == NULL)
		return;
	floors->new_items = Max(floors->new_items, column_int(rel, tuple, FLOORS_NEW_ITEMS));
	floors->all_items = Max(floors->all_items, column_int(rel, tuple, FLOORS_ALL_ITEMS));
}

/* The collection's floors as the snapshot sees them. */
static void
read_floors(Relation rel, Oid index, Snapshot snapshot, const text *key,
			const text *collection, CfpFloors *floors)
{
	floors->new_items = floors->all_items = 0;
	add_floor(floors, rel, find_floor(rel, index, snapshot, NULL, NULL));
	add_floor(floors, rel, find_floor(rel, index, snapshot, key, collection));
	/* What holds for any item holds for a new one. */
	floors->new_items = Max(floors->new_items, floors->all_items);
}

void
cfp_floors_read(Snapshot snapshot, const CfpCollectionName *name, CfpFloors *floors)
{
	/* The lock accepts what a REINDEX CONCURRENTLY has changed. */
	Relation	rel = table_open(cfp_tables()->floors, AccessShareLock);

	read_floors(rel, cfp_tables()->floors_index, snapshot,
				cstring_to_text_with_len(name->key, name->key_len),
				cstring_to_text_with_len(name->collection, name->collection_len), floors);
	table_close(rel, NoLock);
}

/* The index on the names, also where the tables cannot be used otherwise. */
static Oid
names_index(Relation rel)
{
	static const AttrNumber columns[] = {FLOORS_KEY, FLOORS_COLLECTION};
	Oid			index = cfp_index_on(rel, columns, lengthof(columns));

	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the index of table \"%s\" on the names is missing",
						RelationGetRelationName(rel)),
				 errhint("Create it again as the extension's script does.")));
	return index;
}

HeapTuple
cfp_floors_greatest(Relation rel, HeapTuple old, HeapTuple new)
{
	int			columns[] = {FLOORS_NEW_ITEMS, FLOORS_ALL_ITEMS};
	CfpFloors	floors = {0};
	Datum		values[2];
	bool		isnull[2] = {0};

	add_floor(&floors, rel, old);
	add_floor(&floors, rel, new);
	values[0] = Int32GetDatum(floors.new_items);
	values[1] = Int32GetDatum(floors.all_items);
	return heap_modify_tuple_by_cols(new, RelationGetDescr(rel), 2, columns, values, isnull);
}

/* Insert a row, or update the one found; with a fresh snapshot active. */
static void
write_row(Relation rel, HeapTuple old, HeapTuple row)
{
	CfpTableWriter *writer = cfp_writer_begin(RelationGetRelid(rel),
											  1 << (old == NULL ? CMD_INSERT : CMD_UPDATE));
	Datum		values[FLOORS_COLUMNS];
	bool		nulls[FLOORS_COLUMNS];

	Assert(CheckRelationLockedByMe(rel, RowExclusiveLock, true));

	for (int i = 0; i < FLOORS_COLUMNS; i++)
		values[i] = heap_getattr(row, i + 1, RelationGetDescr(rel), &nulls[i]);
	if (old == NULL)
		cfp_writer_insert(writer, FLOORS_COLUMNS, values, nulls);
	else
	{
		TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);

		ExecStoreHeapTuple(old, slot, false);
		cfp_writer_update(writer, slot, FLOORS_COLUMNS, values, nulls);
		ExecDropSingleTupleTableSlot(slot);
	}
	cfp_writer_end(writer);
}

bool
cfp_floors_merge(Relation rel, HeapTuple row)
{
	Oid			index = names_index(rel);
	HeapTuple	old;

	/* Fresh at every isolation level, as for the mark in cfp_state. */
	PushActiveSnapshot(GetLatestSnapshot());
	old = find_floor(rel, index, GetActiveSnapshot(), column_name(rel, row, FLOORS_KEY),
					 column_name(rel, row, FLOORS_COLLECTION));
	if (old != NULL &&
		(column_int(rel, row, FLOORS_NEW_ITEMS) > column_int(rel, old, FLOORS_NEW_ITEMS) ||
		 column_int(rel, row, FLOORS_ALL_ITEMS) > column_int(rel, old, FLOORS_ALL_ITEMS)))
		write_row(rel, old, cfp_floors_greatest(rel, row, old));
	PopActiveSnapshot();
	return old != NULL;
}

void
cfp_floors_raise(const text *key, const text *collection, const CfpFloors *floors)
{
	Relation	rel = table_open(cfp_table_oid("storage_floors"), RowExclusiveLock);
	int			natts = RelationGetNumberOfAttributes(rel);
	Datum	   *values = palloc0(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));
	HeapTuple	row;

	Assert((key == NULL) == (collection == NULL));
	Assert(floors->new_items >= 0 && floors->all_items >= 0);

	/* Columns that somebody has added get their defaults below. */
	memset(nulls, true, natts * sizeof(bool));
	nulls[FLOORS_NEW_ITEMS - 1] = nulls[FLOORS_ALL_ITEMS - 1] = false;
	values[FLOORS_KEY - 1] = PointerGetDatum(key);
	values[FLOORS_COLLECTION - 1] = PointerGetDatum(collection);
	nulls[FLOORS_KEY - 1] = nulls[FLOORS_COLLECTION - 1] = key == NULL;
	values[FLOORS_NEW_ITEMS - 1] = Int32GetDatum(floors->new_items);
	values[FLOORS_ALL_ITEMS - 1] = Int32GetDatum(floors->all_items);
	row = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	if (!cfp_floors_merge(rel, row))
	{
		PushActiveSnapshot(GetLatestSnapshot());
		write_row(rel, NULL, row);
		PopActiveSnapshot();
	}
	heap_freetuple(row);
	pfree(values);
	pfree(nulls);
	table_close(rel, NoLock);
}

void
cfp_floors_level(const text *key, const text *collection, int32 lowest)
{
	Relation	rel = table_open(cfp_table_oid("storage_floors"), RowExclusiveLock);
	CfpFloors	floors;

	PushActiveSnapshot(GetLatestSnapshot());
	read_floors(rel, names_index(rel), GetActiveSnapshot(), key, collection, &floors);
	PopActiveSnapshot();
	if (lowest <= floors.new_items && floors.all_items < floors.new_items)
	{
		floors.all_items = floors.new_items;
		cfp_floors_raise(key, collection, &floors);
	}
	table_close(rel, NoLock);
}
