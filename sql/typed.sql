-- Typed tables: CREATE FOREIGN TABLE ... SERVER cfp, and IMPORT FOREIGN SCHEMA.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';

CREATE TYPE place AS (x int, y int);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FOREIGN TABLE seats (
	hall text OPTIONS (field 'key') COLLATE "C",
	seat text OPTIONS (field 'item_name') COLLATE "C",
	"row" text,
	guest text,
	price numeric,
	booked_at timestamptz,
	tags text[],
	at place,
	rank positive,
	vip boolean,
	more jsonb,
	note text OPTIONS (member 'The Note', null 'keep'),
	version integer
) SERVER cfp OPTIONS (collection 'seats');

-- INSERT, and what is stored
INSERT INTO seats (hall, seat, "row", price, tags) VALUES ('hall 1', 'A1', 'A', 19.90, '{aisle,"near exit"}') RETURNING *;
SELECT key, collection_name, item_name, data, version FROM cfp.storage_current WHERE key = 'hall 1';
INSERT INTO seats VALUES ('hall 1', 'A2', 'A', NULL, 12345678901234567890.10, '2026-01-02 03:04:05+00', '{}', '(1,2)', 3, true, '{"a": [1, null]}', NULL) RETURNING *;
SELECT data FROM cfp.storage_current WHERE key = 'hall 1' AND item_name = 'A2';
-- what others have stored
SELECT cfp.cfp_store('hall 1', '{"row": "B", "price": "7.50", "guest": 5, "vip": "yes", "tags": ["x", 1, null], "at": {"x": 3}, "rank": "9", "more": "text", "other": [1, 2]}', 'B1', 'seats');
SELECT cfp.cfp_store('hall 1', '{"row": null, "guest": {"name": "ann"}}', 'B2', 'seats', 5);
SELECT cfp.cfp_store('hall 1', '{"row": "Z"}', 'Z', 'other seats');
SELECT cfp.cfp_store('hall 2', '{"row": "C"}', 'C1', 'seats');
SELECT * FROM seats WHERE hall = 'hall 1' ORDER BY seat;
SELECT hall, seat, "row" FROM seats;
SELECT count(*) FROM seats;

-- UPDATE changes the members of its columns, and leaves all others
UPDATE seats SET guest = 'bob', price = price + 0.10 WHERE hall = 'hall 1' AND seat = 'B1' RETURNING seat, guest, price, version;
SELECT data FROM cfp.storage_current WHERE key = 'hall 1' AND item_name = 'B1';
UPDATE seats SET guest = NULL, note = NULL, vip = NULL WHERE hall = 'hall 1' AND seat = 'B1' RETURNING guest, note, vip;
SELECT data FROM cfp.storage_current WHERE key = 'hall 1' AND item_name = 'B1';
UPDATE seats SET "row" = "row" WHERE hall = 'hall 1' AND seat = 'B2' RETURNING "row", guest, version;
SELECT data, value FROM cfp.storage_current WHERE key = 'hall 1' AND item_name = 'B2';
UPDATE seats SET at.x = 7, tags[2] = 'second' WHERE hall = 'hall 1' AND seat = 'A2' RETURNING at, tags, version;
UPDATE seats SET version = version + 1, guest = 'ann' WHERE seat = 'C1' AND version = 1 RETURNING hall, guest, version;
SELECT pg_temp.error($$UPDATE seats SET version = 9 WHERE seat = 'C1'$$);
SELECT pg_temp.error($$UPDATE seats SET hall = 'hall 3' WHERE seat = 'C1'$$);
SELECT pg_temp.error($$UPDATE seats SET seat = 'C2' WHERE seat = 'C1'$$);
-- DELETE
DELETE FROM seats WHERE hall = 'hall 1' AND seat LIKE 'B%' RETURNING hall, seat, version;
SELECT hall, seat FROM seats;
-- upsert
INSERT INTO seats AS s (hall, seat, price) VALUES ('hall 2', 'C1', 5), ('hall 2', 'C2', 6)
	ON CONFLICT (hall, seat) DO UPDATE SET price = coalesce(s.price, 0) + EXCLUDED.price RETURNING seat, "row", guest, price, version;
