# What a transaction holds until it commits: memory, whatever it stores and
# however it nests; and what code of the user's own does while the records are
# written at COMMIT, in triggers, checks and index expressions.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = cfp_node('main', 'cfp.cache_size = 64MB', 'max_wal_size = 4GB', 'fsync = off',
	'max_prepared_transactions = 2');
cfp_install($node);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

#
# Memory: at most 64 MB of records, and so many bytes beside for each.
#

my $memory = 'SELECT sum(total_bytes) FROM pg_backend_memory_contexts';

# A transaction that stores so many records: how much its session grew by, and
# that all of it is there after the commit.  $stores may have several statements.
sub memory_ok
{
	my ($what, $records, $bytes_each, $stores, $key) = @_;
	my $session = connect_node($node);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$session->do(q{SELECT cfp_store('memory', '{}', 'first', 'c')});
	my $before = $session->selectrow_array($memory);
	$session->begin_work;
	$session->do($_) foreach ref $stores ? @$stores : $stores;
	my $grown = $session->selectrow_array($memory) - $before;
	$session->commit;
	my $after = $session->selectrow_array($memory) - $before;
	$session->disconnect;

	# 8 MB: what the session itself needs
	my $allowed = (64 + 8) * 1024 * 1024 + $records * $bytes_each;
	cmp_ok($grown, '<=', $allowed, "$what: memory of " . int($grown / 1024 / 1024) . ' MB');
	cmp_ok($after, '<=', 4 * 1024 * 1024, "$what: given back");
	is(sql("SELECT count(*) FROM storage_history WHERE key = '$key'"), $records, "$what: all are there")
	  if defined $key;
	return;
}

my $five_kb = q{repeat('x', 5000)};

memory_ok('one item of 5 kB', 20_000, 100,
	"SELECT count(cfp_store('large', '{}', 'i', 'c', $five_kb)) FROM generate_series(1, 20000)", 'large');
memory_ok('one small item', 400_000, 100,
	q{SELECT count(cfp_store('small', '{}', 'i', 'c')) FROM generate_series(1, 400000)}, 'small');
memory_ok('new items', 400_000, 300,
	q{SELECT count(cfp_store('new', '{}', 'item ' || n, 'c')) FROM generate_series(1, 400000) n}, 'new');
memory_ok('a few items by turns', 300_000, 100,
	q{SELECT count(cfp_store('turns', '{}', (n % 100)::text, (n % 7)::text)) FROM generate_series(1, 300000) n}, 'turns');
memory_ok('savepoints in savepoints', 20_000, 100, [
	map {; "SAVEPOINT s$_", "SELECT count(cfp_store('deep', '{}', 'i', 'c', $five_kb)) FROM generate_series(1, 1000)" } 1 .. 20],
	'deep');
memory_ok('released savepoints', 20_000, 100, [
	map {; 'SAVEPOINT s', "SELECT count(cfp_store('released', '{}', 'i', 'c', $five_kb)) FROM generate_series(1, 1000)", 'RELEASE s' } 1 .. 20],
	'released');
memory_ok('exception blocks', 20_000, 100, qq{
	DO \$\$ BEGIN
		FOR n IN 1 .. 20000 LOOP
			BEGIN
				PERFORM cfp_store('blocks', '{}', (n % 10)::text, 'c', $five_kb);
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
		END LOOP;
	END \$\$}, 'blocks');

# Small records that stay must not keep the memory of large ones that go.
memory_ok('exception blocks that fail', 20_000, 100, qq{
	DO \$\$ BEGIN
		FOR n IN 1 .. 20000 LOOP
			PERFORM cfp_store('failing', '{}', 'stays', 'c');
			BEGIN
				PERFORM cfp_store('failing', '{}', 'goes ' || n, 'c', repeat('x', 20000));
				PERFORM 1 / 0;
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
		END LOOP;
	END \$\$}, 'failing');
