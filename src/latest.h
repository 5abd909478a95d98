/*-------------------------------------------------------------------------
 *
 * latest.h
 *		SQL that brings storage_latest up to the history.
 *
 * Parts of statements (statement.h), shared by fold.c, rebuild.c and flush.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LATEST_H
#define CFP_LATEST_H

/*
 * The items of a preceding CTE "chunk": c, the row o of storage_latest, and h,
 * the newest of the history.  The search in the history is bounded by the
 * version that storage_latest has: a btree takes whole pages of what matches,
 * so without a bound an item of hundreds of versions would cost hundreds of
 * comparisons.  A WHERE may follow, then CFP_LATEST_CONFLICT must.
 */
#define CFP_LATEST_INSERT \
	"INSERT INTO @schema@.storage_latest AS l" \
	" (key, collection_name, item_name, data, value_int, value_float, value_string," \
	" \"timestamp\", status, status_int, username, updated_at, version, txid)" \
	" SELECT h.key, h.collection_name, h.item_name, h.data, h.value_int, h.value_float," \
	" h.value_string, h.\"timestamp\", h.status, h.status_int, h.username, h.updated_at," \
	" h.version, h.txid" \
	" FROM chunk c LEFT JOIN @schema@.storage_latest o" \
	"  ON o.key = c.key AND o.collection_name = c.collection_name AND o.item_name = c.item_name" \
	" CROSS JOIN LATERAL (SELECT * FROM @schema@.storage_history n" \
	"  WHERE n.key = c.key AND n.collection_name = c.collection_name AND n.item_name = c.item_name" \
	"  AND n.version >= coalesce(o.version, '-2147483648')" \
	"  ORDER BY n.version DESC LIMIT 1) h"

/* Never a lower version; at the same one the history is right. */
#define CFP_LATEST_CONFLICT \
	" ON CONFLICT (key, collection_name, item_name) DO UPDATE SET" \
	" data = excluded.data, value_int = excluded.value_int, value_float = excluded.value_float," \
	" value_string = excluded.value_string, \"timestamp\" = excluded.\"timestamp\"," \
	" status = excluded.status, status_int = excluded.status_int, username = excluded.username," \
	" updated_at = excluded.updated_at, version = excluded.version, txid = excluded.txid" \
	" WHERE l.version <= excluded.version"

/* Is row l of storage_latest, outer joined, behind row h of the history? */
#define CFP_LATEST_BEHIND(l, h) \
	"(" l ".version IS NULL OR " l ".version < " h ".version OR (" l ".version = " h ".version AND" \
	" (" l ".data, " l ".value_int, " l ".value_float, " l ".value_string, " l ".\"timestamp\"," \
	"  " l ".status, " l ".status_int, " l ".username, " l ".updated_at) IS DISTINCT FROM" \
	" (" h ".data, " h ".value_int, " h ".value_float, " h ".value_string, " h ".\"timestamp\"," \
	"  " h ".status, " h ".status_int, " h ".username, " h ".updated_at)))"

#endif							/* CFP_LATEST_H */