INSERT INTO seats AS s (hall, seat, price) VALUES ('hall 2', 'C1', 5), ('hall 2', 'C3', 7) ON CONFLICT (seat, hall) DO NOTHING RETURNING seat, price;
SELECT pg_temp.error($$INSERT INTO seats (hall, seat) VALUES ('hall 2', 'C1') ON CONFLICT (seat) DO NOTHING$$);
SELECT data FROM cfp.storage_current WHERE key = 'hall 2' ORDER BY item_name;
-- COPY
COPY seats (hall, seat, "row", price) FROM stdin;
hall 3	D1	D	1.5
hall 3	D2	D	\N
\.
COPY (SELECT hall, seat, "row", price FROM seats WHERE hall = 'hall 3') TO stdout;
COPY seats (hall, seat, note) FROM stdin;
hall 3	D3	\N
\.
SELECT item_name, data FROM cfp.storage_current WHERE key = 'hall 3';

-- what does not fit is told at the statement, with key, item and column
SELECT cfp.cfp_store('hall 4', '{"price": "cheap"}', 'E1', 'seats');
SELECT pg_temp.error($$SELECT * FROM seats WHERE hall = 'hall 4'$$);
SELECT seat, "row" FROM seats WHERE hall = 'hall 4';
SELECT cfp.cfp_store('hall 4', '{"rank": -1}', 'E1', 'seats');
SELECT pg_temp.error($$SELECT rank FROM seats WHERE hall = 'hall 4'$$);
SELECT cfp.cfp_store('hall 4', '{"tags": {"a": 1}}', 'E1', 'seats');
SELECT pg_temp.error($$SELECT tags FROM seats WHERE hall = 'hall 4'$$) ~ '^22P02|^22023' AS refused;
\set VERBOSITY default
SELECT cfp.cfp_store('hall 4', '{"price": "cheap"}', 'E1', 'seats') > 0 AS stored;
SELECT price FROM seats WHERE hall = 'hall 4';
SELECT cfp.cfp_delete('hall 4', 'E1', 'seats') > 0 AS deleted;

-- constraints
ALTER FOREIGN TABLE seats ALTER "row" SET NOT NULL, ADD CONSTRAINT price_is_no_debt CHECK (price >= 0);
SELECT pg_temp.error($$INSERT INTO seats (hall, seat) VALUES ('hall 5', 'F1')$$);
SELECT pg_temp.error($$INSERT INTO seats (hall, seat, "row", price) VALUES ('hall 5', 'F1', 'F', -1)$$);
SELECT pg_temp.error($$UPDATE seats SET price = -1 WHERE hall = 'hall 1' AND seat = 'A1'$$);
INSERT INTO seats (hall, seat, "row", price) VALUES ('hall 5', 'F1', 'F', 0);
ALTER FOREIGN TABLE seats ALTER "row" DROP NOT NULL, DROP CONSTRAINT price_is_no_debt;
ALTER FOREIGN TABLE seats ALTER version SET NOT NULL, ALTER guest SET DEFAULT 'nobody';
INSERT INTO seats (hall, seat) VALUES ('hall 5', 'F2') RETURNING guest, version;
SELECT pg_temp.error($$INSERT INTO seats (seat) VALUES ('F1')$$);

-- key bound too: a tenant's table
CREATE FOREIGN TABLE hall_1 (
	seat text OPTIONS (field 'item_name') COLLATE "C",
	guest text,
	key text COLLATE "C",
	data jsonb,
	value int,
	status text,
	status_int int,
	"timestamp" timestamptz,
	username text,
	updated_at timestamptz
) SERVER cfp OPTIONS (key 'hall 1', collection 'seats');
SELECT seat, guest, key, data FROM hall_1 ORDER BY seat;
INSERT INTO hall_1 (seat, guest, value, status, status_int, username, "timestamp") VALUES ('G1', 'eve', 7, 'open', 3, 'clerk', '2026-02-02 00:00:00+00') RETURNING seat, guest, key, data, value, status, status_int, "timestamp", username, updated_at > '2026-01-01' AS now;
INSERT INTO hall_1 (seat, key, data, guest) VALUES ('G2', 'hall 1', '{"guest": "dan", "row": "G"}', 'eva') RETURNING data;
SELECT pg_temp.error($$INSERT INTO hall_1 (seat, key) VALUES ('G3', 'hall 2')$$);
SELECT pg_temp.error($$UPDATE hall_1 SET key = 'hall 2' WHERE seat = 'G1'$$);
UPDATE hall_1 SET status = 'closed', value = value + 1 WHERE seat = 'G1' RETURNING data, value, status;
UPDATE hall_1 SET status = NULL, status_int = NULL, value = NULL WHERE seat = 'G1' RETURNING data, value, status, status_int;
UPDATE hall_1 SET data = data || '{"row": "H"}', guest = 'max' WHERE seat = 'G2' RETURNING data;
INSERT INTO hall_1 (seat, guest) VALUES ('G2', 'moritz') ON CONFLICT (seat) DO UPDATE SET guest = EXCLUDED.guest RETURNING data;
INSERT INTO hall_1 (seat, key, guest) VALUES ('G2', 'hall 1', 'bolte') ON CONFLICT (key, seat) DO UPDATE SET guest = EXCLUDED.guest RETURNING data;
SELECT cfp.cfp_store('hall 1', '{}', 'G4', 'seats', 'no number');
SELECT pg_temp.error('SELECT value FROM hall_1');
SELECT cfp.cfp_delete('hall 1', 'G4', 'seats') > 0 AS deleted;
-- a table with nothing bound, and one without a column for the item
CREATE FOREIGN TABLE everything (key text COLLATE "C", collection_name text COLLATE "C", item_name text COLLATE "C", guest text) SERVER cfp;
SELECT * FROM everything WHERE guest IS NOT NULL;
SELECT (SELECT count(*) FROM everything) = (SELECT count(*) FROM cfp.storage_current) AS all_of_them;
CREATE FOREIGN TABLE guests (guest text, version int) SERVER cfp OPTIONS (key 'hall 1', collection 'seats');
UPDATE guests SET guest = guest || '!' WHERE guest = 'eve' RETURNING guest;
SELECT seat, guest FROM hall_1 WHERE guest IS NOT NULL ORDER BY seat;