memory_ok('batches', 20_000, 100, qq{
	DO \$\$ BEGIN
		FOR n IN 1 .. 20 LOOP
			PERFORM cfp_store_many('batches', (SELECT jsonb_object_agg(i, jsonb_build_object('value', $five_kb))
				FROM generate_series(1, 1000) i), 'c');
		END LOOP;
	END \$\$}, 'batches');
memory_ok('storage_current', 20_400, 100, [
	"INSERT INTO storage_current (key, collection_name, item_name, data, value_string) SELECT 'view', 'c', n % 1000, '{}', $five_kb FROM generate_series(1, 20000) n",
	q{DO $$ BEGIN
		FOR n IN 0 .. 199 LOOP
			UPDATE storage_current SET data = '{"a": 1}' WHERE key = 'view' AND collection_name = 'c' AND item_name = n::text;
			DELETE FROM storage_current WHERE key = 'view' AND collection_name = 'c' AND item_name = n::text;
		END LOOP;
	END $$}], 'view');

# Each is written as it comes.
memory_ok('very large records', 3, 12_000_000,
	q{SELECT count(cfp_store('huge', '{}', n::text, 'c', repeat('x', 50000000))) FROM generate_series(1, 3) n}, 'huge');
is(sql(q{SELECT count(*) FROM cfp_items('turns', '1')}), '100', 'all items are read');
is(sql(q{SELECT (cfp_get('failing', 'stays', 'c') ->> 'version')::int, cfp_get('failing', 'goes 20000', 'c') IS NULL}), '20000|t', 'and what was rolled back is not');

#
# Records written early, then superseded, rolled back, superseded again.
#
sql(q{TRUNCATE storage_history, storage_latest});
my $written = "SELECT count(cfp_store('filler', '{}', 'i', 'c', repeat('x', 20000))) FROM generate_series(1, 3500)";
foreach my $end ('COMMIT', 'ROLLBACK')
{
	my $session = connect_node($node);
	my $read = q{SELECT cfp_get_value('early', 'i', 'c')::text || ' ' ||
		(SELECT value FROM storage_current WHERE key = 'early' AND item_name = 'i')::text || ' ' ||
		(cfp_get_collection('early', 'c') -> 'i' -> 'value')::text || ' ' ||
		(SELECT string_agg(value_int::text, ',' ORDER BY version) FROM cfp_history('early', 'i', 'c'))};

	$session->do(q{SELECT cfp_store('early', '{}', 'i', 'c', 0)});
	my $kept = $session->selectrow_array(q{SELECT string_agg(value_int::text, ',' ORDER BY version) FROM cfp_history('early', 'i', 'c')});
	$session->begin_work;
	$session->do(q{SELECT cfp_store('early', '{}', 'i', 'c', 1)});
	$session->do($written);
	is($session->selectrow_array($read), "1 1 1 $kept,1", "$end: written early");
	$session->do('SAVEPOINT a');
	$session->do(q{SELECT cfp_store('early', '{}', 'i', 'c', 2)});
	is($session->selectrow_array($read), "2 2 2 $kept,1,2", "$end: another above it");
	$session->do('ROLLBACK TO a');
	is($session->selectrow_array($read), "1 1 1 $kept,1", "$end: rolled back");
	ok(eval { $session->do(q{SAVEPOINT b; SELECT cfp_store('early', '{}', 'i', 'c', 3, expected_version => (cfp_get('early', 'i', 'c') ->> 'version')::int)}); 1 },
		"$end: a condition on what is not in memory") or diag($session->errstr);
	$session->do($written);
	$session->do('ROLLBACK TO b');
	is($session->selectrow_array($read), "1 1 1 $kept,1", "$end: rolled back after it was written");
	$session->do($written);
	is($session->selectrow_array($read), "1 1 1 $kept,1", "$end: as it was");
	$session->do($end);
	$session->disconnect;
	is(sql($read), $end eq 'COMMIT' ? "1 1 1 $kept,1" : "0 0 0 $kept", "$end: and after it");
	seen_ok($node, "$end: all agree");
}
sql(q{DELETE FROM storage_history WHERE key = 'filler'});