-- plans: what is bound is given
CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query;
END $$;
SELECT pg_temp.plan($$SELECT * FROM hall_1 WHERE seat = 'A1'$$);
SELECT pg_temp.plan($$SELECT * FROM hall_1 ORDER BY seat$$);
SELECT pg_temp.plan($$SELECT * FROM seats WHERE hall = 'hall 1' AND seat IN ('A1', 'A2')$$);
SELECT pg_temp.plan($$SELECT * FROM seats ORDER BY hall, seat$$);
SELECT pg_temp.plan($$SELECT * FROM hall_1 WHERE key = 'hall 2' AND seat = 'A1'$$);
SELECT count(*) FROM hall_1 WHERE key = 'hall 2';
SELECT pg_temp.plan($$SELECT * FROM (VALUES ('A1'), ('A2')) w (seat) JOIN hall_1 USING (seat)$$);
PREPARE seat(text) AS SELECT guest FROM hall_1 WHERE seat = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE seat('G1');
ALTER FOREIGN TABLE hall_1 OPTIONS (SET key 'hall 2');
EXECUTE seat('C1');
EXECUTE seat('G1');
ALTER FOREIGN TABLE hall_1 ALTER guest OPTIONS (ADD member 'row');
EXECUTE seat('C1');
RESET plan_cache_mode;
ALTER FOREIGN TABLE hall_1 OPTIONS (SET key 'hall 1');
ALTER FOREIGN TABLE hall_1 ALTER guest OPTIONS (DROP member);
-- altered in the transaction that reads it
BEGIN;
DECLARE c CURSOR FOR SELECT seat, guest FROM hall_1;
FETCH 1 FROM c;
SELECT pg_temp.error('ALTER FOREIGN TABLE hall_1 DROP COLUMN username');
CLOSE c;
ALTER FOREIGN TABLE hall_1 DROP COLUMN username, ADD COLUMN "row" text;
SELECT seat, guest, key, data, value, status, status_int, "row" FROM hall_1 WHERE seat = 'A1';
UPDATE hall_1 SET "row" = 'AA' WHERE seat = 'A1' RETURNING seat, "row", data;
ROLLBACK;
ANALYZE hall_1;
SELECT attname, n_distinct FROM pg_stats WHERE tablename = 'hall_1' AND attname IN ('seat', 'key') ORDER BY 1;

-- a dropped column, a table of a type, a partition
ALTER FOREIGN TABLE hall_1 DROP COLUMN status_int;
SELECT seat, guest FROM hall_1 WHERE seat = 'A1';
CREATE TABLE booked (hall text COLLATE "C", seat text COLLATE "C", guest text) PARTITION BY LIST (hall);
CREATE FOREIGN TABLE booked_1 (hall text OPTIONS (field 'key') COLLATE "C", seat text OPTIONS (field 'item_name') COLLATE "C", guest text) SERVER cfp OPTIONS (key 'hall 1', collection 'booked');
ALTER TABLE booked ATTACH PARTITION booked_1 FOR VALUES IN ('hall 1');
CREATE TABLE booked_2 PARTITION OF booked FOR VALUES IN ('hall 2');
INSERT INTO booked VALUES ('hall 1', 'A1', 'ann'), ('hall 2', 'A1', 'bob');
UPDATE booked SET guest = guest || '!' RETURNING hall, guest;
SELECT tableoid::regclass, * FROM booked ORDER BY hall;
DELETE FROM booked WHERE guest = 'ann!' RETURNING hall;
DROP TABLE booked;
-- triggers
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '% % % %', TG_WHEN, TG_OP, CASE WHEN TG_OP <> 'INSERT' THEN OLD.guest END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.guest END;
	IF TG_WHEN = 'BEFORE' AND TG_OP <> 'DELETE' THEN
		NEW.guest := upper(NEW.guest);
	END IF;
	RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER before BEFORE INSERT OR UPDATE OR DELETE ON hall_1 FOR EACH ROW EXECUTE FUNCTION told();
CREATE TRIGGER after AFTER INSERT OR UPDATE OR DELETE ON hall_1 FOR EACH ROW EXECUTE FUNCTION told();
INSERT INTO hall_1 (seat, guest) VALUES ('T1', 'tom') RETURNING guest;
UPDATE hall_1 SET guest = 'tim' WHERE seat = 'T1' RETURNING guest, data;
DELETE FROM hall_1 WHERE seat = 'T1' RETURNING guest;
DROP TRIGGER before ON hall_1;
DROP TRIGGER after ON hall_1;
DROP FUNCTION told();

-- rights: those on the table, of who uses it; the owner's on storage_current
CREATE ROLE theatre;
CREATE ROLE tenant;
GRANT USAGE ON SCHEMA cfp TO theatre, tenant;
SET ROLE theatre;
SELECT pg_temp.error('CREATE FOREIGN TABLE pg_temp.mine (item_name text) SERVER cfp');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER cfp TO theatre;
CREATE SCHEMA theatre AUTHORIZATION theatre;
SET ROLE theatre;
CREATE FOREIGN TABLE theatre.hall (item_name text COLLATE "C", guest text) SERVER cfp OPTIONS (key 'hall 1', collection 'seats');
SELECT pg_temp.error('SELECT * FROM theatre.hall');
SELECT pg_temp.error($$INSERT INTO theatre.hall VALUES ('R1', 'rob')$$);
RESET ROLE;
GRANT SELECT, INSERT, UPDATE ON cfp.storage_current TO theatre;
SET ROLE theatre;
INSERT INTO theatre.hall VALUES ('R1', 'rob') RETURNING *;
GRANT USAGE ON SCHEMA theatre TO tenant;
GRANT SELECT, UPDATE, DELETE ON theatre.hall TO tenant;
SET ROLE tenant;
SELECT * FROM theatre.hall WHERE item_name = 'R1';
UPDATE theatre.hall SET guest = 'ron' WHERE item_name = 'R1' RETURNING *;
SELECT pg_temp.error($$INSERT INTO theatre.hall VALUES ('R2', 'rob')$$);
SELECT pg_temp.error($$DELETE FROM theatre.hall WHERE item_name = 'R1'$$);
SELECT pg_temp.error($$SELECT cfp.cfp_get('hall 1', 'R1', 'seats')$$);
SELECT pg_temp.error($$ALTER FOREIGN TABLE theatre.hall OPTIONS (SET key 'hall 2')$$);
RESET ROLE;
REVOKE UPDATE ON cfp.storage_current FROM theatre;
SET ROLE theatre;
SELECT pg_temp.error($$INSERT INTO theatre.hall AS h VALUES ('R1', 'rob') ON CONFLICT (item_name) DO UPDATE SET guest = 'x'$$);
SELECT pg_temp.error($$UPDATE theatre.hall SET guest = 'x'$$);
RESET ROLE;
DROP OWNED BY theatre, tenant;
DROP ROLE theatre, tenant;