#
# A cursor reads what was stored before it was opened, wherever that is.
#
{
	my $session = connect_node($node);

	$session->begin_work;
	$session->do(q{SELECT cfp_store('cursor', '{}', 'i', 'c', 1)});
	$session->do(q{DECLARE before_it CURSOR FOR SELECT value_int FROM storage_current WHERE key = 'cursor'});
	$session->do(q{SELECT cfp_store('cursor', '{}', 'i', 'c', 2)});
	$session->do($written);
	$session->do(q{SELECT cfp_store('cursor', '{}', 'i', 'c', 3)});
	is($session->selectrow_array('FETCH before_it'), '1', 'a cursor sees what was stored before it');
	$session->rollback;
	$session->disconnect;
}

#
# Code of the user's own that is run at COMMIT: as that of a deferred trigger
# on an ordinary table.
#
sql(q{
CREATE TABLE held_rows (n int);
-- an open cursor that has sorted on disk, one to be held, and other things that a transaction's end looks after
CREATE FUNCTION leave_it_open(what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	left_open refcursor := NULL;
	held refcursor := 'held';
	n bigint;
BEGIN
	-- not while an index is built
	IF current_setting('test.leave', true) IS DISTINCT FROM 'on' THEN
		RETURN what;
	END IF;
	SET LOCAL work_mem = '64kB';
	OPEN left_open FOR SELECT g FROM generate_series(1, 50000) g ORDER BY g DESC;
	FETCH left_open INTO n;
	IF NOT EXISTS (SELECT FROM pg_cursors WHERE name = 'held') THEN
		EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT g FROM generate_series(1, 50000) g ORDER BY g DESC';
		FETCH held INTO n;
	END IF;
	CREATE TEMP TABLE IF NOT EXISTS emptied (n bigint) ON COMMIT DELETE ROWS;
	INSERT INTO emptied VALUES (n);
	PERFORM lo_open(lo_create(0), 131072);
	NOTIFY stored;
	RETURN what;
END $$;
CREATE FUNCTION leave_open(what text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN public.leave_it_open(what);
END $$;
CREATE FUNCTION leaving() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.leave_open(NEW.key);
	RETURN NULL;
END $$;
CREATE PROCEDURE store_and_commit() LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT g FROM generate_series(1, 3) g LOOP
		PERFORM cfp_store('code', '{}', 'of a procedure', 'c', r.g);
		COMMIT;
	END LOOP;
END $$});

my $trigger = 'TRIGGER leaving AFTER INSERT ON storage_history';
my $each_row = 'FOR EACH ROW EXECUTE FUNCTION leaving()';
my %code = (
	'a trigger' => [ "CREATE $trigger $each_row", 'DROP TRIGGER leaving ON storage_history' ],
	'a deferred trigger' => [ "CREATE CONSTRAINT $trigger DEFERRABLE INITIALLY DEFERRED $each_row", 'DROP TRIGGER leaving ON storage_history' ],
	'an expression index' => [ 'CREATE INDEX leaving ON storage_history (leave_open(status))', 'DROP INDEX leaving' ],
	'a partial index' => [ 'CREATE INDEX leaving ON storage_history (status) WHERE leave_open(key) IS NOT NULL', 'DROP INDEX leaving' ],
	'a check' => [ 'ALTER TABLE storage_history ADD CONSTRAINT leaving CHECK (leave_open(key) IS NOT NULL) NOT VALID', 'ALTER TABLE storage_history DROP CONSTRAINT leaving' ]);

my %stores = (
	'a statement' => [q{SELECT cfp_store('code', '{}', 'i', 'c', 1)}],
	'a block' => [ 'BEGIN', q{SELECT cfp_store('code', '{}', 'i', 'c', 2)}, 'SAVEPOINT a', q{SELECT cfp_store('code', '{}', 'j', 'c', 1)}, 'COMMIT' ],
	'CLOSE ALL' => [ 'BEGIN', q{SELECT cfp_store('code', '{}', 'i', 'c', 3)}, 'SAVEPOINT a', 'CLOSE ALL',
		'ROLLBACK TO a', q{SELECT cfp_store('code', '{}', 'i', 'c', 4)}, 'COMMIT' ],
	'a procedure' => ['CALL store_and_commit()'],
	'an early write' => [ 'BEGIN', q{SELECT count(cfp_store('code', '{}', 'large', 'c', repeat('x', 20000000))) FROM generate_series(1, 4)}, 'COMMIT' ]);

sub leaving_session
{
	my $session = connect_node($node);

	$session->do('SET test.leave = on');
	$session->do('LISTEN stored');
	$session->do('CREATE TEMP TABLE emptied (n bigint) ON COMMIT DELETE ROWS');
	return $session;
}

# What the session finds after the stores of one kind.
sub left_behind
{
	my ($session, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($session->selectrow_array(q{SELECT string_agg(name, ',') FROM pg_cursors}), 'held', "$what: the cursor WITH HOLD alone is left");
	is(join(',', map { $_->[0] } @{ $session->selectall_arrayref('FETCH 2 FROM held') }), '49999,49998', "$what: and goes on");
	is($session->selectrow_array('SELECT count(*) FROM emptied'), '0', "$what: ON COMMIT DELETE ROWS");
	ok($session->pg_notifies, "$what: NOTIFY");
	1 while $session->pg_notifies;
	$session->do('CLOSE ALL');
	return;
}

foreach my $what (sort keys %code)
{
	my ($make, $drop) = @{ $code{$what} };
	my $session;

	sql($make);
	foreach my $how (sort keys %stores)
	{
		$session = leaving_session();
		ok(eval { $session->do($_) foreach @{ $stores{$how} }; 1 }, "$what, $how") or diag($session->errstr);
		left_behind($session, "$what, $how");
		$session->disconnect;
	}
	sql($drop);

	# Made by the transaction that has stored.
	next if $what eq 'a deferred trigger';
	$session = leaving_session();
	$session->begin_work;
	$session->do(q{SELECT cfp_store('code', '{}', 'i', 'c', 5)});
	$session->do('SET test.leave = off');
	$session->do('SAVEPOINT a');
	$session->do($make);
	$session->do('ROLLBACK TO a');
	$session->do($make);
	$session->do('SET test.leave = on');
	ok(eval { $session->commit; 1 }, "$what, made after the store") or diag($session->errstr);
	left_behind($session, "$what, made after the store");
	$session->disconnect;
	sql($drop);
}
sql(q{DELETE FROM storage_history WHERE item_name = 'large'});
seen_ok($node, 'all agree after code of all kinds');

# An index that becomes ready between a store and its COMMIT.
foreach my $of ('status', 'upper(status)')
{
	my ($first, $second, $builder) = map { connect_node($node) } 1 .. 3;
	my $built = q{SELECT count(*) = 1 FROM pg_index WHERE indexrelid = to_regclass('cfp.built') AND indisready = };

	$first->begin_work;
	$first->do(q{SELECT cfp_store('concurrent', '{"status": "b"}', 'first', 'c')});
	$builder->do("CREATE INDEX CONCURRENTLY built ON storage_history ($of)", { pg_async => 1 });
	wait_true($node, $built . 'false');
	$second->begin_work;
	$second->do(q{SELECT cfp_store('concurrent', '{"status": "b"}', 'second', 'c')});
	$first->commit;
	wait_true($node, $built . 'true');
	ok(eval { $second->commit; 1 }, "a store while an index on $of is built") or diag($second->errstr);
	ok(succeeded($builder), "and the building of the index on $of");
	is(sql(qq{SET enable_seqscan = off; SELECT count(*) FROM storage_history WHERE $of = } . ($of eq 'status' ? q{'b'} : q{'B'})),
		sql(q{SELECT count(*) FROM storage_history WHERE key = 'concurrent'}), "which has all rows");
	$_->disconnect foreach $first, $second, $builder;
	sql('DROP INDEX built');
}

# Deferred code may store, and queue more that is deferred; immediate may not.
sql(q{
CREATE TABLE noted (key text, n bigint);
CREATE FUNCTION store_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM cfp_store('more', '{}', NEW.key, 'c', NEW.n);
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER store_it AFTER INSERT ON noted DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION store_it();
CREATE FUNCTION note_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.key = 'chain' THEN
		INSERT INTO noted VALUES (NEW.item_name, NEW.value_int);
	ELSIF NEW.key = 'more' AND NEW.value_int = 13 THEN
		RAISE 'unlucky';
	ELSIF NEW.key = 'immediate' THEN
		PERFORM cfp_store('more', '{}', 'i', 'c', 1);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER note_it AFTER INSERT ON storage_history FOR EACH ROW EXECUTE FUNCTION note_it()});
sql(q{SELECT cfp_store('chain', '{}', 'i', 'c', 7)});
is(sql(q{SELECT cfp_get_value('more', 'i', 'c'), (SELECT count(*) FROM storage_history WHERE key = 'more')}), '7|1', 'a deferred trigger stores');
state_is($node, 'postgres', q{SELECT cfp_store('chain', '{}', 'k', 'c', 13)}, 'P0001', qr/unlucky/, 'an error in what it has stored');
state_is($node, 'postgres', q{SELECT cfp_store('immediate', '{}', 'k', 'c', 1)}, '55000', qr/cannot store in a trigger/, 'an immediate one does not');
is(sql(q{SELECT count(*) FROM storage_history WHERE item_name = 'k'}), '0', 'nothing is left of either');
state_is($node, 'postgres', q{BEGIN; SELECT cfp_store('chain', '{}', 'k', 'c', 1); PREPARE TRANSACTION 'p'}, '0A000', qr/PREPARE/, 'PREPARE TRANSACTION');
sql('DROP TRIGGER note_it ON storage_history');
seen_ok($node, 'all agree after deferred stores');

# What a security-restricted operation stores would be written outside of it.
sql(q{
CREATE FUNCTION store_number(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM cfp.cfp_store('restricted', '{}', 'i', 'c', n);
	RETURN n;
END $$;
CREATE TABLE numbers AS SELECT 1 AS n;
CREATE TRIGGER note_it AFTER INSERT ON storage_history FOR EACH ROW EXECUTE FUNCTION note_it()});
state_is($node, 'postgres', 'CREATE INDEX ON numbers (store_number(n))', '42501', qr/security-restricted.*DETAIL/s, 'a store in an index build');
sql('DROP TRIGGER note_it ON storage_history');
sql('CREATE INDEX ON numbers (store_number(n))');
is(sql(q{SELECT cfp_get_value('restricted', 'i', 'c')}), '1', 'which stores where nothing of the kind is');

# On another server, whose transaction ends with ours.
SKIP:
{
	skip 'no postgres_fdw', 4 unless sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'});
	my ($host, $port) = ($node->host, $node->port);

	sql(qq{
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER itself;
	CREATE TABLE there (n bigint);
	CREATE FOREIGN TABLE here (n bigint) SERVER itself OPTIONS (table_name 'there');
	CREATE FUNCTION send_it() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO here VALUES (NEW.value_int);
		RETURN NULL;
	END \$\$;
	CREATE TRIGGER send_it AFTER INSERT ON storage_history FOR EACH ROW EXECUTE FUNCTION send_it()});
	my $session = connect_node($node);
	ok(eval { $session->do(q{SELECT cfp_store('fdw', '{}', 'i', 'c', 1)}); 1 }, 'a trigger that writes to a foreign table') or diag($session->errstr);
	ok(eval { $session->begin_work; $session->do(q{SELECT cfp_store('fdw', '{}', 'i', 'c', 2)}); $session->do('SELECT * FROM here'); $session->commit; 1 },
		'in a transaction that has read it') or diag($session->errstr);
	$session->disconnect;
	is(sql('SELECT string_agg(n::text, $$,$$ ORDER BY n) FROM there'), '1,2', 'both are there');
	state_is($node, 'postgres', q{BEGIN; SELECT cfp_store('fdw', '{}', 'i', 'c', 3); ROLLBACK; SELECT count(*) FROM there WHERE n = 3}, '00000', undef, 'a rollback');
	sql('DROP TRIGGER send_it ON storage_history');
}
seen_ok($node, 'all agree after a foreign table');

#
# A foreign key to a storage table could not hold: it is refused, whatever makes it.
#
sql(q{
CREATE TABLE referring (key text COLLATE "C", collection_name text COLLATE "C", item_name text COLLATE "C", version int);
CREATE TABLE parted (LIKE storage_history) PARTITION BY LIST (key);
ALTER TABLE parted ADD PRIMARY KEY (key, collection_name, item_name, version)});
my $item = 'key, collection_name, item_name';
foreach my $refused (
	"CREATE TABLE r (key text, collection_name text, item_name text, version int, FOREIGN KEY ($item, version) REFERENCES storage_history DEFERRABLE INITIALLY DEFERRED)",
	"CREATE TABLE r (key text, collection_name text, item_name text, FOREIGN KEY ($item) REFERENCES storage_latest ON DELETE CASCADE)",
	"ALTER TABLE referring ADD FOREIGN KEY ($item, version) REFERENCES storage_history",
	"ALTER TABLE referring ADD FOREIGN KEY ($item) REFERENCES storage_latest NOT VALID",
	"CREATE SCHEMA r CREATE TABLE r (key text, collection_name text, item_name text, FOREIGN KEY ($item) REFERENCES cfp.storage_latest)",
	q{DO $$ BEGIN EXECUTE 'ALTER TABLE referring ADD FOREIGN KEY (key, collection_name, item_name) REFERENCES storage_latest'; END $$},
	"ALTER TABLE referring ADD FOREIGN KEY ($item, version) REFERENCES parted; ALTER TABLE parted ATTACH PARTITION storage_history DEFAULT")
{
	state_is($node, 'postgres', "BEGIN; $refused", '0A000', qr/cannot reference "storage_.*HINT/s, ($refused =~ s/^(.{50}).*/$1/sr));
}
sql('DROP TABLE parted');
sql(q{CREATE TABLE referred (n int PRIMARY KEY); ALTER TABLE referring ADD FOREIGN KEY (version) REFERENCES referred});
sql('ALTER TABLE storage_latest ADD CONSTRAINT known FOREIGN KEY (version) REFERENCES referred NOT VALID');
sql('ALTER TABLE storage_latest DROP CONSTRAINT known');
pass('foreign keys between others, and of the storage tables, are not');

# One that was made while the library was not loaded.
sql(q{SELECT cfp_store('prune', '{}', 'i', 'c', n) FROM generate_series(1, 3) n; SELECT cfp_fold()});
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->restart;
sql("ALTER TABLE referring DROP CONSTRAINT referring_version_fkey; ALTER TABLE referring ADD CONSTRAINT of_record FOREIGN KEY ($item, version) REFERENCES storage_history");
$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'cfp'});
$node->restart;
wait_worker($node);
state_is($node, 'postgres', $_, '55000', qr/foreign key "of_record" of table "referring" references "storage_history".*HINT/s, $_)
  foreach q{SELECT cfp_prune_history(now())}, q{SELECT cfp_restore_backup('2020-01-01')};
sql('ALTER TABLE referring DROP CONSTRAINT of_record');
is(sql(q{SELECT cfp_prune_history(now(), key => 'prune') > 0}), 't', 'without it it prunes');

$node->stop;
log_ok($node, qr/ERROR:  (?:division by zero|unlucky|cannot store|cannot PREPARE|a foreign key cannot|.*foreign key "of_record")/);
done_testing();