-- options that are wrong
SELECT pg_temp.error($$CREATE FOREIGN TABLE other (a int) SERVER cfp OPTIONS (a 'b')$$);
SELECT pg_temp.error($$CREATE FOREIGN TABLE other (a int OPTIONS (b 'c')) SERVER cfp$$);
SELECT pg_temp.error($$CREATE FOREIGN TABLE other (a int OPTIONS (field 'c')) SERVER cfp$$);
SELECT pg_temp.error($$CREATE FOREIGN TABLE other (a int OPTIONS (field 'version', member 'v')) SERVER cfp$$);
SELECT pg_temp.error($$CREATE FOREIGN TABLE other (a int OPTIONS (null 'maybe')) SERVER cfp$$);
SELECT pg_temp.error(format($$CREATE FOREIGN TABLE other (a int) SERVER cfp OPTIONS (key %L)$$, repeat('k', 2001)));
CREATE FOREIGN TABLE other (version bigint) SERVER cfp;
SELECT pg_temp.error('SELECT * FROM other');
ALTER FOREIGN TABLE other ALTER version OPTIONS (member 'version');
SELECT count(*) > 0 AS some FROM other;
ALTER FOREIGN TABLE other ADD v text OPTIONS (member 'version');
SELECT pg_temp.error('SELECT * FROM other');
ALTER FOREIGN TABLE other ALTER v OPTIONS (DROP member, ADD field 'username'), ADD username text;
SELECT pg_temp.error('SELECT * FROM other');
DROP FOREIGN TABLE other;
SELECT pg_temp.error('TRUNCATE seats');

-- IMPORT FOREIGN SCHEMA
SELECT cfp.cfp_store('shop', '{"price": 1, "name": "pen", "on sale": true, "sizes": [1, 2], "tags": ["a"], "none": null, "parts": {"a": 1}, "mixed": 1, "key": "k"}', 'p1', 'Products', 3);
SELECT cfp.cfp_store('shop', '{"price": 1.50, "name": "ink", "sizes": [2.5], "tags": [], "mixed": "one", "status": "new", "big": 12345678901234567890}', 'p2', 'Products');
SELECT cfp.cfp_store('shop', '{}', 'c', 'carts');
SELECT cfp.cfp_store('shop', '{"a": 1}', 'c', '');
SELECT cfp.cfp_store('shop', '{"a": 1}', 'c', repeat('long ', 20));
CREATE SCHEMA app;
IMPORT FOREIGN SCHEMA shop FROM SERVER cfp INTO app;
SELECT c.relname, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || coalesce(' ' || a.attfdwoptions::text, ''), ', ' ORDER BY attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 WHERE relnamespace = 'app'::regnamespace AND relkind = 'f' GROUP BY 1 ORDER BY 1;
SELECT item_name, price, "on sale", sizes, tags, parts, mixed, key_member, value, status, big FROM app."Products";
UPDATE app."Products" SET price = price, name = name, sizes = sizes, tags = tags, mixed = mixed, key_member = key_member || '!';
SELECT item_name, data FROM cfp.storage_current WHERE key = 'shop' AND collection_name = 'Products';
CREATE SCHEMA other;
IMPORT FOREIGN SCHEMA shop LIMIT TO (carts) FROM SERVER cfp INTO other OPTIONS (prefix '');
IMPORT FOREIGN SCHEMA shop EXCEPT ("x_Products", x_shop) FROM SERVER cfp INTO other OPTIONS (prefix 'x_', sample '1');
SELECT relname FROM pg_class WHERE relnamespace = 'other'::regnamespace AND relkind = 'f' ORDER BY 1;
IMPORT FOREIGN SCHEMA nothing FROM SERVER cfp INTO other;
SELECT pg_temp.error($$IMPORT FOREIGN SCHEMA shop FROM SERVER cfp INTO other OPTIONS (a 'b')$$);
SELECT pg_temp.error($$IMPORT FOREIGN SCHEMA shop FROM SERVER cfp INTO other OPTIONS (sample 'few')$$);
SELECT pg_temp.error($$IMPORT FOREIGN SCHEMA shop FROM SERVER cfp INTO other OPTIONS (sample '-1')$$);
-- more members than a table has columns
SELECT cfp.cfp_store('wide', (SELECT jsonb_object_agg('m' || n, n) FROM generate_series(1, 2000) n), 'i', 'wide') > 0 AS stored;
IMPORT FOREIGN SCHEMA wide FROM SERVER cfp INTO other;
SELECT count(*) FROM pg_attribute WHERE attrelid = 'other.wide'::regclass AND attnum > 0;
-- names that are hostile
SELECT cfp.cfp_store('it''s "a\key"', '{"it''s a \"member\"": 1, "": 2}', 'i', 'it''s "a\collection"') > 0 AS stored;
IMPORT FOREIGN SCHEMA "it's ""a\key""" FROM SERVER cfp INTO other;
SELECT item_name, member, "it's a ""member""", version FROM other."it's ""a\collection""";
-- which the extension cannot be dropped with
SELECT pg_temp.error('DROP EXTENSION cfp');
SET client_min_messages = warning;
DROP SCHEMA app, other CASCADE;
RESET client_min_messages;
DROP FOREIGN TABLE seats, hall_1, everything, guests;
DROP TYPE place;
DROP DOMAIN positive;
