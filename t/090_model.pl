# Random operations of several sessions, done with cfp and with a plain table
# in the same transactions: PostgreSQL's own visibility is the oracle.  Every
# read compares cfp with the plain table in one statement, under one snapshot.
#
# What the worker and the jobs do to the history is not in any session's
# transaction: triggers on it do the same to the plain table, after they have
# checked that it may be done.  Between two rounds nobody stores; then a backup
# is made, or the tables go back to one.
#
# CFP_MODEL_SEED repeats a run (as far as the timing of sessions that wait
# for each other allows), CFP_MODEL_SECONDS sets how long it takes,
# CFP_MODEL_WITHOUT names operations (op_...) and steps (step_...) to leave out.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use List::Util qw(first shuffle);
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{CFP_MODEL_SEED} // (int(time) ^ ($$ << 8)) & 0x7fffffff;
my $seconds = $ENV{CFP_MODEL_SECONDS} // 40;
my %without = map { $_ => 1 } split /[ ,]+/, $ENV{CFP_MODEL_WITHOUT} // '';
my $sessions = 6;
my $longest_wait = 120;

diag("seed $seed: CFP_MODEL_SEED=$seed CFP_MODEL_SECONDS=$seconds repeats this run");
srand($seed);

my @names = map { my $key = $_; map { [ $key, $_ ] } 'a', 'b', 'c' } 'k1', 'k2';
my @items = map { "item$_" } 0 .. 7;

my $node = cfp_node('main', 'deadlock_timeout = 20ms', 'cfp.flush_interval = 100ms',
	'log_statement = none', 'restart_after_crash = on', 'cfp.retain_days = 0');
cfp_install($node);
$node->safe_psql('postgres', q{
CREATE SCHEMA model;
CREATE TABLE model.record (
	key text, collection text, item text COLLATE "C", version int,
	value bigint,	-- NULL: deleted
	level text,		-- isolation level, or conditional, none, hand, rebuilt
	seen int,		-- the version it was stored on top of
	txid xid8 DEFAULT pg_current_xact_id(),
	PRIMARY KEY (key, collection, item, version));

-- what cfp_prune_history has removed
CREATE FOREIGN TABLE model.typed (k text OPTIONS (field 'key') COLLATE "C", c text OPTIONS (field 'collection_name') COLLATE "C",
	i text OPTIONS (field 'item_name') COLLATE "C", value bigint, version int) SERVER cfp;
CREATE TABLE model.pruned AS TABLE model.record;
-- all that was ever stored, whatever became of it
CREATE TABLE model.given (
	id bigint GENERATED ALWAYS AS IDENTITY,
	key text, collection text, item text COLLATE "C", version int, value bigint, by_hand bool);
CREATE INDEX ON model.given (key, collection, item, version);
-- the same, by a trigger of a user on the history while there is one
CREATE TABLE model.noted AS SELECT key, collection, item, version, value FROM model.record;
-- the state at each backup
CREATE TABLE model.kept AS SELECT date '-infinity' AS date, * FROM model.record;

CREATE FUNCTION model.give() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.level <> 'rebuilt' THEN
		INSERT INTO model.given (key, collection, item, version, value, by_hand)
		VALUES (NEW.key, NEW.collection, NEW.item, NEW.version, NEW.value, NEW.level = 'hand');
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER give AFTER INSERT ON model.record FOR EACH ROW EXECUTE FUNCTION model.give();

-- A row that somebody else than a session removes: it must be superseded, or a
-- tombstone with nothing below.
CREATE FUNCTION model.prune() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	r model.record;
BEGIN
	SELECT * INTO r FROM model.record
	WHERE (key, collection, item, version) = (OLD.key, OLD.collection_name, OLD.item_name, OLD.version);
	IF current_setting('application_name') <> 'model session' THEN
		IF r IS NOT DISTINCT FROM NULL::model.record
			OR NOT EXISTS (SELECT FROM model.record WHERE (key, collection, item) = (r.key, r.collection, r.item) AND version > r.version)
				AND (r.value IS NOT NULL OR EXISTS (SELECT FROM model.record WHERE (key, collection, item) = (r.key, r.collection, r.item) AND version < r.version)) THEN
			RAISE EXCEPTION 'pruned: % beside %', OLD, r;
		END IF;
		INSERT INTO model.pruned VALUES (r.*);
	END IF;
	DELETE FROM model.record
	WHERE (key, collection, item, version) = (OLD.key, OLD.collection_name, OLD.item_name, OLD.version);
	RETURN NULL;
END $$;
CREATE TRIGGER model_prune AFTER DELETE ON storage_history FOR EACH ROW WHEN (OLD.key <> 'filler') EXECUTE FUNCTION model.prune();
ALTER TABLE storage_history ENABLE ALWAYS TRIGGER model_prune;

-- A row that somebody else than a session inserts: it was stored once.
CREATE FUNCTION model.rebuild() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM model.given WHERE (key, collection, item, version) = (NEW.key, NEW.collection_name, NEW.item_name, NEW.version)
			AND value IS NOT DISTINCT FROM NEW.value_int) THEN
		RAISE EXCEPTION 'rebuilt, but never stored: %', NEW;
	END IF;
	INSERT INTO model.record (key, collection, item, version, value, level)
	VALUES (NEW.key, NEW.collection_name, NEW.item_name, NEW.version, NEW.value_int, 'rebuilt');
	RETURN NULL;
END $$;
CREATE TRIGGER model_rebuild AFTER INSERT ON storage_history FOR EACH ROW
WHEN (NEW.key <> 'filler' AND current_setting('application_name') <> 'model session') EXECUTE FUNCTION model.rebuild();
ALTER TABLE storage_history ENABLE ALWAYS TRIGGER model_rebuild;

-- Triggers of a user: one notes each record, one reads it while it is committed.
CREATE FUNCTION model.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO model.noted VALUES (NEW.key, NEW.collection_name, NEW.item_name, NEW.version, NEW.value_int);
	RETURN NULL;
END $$;
CREATE FUNCTION model.look() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	v int := (SELECT version FROM cfp_items(NEW.key, NEW.collection_name, NEW.item_name, NEW.item_name, NULL, true));
BEGIN
	-- by hand a record may come and go in one transaction
	IF (v IS NULL OR v < NEW.version)
		AND EXISTS (SELECT FROM cfp_history(NEW.key, NEW.item_name, NEW.collection_name) WHERE version = NEW.version) THEN
		RAISE EXCEPTION 'commits %, but sees version %', NEW, v;
	END IF;
	RETURN NULL;
END $$;

-- Stores at each level of as many subtransactions, some of which fail.
CREATE FUNCTION model.deep(k text, c text, depth int, first bigint, every int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	i text := 'item' || depth % 8;
	v int := cfp_store(k, '{}', i, c, first + depth);
BEGIN
	INSERT INTO model.record (key, collection, item, version, value, level) VALUES (k, c, i, v, first + depth, 'none');
	IF depth > 1 THEN
		BEGIN
			PERFORM model.deep(k, c, depth - 1, first, every);
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END IF;
	IF depth % every = 0 THEN
		PERFORM 1 / 0;
	END IF;
END $$});

# What happened last, for the report of a mismatch.
my (@log, %count, $failed);
sub remember
{
	my ($who, $what) = @_;

	push @log, sprintf('%.3f %s %s', time, $who, $what);
	shift @log if @log > 100_000;
	return;
}

sub report
{
	my ($what) = @_;
	my $file = "$PostgreSQL::Test::Utils::log_path/model_operations";

	append_to_file($file, join("\n", @log, ''));
	diag("CFP_MODEL_SEED=$seed\n$what\nThe operations are in $file.");
	return;
}

sub mismatch
{
	my ($what) = @_;

	return if $failed;
	$failed = 1;
	fail('the model');
	report($what);
	return;
}

sub any { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

# --- what is done -----------------------------------------------------------

my $value = 0;
my $changed_by_hand = 0;	# when that was last
my @all;						# the sessions

# A newest version of the model that the statement sees, or 0.
sub newest
{
	my ($key, $collection, $item) = @_;
	return qq{coalesce((SELECT max(version) FROM model.record WHERE key = '$key' AND collection = '$collection' AND item = '$item'), 0)};
}

sub store_sql
{
	my ($session, $key, $collection, $item, $call, $level, $value, $seen) = @_;
	return qq{WITH s AS MATERIALIZED (SELECT $call AS version) }
	  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) }
	  . qq{SELECT '$key', '$collection', '$item', version, $value, '$level', $seen FROM s WHERE version IS NOT NULL RETURNING version};
}

sub op_store
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $item = any(@items);

	$value++;
	return { sql => store_sql($session, $key, $collection, $item,
			"cfp_store('$key', jsonb_build_object('v', $value), '$item', '$collection', $value)",
			$session->{level}, $value, newest($key, $collection, $item)) };
}

sub op_delete
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $item = any(@items);

	return { sql => store_sql($session, $key, $collection, $item, "cfp_delete('$key', '$item', '$collection')",
			$session->{level}, 'NULL', newest($key, $collection, $item)) };
}

# A store on top of what the statement sees.
sub op_conditional
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $item = any(@items);
	my $newest = newest($key, $collection, $item);

	$value++;
	return { sql => store_sql($session, $key, $collection, $item,
			"cfp_store('$key', jsonb_build_object('v', $value), '$item', '$collection', $value, expected_version => $newest)",
			'conditional', $value, $newest) };
}

# A store that expects absence: works exactly on absent and deleted items.
sub op_conditional_new
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $item = any(@items);
	my $newest = newest($key, $collection, $item);

	$value++;
	return { sql => store_sql($session, $key, $collection, $item,
			"cfp_store('$key', jsonb_build_object('v', $value), '$item', '$collection', $value, expected_version => 0)",
			'conditional', $value,
			"CASE WHEN (SELECT value FROM model.record WHERE key = '$key' AND collection = '$collection' AND item = '$item' ORDER BY version DESC LIMIT 1) IS NOT NULL THEN 1 / (SELECT 0 OFFSET 0) ELSE 0 END"),
		# stored over a present item: the division shows it; but a deletion
		# that the statement's snapshot does not see makes that right
		late => 1 };
}

# A store that expects a version that has been superseded: never works.
sub op_conditional_old
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $item = any(@items);
	my $newest = newest($key, $collection, $item);

	# The division tells that it has worked: right where the newest version was
	# removed by hand after the statement's snapshot.
	return { sql => qq{SELECT 1 / (0 * cfp_store('$key', '{}', '$item', '$collection', -1, expected_version => n - 1)) FROM (SELECT $newest OFFSET 0) x(n) WHERE n > 1},
		late_hand => 1 };
}

# Several items in one statement, one of them twice.
sub op_store_many
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my @chosen = (shuffle @items)[ 0 .. 3 ];

	$value += 10;
	my $list = join(', ', map { "('$chosen[$_]', $_)" } 0 .. 3, 0);
	return { sql => qq{WITH s AS MATERIALIZED (SELECT item, $value + row_number() OVER () AS value, cfp_store('$key', jsonb_build_object('v', $value), item, '$collection', $value + n + 1) AS version, $value + n + 1 AS stored FROM (VALUES $list) i(item, n)) }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) SELECT '$key', '$collection', item, version, stored, '$session->{level}', coalesce((SELECT max(version) FROM model.record r WHERE r.key = '$key' AND r.collection = '$collection' AND r.item = s.item), 0) FROM s} };
}

# A batch, some of it on top of what the statement sees.
sub op_batch
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my @chosen = (shuffle @items)[ 0 .. int(rand(@items)) ];

	$value += 10;
	my $list = join(', ', map { "('$chosen[$_]', $value + $_, @{[ chance(0.7) ? 'true' : 'false' ]}, @{[ newest($key, $collection, $chosen[$_]) ]})" } 0 .. $#chosen);
	return { sql => qq{WITH i(item, value, conditional, seen) AS MATERIALIZED (VALUES $list), }
		  . qq{s AS MATERIALIZED (SELECT cfp_store_many('$key', jsonb_object_agg(item, jsonb_build_object('value', value, 'data', jsonb_build_object('v', value), 'expected_version', CASE WHEN conditional THEN seen END)), '$collection') AS n FROM i) }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) SELECT '$key', '$collection', item, (cfp_item('$key', item, '$collection')).version, value, CASE WHEN conditional THEN 'conditional' ELSE '$session->{level}' END, seen FROM s, i} };
}

# The version of a tombstone, which no statement returns that stores several.
sub tombstone
{
	my ($key, $collection, $item) = @_;
	return "(SELECT version FROM cfp_items('$key', '$collection', $item, $item, NULL, true) WHERE value_int IS NULL)";
}

sub op_delete_collection
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };

	return { sql => qq{WITH i AS MATERIALIZED (SELECT item_name AS item FROM cfp_items('$key', '$collection')), }
		  . qq{s AS MATERIALIZED (SELECT cfp_delete_collection('$key', '$collection') AS n FROM (SELECT count(*) FROM i) c), }
		  # what another has deleted meanwhile got no second tombstone
		  . qq{t AS MATERIALIZED (SELECT item, @{[ tombstone($key, $collection, 'item') ]} AS version FROM s, i WHERE n > 0) }
		  . qq{INSERT INTO model.record (key, collection, item, version, level) }
		  . qq{SELECT '$key', '$collection', item, version, 'none' FROM t WHERE version IS NOT NULL} };
}

# A loop with an exception block around each store.
sub op_block
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };

	$value += 30;
	return { sql => qq{DO \$do\$ DECLARE v int; i text; BEGIN FOR n IN 1 .. 20 LOOP BEGIN }
		  . qq{i := 'item' || n % 8; v := cfp_store('$key', '{}', i, '$collection', $value + n); }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level) VALUES ('$key', '$collection', i, v, $value + n, 'none'); }
		  . qq{IF n % 3 = 0 THEN PERFORM 1 / 0; END IF; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END \$do\$} };
}

# More subtransactions than a snapshot has room for.
sub op_deep
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $depth = 70 + int(rand(40));
	my $every = 7 + int(rand(30));

	$depth++ if $depth % $every == 0;
	$value += 200;
	return { sql => "SELECT model.deep('$key', '$collection', $depth, $value, $every)" };
}

sub op_dive
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $levels = 20 + int(rand(60));
	my @sql;

	$value += 100;
	foreach my $n (1 .. $levels)
	{
		my $stored = $value + $n;
		my $item = any(@items);

		push @sql, 'SAVEPOINT s' . ($session->{depth} + $n);
		push @sql, store_sql($session, $key, $collection, $item, "cfp_store('$key', '{}', '$item', '$collection', $stored)", 'none', $stored, 'NULL')
		  if chance(0.5);
	}
	return { sql => join('; ', @sql), done => sub { $session->{depth} += $levels } };
}

# Through storage_current.
sub op_update_view
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $item = any(@items);

	$value++;
	return { sql => qq{WITH s AS (UPDATE storage_current SET value_int = $value WHERE key = '$key' AND collection_name = '$collection' AND item_name = '$item' RETURNING version) }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) }
		  . qq{SELECT '$key', '$collection', '$item', version, $value, 'conditional', @{[ newest($key, $collection, $item) ]} FROM s} };
}

# The newest version of the item of a row that the statement sees, or 0.
sub newest_of
{
	my ($key, $collection) = @_;
	return "coalesce((SELECT max(r.version) FROM model.record r WHERE r.key = '$key' AND r.collection = '$collection' AND r.item = item_name), 0)";
}

sub op_update_view_many
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };

	$value += 10;
	return { sql => qq{WITH s AS (UPDATE storage_current SET value = to_jsonb($value + right(item_name, 1)::int) WHERE key = '$key' AND collection_name = '$collection' RETURNING item_name, version, value_int) }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) }
		  . qq{SELECT '$key', '$collection', item_name, version, value_int, 'conditional', @{[ newest_of($key, $collection) ]} FROM s} };
}

sub op_insert_view
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my @chosen = (shuffle @items)[ 0 .. int(rand(3)) ];

	$value += 10;
	my $list = join(', ', map { "('$key', '$collection', '$chosen[$_]', '{}'::jsonb, $value + $_)" } 0 .. $#chosen);
	return { sql => qq{WITH s AS (INSERT INTO storage_current (key, collection_name, item_name, data, value_int) VALUES $list RETURNING item_name, version, value_int) }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) }
		  . qq{SELECT '$key', '$collection', item_name, version, value_int, '$session->{level}', @{[ newest_of($key, $collection) ]} FROM s} };
}

sub op_delete_view
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $items = join(', ', map { "'$_'" } (shuffle @items)[ 0 .. int(rand(@items)) ]);

	return { sql => qq{WITH s AS (DELETE FROM storage_current WHERE key = '$key' AND collection_name = '$collection' AND item_name IN ($items) RETURNING item_name) }
		  . qq{INSERT INTO model.record (key, collection, item, version, level, seen) }
		  . qq{SELECT '$key', '$collection', item_name, @{[ tombstone($key, $collection, 'item_name') ]}, 'conditional', @{[ newest_of($key, $collection) ]} FROM s} };
}

# As op_conditional_new, several at once.
sub op_insert_absent
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my @chosen = (shuffle @items)[ 0 .. int(rand(3)) ];

	$value += 10;
	my $list = join(', ', map { "('$key', '$collection', '$chosen[$_]', '{}'::jsonb, $value + $_)" } 0 .. $#chosen);
	return { sql => qq{WITH s AS (INSERT INTO storage_current (key, collection_name, item_name, data, value_int) VALUES $list ON CONFLICT DO NOTHING RETURNING item_name, version, value_int) }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) }
		  . qq{SELECT '$key', '$collection', item_name, version, value_int, 'conditional', CASE WHEN (SELECT value FROM model.record WHERE key = '$key' AND collection = '$collection' AND item = item_name ORDER BY version DESC LIMIT 1) IS NOT NULL THEN 1 / (SELECT 0 OFFSET 0) ELSE 0 END FROM s},
		late => 1 };
}

# Stores what is absent, and updates the others, through storage_current or a typed table.
sub op_upsert
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my @chosen = (shuffle @items)[ 0 .. int(rand(3)) ];

	$value += 10;
	my $list = join(', ', map { "('$key', '$collection', '$chosen[$_]', $value + $_)" } 0 .. $#chosen);
	my $insert = any(
		"INSERT INTO storage_current (key, collection_name, item_name, value_int) VALUES $list ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = EXCLUDED.value_int RETURNING item_name, version, value_int",
		"INSERT INTO model.typed (k, c, i, value) VALUES $list ON CONFLICT (k, c, i) DO UPDATE SET value = EXCLUDED.value RETURNING i AS item_name, version, value AS value_int");
	return { sql => qq{WITH s AS ($insert) }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) }
		  . qq{SELECT '$key', '$collection', item_name, version, value_int, '$session->{level}', @{[ newest_of($key, $collection) ]} FROM s} };
}

sub op_update_typed
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };

	$value += 10;
	return { sql => qq{WITH s AS (UPDATE model.typed SET value = $value + right(i, 1)::int WHERE k = '$key' AND c = '$collection' AND i LIKE 'item%' RETURNING i AS item_name, version, value) }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) }
		  . qq{SELECT '$key', '$collection', item_name, version, value, 'conditional', @{[ newest_of($key, $collection) ]} FROM s} };
}

# A lock: then the item is at the version that was returned, for statements that
# come after it, and stays there until another of this session's.
sub op_lock
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $item = any(@items);
	my $how = any('', '', ', shared => true', ', skip_locked => true', ', shared => true, skip_locked => true', ', nowait => true');

	my $lock = chance(0.5) ? "cfp_lock('$key', '$item', '$collection'$how)"
	  : "(SELECT version FROM storage_current WHERE key = '$key' AND collection_name = '$collection' AND item_name = '$item' FOR @{[ any('UPDATE', 'SHARE', 'UPDATE SKIP LOCKED', 'UPDATE NOWAIT') ]})";

	return { sql => qq{DO \$do\$ DECLARE locked int := $lock; newest int; BEGIN }
		  . qq{FOR n IN 1 .. 2 LOOP SELECT version INTO newest FROM (SELECT * FROM model.record WHERE key = '$key' AND collection = '$collection' AND item = '$item' ORDER BY version DESC LIMIT 1) m WHERE value IS NOT NULL; }
		  . qq{IF locked <> coalesce(newest, 0) THEN RAISE 'locked ($key, $item, $collection) at %, but the model has %', locked, newest; END IF; PERFORM pg_sleep(0.001); END LOOP; END \$do\$},
		states => ['55P03'] };
}

# Reads, each as one text: item:version:value in order of item.
my $row = sub { my ($item, $version, $value) = @_; return "coalesce(string_agg($item || ':' || $version || ':' || $value, ' ' ORDER BY $item COLLATE \"C\"), '')" };
my %reader = (
	cfp_items => sub { "SELECT @{[ $row->('item_name', 'version', 'value_int') ]} FROM cfp_items('$_[0]', '$_[1]')" },
	cfp_get_collection => sub { "SELECT @{[ $row->('key', q{(value ->> 'version')}, q{(value ->> 'value')}) ]} FROM jsonb_each(cfp_get_collection('$_[0]', '$_[1]'))" },
	cfp_get_collection_json => sub { "SELECT @{[ $row->('key', q{(value ->> 'version')}, q{(value ->> 'value')}) ]} FROM json_each(cfp_get_collection_json('$_[0]', '$_[1]') -> 'items')" },
	cfp_get_many => sub { "SELECT @{[ $row->('key', q{(value ->> 'version')}, q{(value ->> 'value')}) ]} FROM jsonb_each(cfp_get_many('$_[0]', '{@{[ join ',', @items ]}}', '$_[1]'))" },
	cfp_get_key => sub { "SELECT @{[ $row->('key', q{(value ->> 'version')}, q{(value ->> 'value')}) ]} FROM jsonb_each(cfp_get_key('$_[0]') -> '$_[1]')" },
	storage_current => sub { "SELECT @{[ $row->('item_name', 'version', 'value_int') ]} FROM storage_current WHERE key = '$_[0]' AND collection_name = '$_[1]'" },
	'storage_current, key' => sub { "SELECT @{[ $row->('item_name', 'version', 'value_int') ]} FROM storage_current WHERE key = '$_[0]' AND collection_name || '' = '$_[1]'" },
	'storage_current, all' => sub { "SELECT @{[ $row->('item_name', 'version', 'value_int') ]} FROM storage_current WHERE key || '' = '$_[0]' AND collection_name || '' = '$_[1]'" },
	'storage_current, items' => sub { "SELECT @{[ $row->('item_name', 'version', 'value_int') ]} FROM storage_current WHERE key = '$_[0]' AND collection_name = '$_[1]' AND item_name = ANY ('{@{[ join ',', @items ]}}')" },
	'storage_current, backward' => sub { "SELECT @{[ $row->('item_name', 'version', 'value_int') ]} FROM (SELECT * FROM storage_current WHERE key = '$_[0]' AND collection_name = '$_[1]' AND item_name <= 'item9' ORDER BY item_name DESC OFFSET 0) d" },
	'a typed table' => sub { "SELECT @{[ $row->('i', 'version', 'value') ]} FROM model.typed WHERE k = '$_[0]' AND c = '$_[1]' AND i LIKE 'item%'" },
	'storage_current, join' => sub { "SELECT @{[ $row->('item_name', 'version', 'value_int') ]} FROM unnest('{@{[ join ',', @items ]}}'::text[]) i JOIN storage_current ON key = '$_[0]' AND collection_name = '$_[1]' AND item_name = i" },
	cfp_get => sub { "SELECT @{[ $row->('i', q{(g ->> 'version')}, q{(g ->> 'value')}) ]} FROM unnest('{@{[ join ',', @items ]}}'::text[]) i, cfp_get('$_[0]', i, '$_[1]') g WHERE g IS NOT NULL" },
	cfp_item => sub { "SELECT @{[ $row->('i', '(g).version', '(g).value_int') ]} FROM unnest('{@{[ join ',', @items ]}}'::text[]) i, cfp_item('$_[0]', i, '$_[1]') g WHERE (g).version IS NOT NULL" },
	cfp_history => sub { "SELECT @{[ $row->('i', 'version', 'value_int') ]} FROM unnest('{@{[ join ',', @items ]}}'::text[]) i, cfp_history('$_[0]', i, '$_[1]', 1) g WHERE value_int IS NOT NULL" });

sub op_read
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my @by = (shuffle sort keys %reader)[ 0 .. int(rand(3)) ];
	my $model = "SELECT @{[ $row->('item', 'version', 'value') ]} FROM (SELECT DISTINCT ON (item) * FROM model.record WHERE key = '$key' AND collection = '$collection' ORDER BY item, version DESC) m WHERE value IS NOT NULL";

	return { sql => 'SELECT ' . join(', ', map { "($_)" } $model, map { $reader{$_}->($key, $collection) } @by),
		check => sub {
			my ($wanted, @got) = @{ $_[0][0] };
			foreach my $i (0 .. $#by)
			{
				return "$by[$i]('$key', '$collection') reads\n\t$got[$i]\nbut the model has\n\t$wanted"
				  if ($got[$i] // 'NULL') ne $wanted;
			}
			return;
		} };
}

# One item by three ways, or all its versions.
sub op_read_item
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $item = any(@items);
	my $model = "FROM model.record WHERE key = '$key' AND collection = '$collection' AND item = '$item'";
	my ($wanted, $got, $what);

	if (chance(0.7))
	{
		$what = 'an item';
		$wanted = "SELECT CASE WHEN value IS NOT NULL THEN version || ':' || value END $model ORDER BY version DESC LIMIT 1";
		$got = any("(cfp_get('$key', '$item', '$collection') ->> 'version') || ':' || (cfp_get_value('$key', '$item', '$collection'))",
			"(cfp_item('$key', '$item', '$collection')).version || ':' || cfp_get_text('$key', '$item', '$collection')",
			"(SELECT version || ':' || value_int FROM cfp_items('$key', '$collection', '$item', '$item'))",
			"(SELECT version || ':' || (value #>> '{}') FROM storage_current WHERE key = '$key' AND collection_name = '$collection' AND item_name = '$item')");
	}
	else
	{
		$what = 'all versions';
		$wanted = "SELECT coalesce(string_agg(version || ':' || coalesce(value::text, '-'), ' ' ORDER BY version DESC), '') $model";
		$got = "SELECT coalesce(string_agg(version || ':' || coalesce(value_int::text, '-'), ' ' ORDER BY version DESC), '') FROM cfp_history('$key', '$item', '$collection')";
	}
	return { sql => "SELECT ($wanted), ($got)",
		check => sub {
			my ($want, $have) = map { $_ // 'NULL' } @{ $_[0][0] };
			return $want eq $have ? undef : "$what of ('$key', '$item', '$collection') is\n\t$have\nbut the model has\n\t$want";
		} };
}

# A range, tombstones included, with a limit.
sub op_read_range
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my ($from, $to) = sort(any(@items), any(@items));
	my $max = 1 + int(rand(6));

	return { sql => "SELECT (SELECT coalesce(string_agg(item || ':' || version || ':' || coalesce(value::text, '-'), ' '), '') FROM (SELECT * FROM (SELECT DISTINCT ON (item) * FROM model.record WHERE key = '$key' AND collection = '$collection' AND item BETWEEN '$from' AND '$to' ORDER BY item, version DESC) x ORDER BY item LIMIT $max) y), "
		  . "(SELECT coalesce(string_agg(item_name || ':' || version || ':' || coalesce(value_int::text, '-'), ' '), '') FROM cfp_items('$key', '$collection', '$from', '$to', $max, true))",
		check => sub {
			my ($want, $have) = @{ $_[0][0] };
			return $want eq $have ? undef : "cfp_items('$key', '$collection', '$from', '$to', $max, true) reads\n\t$have\nbut the model has\n\t$want";
		} };
}

# Some collections one after the other, each when it is fetched, all of them under
# the snapshot of the cursor.  (What the transaction stores after it has opened
# the cursor the functions show, but the plain table does not: then no more is
# compared.)
sub op_declare
{
	my ($session) = @_;
	my $hold = chance(0.3) ? 'WITH HOLD ' : '';
	my ($by) = shuffle sort keys %reader;
	my $name = 'c' . ++$value;
	my $list = join(', ', map { "('$_->[0]', '$_->[1]')" } shuffle @names);
	my $model = "SELECT @{[ $row->('item', 'version', 'value') ]} FROM (SELECT DISTINCT ON (item) * FROM model.record WHERE key = n.key AND collection = n.collection ORDER BY item, version DESC) m WHERE value IS NOT NULL";
	my $read = $reader{$by}->('n.key', 'n.collection');

	$read =~ s/'(n\.(?:key|collection))'/$1/g;
	return { sql => "DECLARE $name NO SCROLL CURSOR ${hold}FOR SELECT n.key, n.collection, ($model), ($read) FROM (VALUES $list) n(key, collection)",
		done => sub { $session->{cursor} = { name => $name, by => $by, hold => $hold ne '' } } };
}

sub op_fetch
{
	my ($session) = @_;
	my $cursor = $session->{cursor};

	return { sql => "FETCH @{[ any(1, 1, 2, 'ALL') ]} FROM $cursor->{name}",
		check => sub {
			$session->{cursor} = undef if !@{ $_[0] };
			foreach my $r ($cursor->{stale} ? () : @{ $_[0] })
			{
				return "cursor $cursor->{name}, $cursor->{by}('$r->[0]', '$r->[1]') reads\n\t$r->[3]\nbut the model has\n\t$r->[2]"
				  if ($r->[3] // 'NULL') ne $r->[2];
			}
			return;
		},
		failed => sub { $session->{cursor} = undef } };
}

sub op_evict { my ($key, $collection) = @{ any(@names) }; return { sql => "SELECT cfp_evict('$key', '$collection')" } }
sub op_warm { my ($key, $collection) = @{ any(@names) }; return { sql => "SELECT cfp_warm('$key', '$collection')" } }

# A request may wait for long when tables are changed by hand all the time.
sub op_flush { return { sql => 'SELECT cfp_flush()', timeout => 1000, states => [ '55000', '55006' ] } }
sub op_fold { return { sql => 'SELECT cfp_fold()', timeout => 1000, states => [ '55000', '55006' ] } }
sub op_rebuild_latest { return { sql => 'SELECT cfp_rebuild_latest_from_history()', timeout => 1000, states => [ '55000', '55006' ] } }

# Before the first flush there is no day file.
sub op_rebuild_history { return { sql => q{SELECT cfp_rebuild_history_from_wal('2000-01-01', '2100-01-01')}, timeout => 2000, states => [ '55000', '55006', '58P01' ] } }

sub op_prune
{
	my ($key, $collection) = @{ any(@names) };
	my @limits = any([ 'older_than => now()' ], [ q{older_than => now() - interval '1 second'} ], [ 'keep_versions => ' . int(rand(4)) ],
		[ 'older_than => now()', 'keep_versions => ' . int(rand(3)) ]);

	push @{ $limits[0] }, "key => '$key'" if chance(0.3);
	push @{ $limits[0] }, "collection_name => '$collection'" if chance(0.3);
	push @{ $limits[0] }, 'dry_run => true' if chance(0.1);
	return { sql => "SELECT cfp_prune_history(@{[ join ', ', @{ $limits[0] } ]})", timeout => 2000, states => [ '55000', '55006' ] };
}

# What a DBA does to tables in use.  A build of an index that fails leaves an
# invalid one.
sub op_build
{
	my $table = any('storage_history', 'storage_latest');

	return { sql => any(
			"REINDEX TABLE CONCURRENTLY $table", "REINDEX INDEX CONCURRENTLY ${table}_pkey", 'REINDEX INDEX CONCURRENTLY storage_history_txid',
			"CREATE INDEX CONCURRENTLY IF NOT EXISTS model_index ON $table (updated_at)", 'DROP INDEX CONCURRENTLY IF EXISTS model_index',
			q{DO $do$ DECLARE i text; BEGIN FOR i IN SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid AND indrelid IN ('storage_history'::regclass, 'storage_latest'::regclass) LOOP EXECUTE 'DROP INDEX IF EXISTS ' || i; END LOOP; END $do$}),
		timeout => 2000 };
}

sub op_ddl
{
	my $table = any('storage_history', 'storage_latest');

	# 42710: the constraint is there already
	return { sql => any(
			"REINDEX TABLE $table", "VACUUM (INDEX_CLEANUP ON) $table", "VACUUM FULL $table", "CLUSTER $table USING ${table}_pkey", "ANALYZE $table",
			"ALTER TABLE $table ADD COLUMN IF NOT EXISTS model_column int", "ALTER TABLE $table DROP COLUMN IF EXISTS model_column",
			"ALTER TABLE $table ADD CONSTRAINT model_check CHECK (version > 0)", "ALTER TABLE $table DROP CONSTRAINT IF EXISTS model_check",
			"ALTER TABLE $table SET (fillfactor = @{[ 50 + int(rand(50)) ]})"),
		timeout => 2000, states => ['42710'] };
}

# What can be lost by hand without losing anything.  55006: a cursor of the
# session reads the table.
sub op_empty_latest
{
	return { sql => any('TRUNCATE storage_latest', 'DELETE FROM storage_latest'), hand => 1, states => ['55006'] };
}

# Changes by hand, with the same to the model in the same statement.  Updates
# and deletes wait for the gate first, so that they see what they must change.
sub op_hand
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $item = any(@items);
	my $where = "key = '$key' AND collection_name = '$collection' AND item_name = '$item'";
	my $model = "key = '$key' AND collection = '$collection' AND item = '$item'";
	my $way = $session->{open} && $session->{level} ne 'read committed' ? 0 : rand();
	my $gate = 'LOCK TABLE cfp_gate IN SHARE ROW EXCLUSIVE MODE; ';
	my $sql;

	$value++;
	if ($way < 0.3)
	{
		$sql = "WITH h AS (INSERT INTO storage_history (key, collection_name, item_name, data, value_int, updated_at, version) SELECT '$key', '$collection', '$item', '{}', $value, clock_timestamp(), coalesce(max(version), 0) + 1 FROM storage_history WHERE $where RETURNING version) "
		  . "INSERT INTO model.record (key, collection, item, version, value, level) SELECT '$key', '$collection', '$item', version, $value, 'hand' FROM h";
	}
	elsif ($way < 0.65)
	{
		$sql = $gate . "WITH h AS (UPDATE storage_history SET value_int = $value WHERE $where AND value_int IS NOT NULL AND version = (SELECT max(version) FROM storage_history WHERE $where) RETURNING version), "
		  . "l AS (UPDATE storage_latest SET value_int = $value WHERE $where AND value_int IS NOT NULL AND version = (SELECT max(version) FROM storage_history WHERE $where)) "
		  . "UPDATE model.record SET value = $value FROM h WHERE $model AND record.version = h.version";
	}
	elsif ($way < 0.85)
	{
		# the item, or the whole collection
		my ($rows, $records) = chance(0.7) ? ($where, $model) : map { s/ AND item.*//r } $where, $model;
		$sql = $gate . "WITH h AS (DELETE FROM storage_history WHERE $rows), l AS (DELETE FROM storage_latest WHERE $rows) DELETE FROM model.record WHERE $records";
	}
	elsif ($way < 0.95)
	{
		# the newest record, so that the one before it is the newest
		my $newest = "(SELECT max(version) FROM storage_history WHERE $where)";
		$sql = $gate . "WITH h AS (DELETE FROM storage_history WHERE $where AND version = $newest RETURNING version), l AS (DELETE FROM storage_latest WHERE $where AND version = $newest) DELETE FROM model.record USING h WHERE $model AND record.version = h.version";
	}
	elsif ($way < 0.97)
	{
		$sql = 'TRUNCATE storage_latest';	# nobody sees that
	}
	else
	{
		$sql = 'TRUNCATE storage_history, storage_latest, model.record';
	}
	return { sql => $sql, states => ['23505'], hand => 1 };
}

# Much else in the cache, so that a small one overflows.
sub op_filler
{
	my $collection = 'f' . int(rand(30));
	return { sql => chance(0.3)
		? "SELECT count(cfp_store('filler', jsonb_build_object('t', repeat('x', 1000)), 'item' || n, '$collection', n)) FROM generate_series(1, 60) n"
		: "SELECT length(cfp_get_collection('filler', '$collection')::text)" };
}

sub op_begin
{
	my ($session) = @_;
	my $level = any('read committed', 'repeatable read', 'repeatable read', 'serializable');

	return { sql => "BEGIN ISOLATION LEVEL $level", done => sub { @$session{ 'open', 'level', 'depth' } = (1, $level, 0); $session->{begun} = time } };
}

sub op_end
{
	my ($session) = @_;
	my $how = chance(0.7) && !$session->{broken} ? 'COMMIT' : 'ROLLBACK';

	return { sql => $how, done => sub { closed($session, $how eq 'COMMIT') } };
}

sub op_savepoint { my ($session) = @_; my $name = 's' . ($session->{depth} + 1); return { sql => "SAVEPOINT $name", done => sub { $session->{depth}++ } } }
sub op_rollback_to
{
	my ($session) = @_;
	my $to = chance(0.7) ? $session->{depth} : 1 + int(rand($session->{depth}));
	return { sql => "ROLLBACK TO s$to", done => sub { @$session{ 'broken', 'depth' } = (0, $to) } };
}

sub op_release
{
	my ($session) = @_;
	my $from = chance(0.7) ? $session->{depth} : 1 + int(rand($session->{depth}));
	return { sql => "RELEASE s$from", done => sub { $session->{depth} = $from - 1 } };
}

# Park the session at its next commit, abort or load, until let go.
sub op_park
{
	my ($session) = @_;
	my $point = any('precommit', 'linked', 'commit', 'commit', 'commit', 'abort', 'load');

	return { sql => "SET cfp.debug_waitpoint = '$point'", done => sub { $session->{parks} = 1 } };
}

sub op_unpark { my ($session) = @_; return { sql => "SET cfp.debug_waitpoint = ''", done => sub { $session->{parks} = 0 } } }

sub closed
{
	my ($session, $committed) = @_;

	$changed_by_hand = time if $session->{hand};
	$session->{hand} = 0;
	@$session{ 'open', 'level', 'depth', 'broken', 'stored', 'begun' } = (0, 'read committed', 0, 0, 0, time);
	# a transaction that fails takes its cursors along
	$session->{cursor} = undef if $session->{cursor} && !($committed && $session->{cursor}{hold});
	return;
}

my %weight = (
	store => 20, delete => 4, conditional => 8, conditional_new => 4, conditional_old => 2, store_many => 4, batch => 5,
	delete_collection => 1, block => 1, deep => 0.3,
	update_view => 4, update_view_many => 1, insert_view => 3, delete_view => 2, insert_absent => 2, upsert => 3, update_typed => 1,
	lock => 6, update_view => 4, update_view_many => 1, insert_view => 3, delete_view => 2, insert_absent => 2,
	read => 25, read_item => 15, read_range => 6,
	evict => 3, warm => 2, flush => 1.5, fold => 1, rebuild_latest => 0.5, rebuild_history => 0.3, prune => 1,
	hand => 1.5, empty_latest => 0.3, build => 0.5, ddl => 0.4, park => 1.5);
delete @weight{ map { s/^op_//r } keys %without };

sub choose
{
	my ($session, $filler) = @_;
	my %now = %weight;

	if ($session->{broken})
	{
		return ('rollback_to', op_rollback_to($session)) if $session->{depth} && chance(0.7);
		return ('end', op_end($session));
	}
	return ('unpark', op_unpark($session)) if $session->{parks} && chance(0.3);
	$now{filler} = 6 if $filler;
	if ($session->{open})
	{
		# what is pending goes into the tables after all changes by hand
		delete @now{ 'hand', 'empty_latest' } if $session->{stored};
		# not in a transaction, or so that a worker would wait for it
		delete @now{ 'build', 'ddl', 'prune', 'rebuild_history' };
		$now{end} = 14;
		$now{savepoint} = 4 if $session->{depth} < 4;
		$now{dive} = 0.5 if $session->{depth} < 4 && !$without{op_dive};
		@now{ 'rollback_to', 'release' } = (3, 3) if $session->{depth};
		$now{declare} = 3 if !$session->{cursor} && !$session->{depth} && !$without{op_declare};
	}
	else
	{
		$now{begin} = 25;
	}
	$now{fetch} = 12 if $session->{cursor};
	my $total = 0;
	$total += $_ foreach values %now;
	my $pick = rand($total);
	foreach my $name (sort keys %now)
	{
		$pick -= $now{$name};
		next if $pick >= 0;
		no strict 'refs';	## no critic (ProhibitNoStrict)
		return ($name, &{"op_$name"}($session));
	}
}

# --- sessions ---------------------------------------------------------------

sub new_session
{
	my ($number) = @_;
	my $session = { name => "s$number", number => $number, dbh => connect_node($node) };

	closed($session);
	$session->{parks} = 0;
	$session->{dbh}->do(q{SET application_name = 'model session'});
	$session->{dbh}->do('SET enable_seqscan = off') if chance(0.5);
	return $session;
}

sub launch
{
	my ($session, $name, $op) = @_;
	my $timeout = $op->{timeout} // (chance(0.02) ? 1 + int(rand(20)) : 0);

	$session->{timeout} //= 0;
	if ($timeout != $session->{timeout} && !$session->{broken} && !$session->{open})
	{
		my $set = eval { $session->{dbh}->do("SET statement_timeout = $timeout"); 1 };
		$session->{timeout} = $timeout if $set;
	}
	$count{$name}++;
	if ($op->{sql} =~ /cfp_store|cfp_delete|model\.deep|(?:UPDATE|INTO|DELETE FROM) storage_current/)
	{
		$session->{stored} = 1 if $session->{open};
		$session->{cursor}{stale} = 1 if $session->{cursor} && $session->{open};
	}
	$session->{hand} = 1 if $session->{open} && $op->{hand};
	remember($session->{name}, $op->{sql});
	$session->{op} = $op;
	$session->{since} = time;
	$session->{sth} = $session->{dbh}->prepare($op->{sql}, { pg_async => PG_ASYNC, pg_direct => 1 });
	$session->{sth}->execute;
	return;
}

use constant IN_FAILED_TRANSACTION => 4;	# of ping

# 42804: the server's, of a function that returns a table's rows, when the
# table gets or loses a column between the planning and the call
my @expected = ('40001', '40P01', '57014', '42804');
sub finish
{
	my ($session) = @_;
	my ($op, $sth) = delete @$session{ 'op', 'sth' };
	my $rows = [];
	my $ok = succeeded($sth);

	$rows = $sth->fetchall_arrayref if $ok && $sth->{NUM_OF_FIELDS};

	$changed_by_hand = time if $op->{hand};
	if ($session->{killed})
	{
		remember($session->{name}, $ok ? '  ok, then terminated' : '  terminated');
		eval { $session->{dbh}->disconnect };
		%$session = %{ new_session($session->{number}) };
		return;
	}
	if ($ok)
	{
		remember($session->{name}, '  ok ' . join(', ', map { join('|', map { $_ // 'NULL' } @$_) } @$rows));
		$op->{done}->($rows) if $op->{done};
		my $wrong = $op->{check} ? $op->{check}->($rows) : undef;
		mismatch("$session->{name} ($session->{level}): $wrong") if $wrong;
		return;
	}

	my $state = $session->{dbh}->state;
	my $message = $session->{dbh}->errstr // '';
	remember($session->{name}, "  $state $message");
	$count{$state}++;
	$op->{failed}->() if $op->{failed};
	# a timeout may hit COMMIT before it has begun: then the transaction is open still
	if ($session->{dbh}->ping == IN_FAILED_TRANSACTION)
	{
		$session->{broken} = 1;
	}
	elsif ($session->{open})
	{
		closed($session);
	}
	# the division in op_conditional_new: wrong unless a deletion that the
	# snapshot did not see has made the item absent
	return if $op->{late} && $state eq '22012'
	  && ($session->{level} eq 'read committed' || $changed_by_hand >= $session->{begun});
	return if $op->{late_hand} && $state eq '22012'
	  && ($changed_by_hand >= $session->{since} || grep { $_->{hand} || ($_->{op} && $_->{op}{hand}) } @all);
	mismatch("$session->{name}: unexpected error $state: $message\n$op->{sql}")
	  unless grep { $_ eq $state } @expected, @{ $op->{states} // [] };
	return;
}

sub ready { my ($session) = @_; return eval { $session->{dbh}->pg_ready } // 1 }

my $releaser;
END { kill 'KILL', $releaser if $releaser }

# A process that lets the sessions at waitpoints go, every now and then.
sub start_releaser
{
	my $pid = fork;

	die "fork: $!" unless defined $pid;
	return $pid if $pid;
	my $dbh = connect_node($node);
	$dbh->do(q{SET application_name = 'releaser'});
	while (1)
	{
		usleep(rand(40_000));
		eval { $dbh->do("SET cfp.debug_release = '$_'"); 1 } or POSIX::_exit(0)
		  foreach 'precommit', 'linked', 'commit', 'abort', 'load';
	}
}

# --- a run ------------------------------------------------------------------

sub run
{
	my ($what, $time, $filler) = @_;
	my $control = connect_node($node);
	@all = map { new_session($_) } 1 .. $sessions;
	my $end = time + $time;
	my $operations = 0;
	$releaser = start_releaser();

	while (time < $end && !$failed)
	{
		finish($_) foreach grep { $_->{op} && ready($_) } @all;
		last if $failed;

		my @idle = grep { !$_->{op} } @all;
		if (my $stuck = first { $_->{op} && time - $_->{since} > $longest_wait } @all)
		{
			mismatch("$stuck->{name} waits for ever: $stuck->{op}{sql}\n"
				  . join("\n", map { join(' ', map { $_ // '' } @$_) } @{ $control->selectall_arrayref(
						'SELECT pid, state, wait_event_type, wait_event, pg_blocking_pids(pid), left(query, 100) FROM pg_stat_activity') }));
			last;
		}
		if (!@idle)
		{
			usleep(500);
			next;
		}
		my $session = any(@idle);
		launch($session, choose($session, $filler));
		$operations++;

		# usually wait for the result a while, so that the order of things
		# is that of the seed; sometimes go on at once
		if (chance(0.75))
		{
			my $until = time + 0.02;
			usleep(50) until ready($session) || time > $until;
		}
		if (chance(0.002))
		{
			my $victim = any(@all);
			remember($victim->{name}, 'is terminated');
			$victim->{killed} = 1;
			$control->do('SELECT pg_terminate_backend(?)', undef, $victim->{dbh}{pg_pid});
			if (!$victim->{op})
			{
				eval { $victim->{dbh}->disconnect };
				%$victim = %{ new_session($victim->{number}) };
			}
		}
		elsif (chance(0.003))
		{
			my $victim = any(@all);
			remember($victim->{name}, 'is cancelled');
			$control->do('SELECT pg_cancel_backend(?)', undef, $victim->{dbh}{pg_pid});
		}
	}

	# let all finish, or go
	foreach my $session (@all)
	{
		my $until = time + 60;
		while ($session->{op} && !ready($session) && time < $until)
		{
			$control->do('SELECT pg_cancel_backend(?)', undef, $session->{dbh}{pg_pid});
			usleep(5000);
		}
		$session->{sth}->finish if $session->{op} && succeeded($session->{sth});
		eval { $session->{dbh}->disconnect };
	}
	# a session that leaves or is terminated may yet stop at its abort
	wait_true($node, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND application_name = 'model session')});
	kill 'KILL', $releaser;
	waitpid $releaser, 0;
	undef $releaser;
	step_undo_ddl();
	$control->disconnect;
	note("$what: $operations operations");
	return if $failed;

	cmp_ok($operations, '>', 10 * $time, "$what: enough operations");
	history_is("SELECT key, collection, item, version, value FROM model.record", "$what: the history is the model's");
	my $lost = $node->safe_psql('postgres', q{
		SELECT r.key, r.collection, r.item, r.version, r.value, r.level, r.seen, r.txid,
			q.version, q.value, q.level, q.txid
		FROM (SELECT *, lag(value) OVER (PARTITION BY key, collection, item ORDER BY version) IS NULL AS deleted_before
				FROM (SELECT *, false AS pruned FROM model.record UNION ALL SELECT *, true FROM model.pruned) a) r
			JOIN model.record q ON (q.key, q.collection, q.item) = (r.key, r.collection, r.item)
				AND q.txid <> r.txid AND q.version > r.seen AND q.version < r.version
		WHERE NOT r.pruned AND r.level <> 'read committed'
			-- an INSERT by hand takes the version that its snapshot makes it take,
			-- and what is rebuilt its own
			AND q.level NOT IN ('hand', 'rebuilt')
			-- what was expected absent may have been deleted meanwhile
			AND NOT (r.level = 'conditional' AND r.seen = 0 AND r.deleted_before)
		LIMIT 20});
	is($lost, '', "$what: no update is lost") or report("$what: a lost update");
	seen_ok($node, "$what: all agree");
	wait_worker($node);
	$node->poll_query_until('postgres', q{
		SELECT cfp_fold() IS NOT NULL AND NOT EXISTS (
			SELECT FROM (
				SELECT DISTINCT ON (key, collection_name, item_name) * FROM storage_history
				ORDER BY key, collection_name, item_name, version DESC) h
			WHERE NOT EXISTS (
				SELECT FROM storage_latest l
				WHERE (l.key, l.collection_name, l.item_name, l.version) = (h.key, h.collection_name, h.item_name, h.version)))})
	  or fail("$what: the fold is complete");
	seen_ok($node, "$what: all agree after the fold");
	$node->restart;
	seen_ok($node, "$what: all agree after a restart");
	return;
}

# --- between the runs -------------------------------------------------------

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub history_is
{
	my ($records, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(sql(qq{
		SELECT * FROM (
			SELECT 'missing', key, collection, item, version, value FROM (
				$records
				EXCEPT ALL SELECT key, collection_name, item_name, version, value_int FROM storage_history WHERE key <> 'filler') a
			UNION ALL
			SELECT 'too many', key, collection, item, version, value FROM (
				SELECT key, collection_name AS collection, item_name AS item, version, value_int AS value FROM storage_history WHERE key <> 'filler'
				EXCEPT ALL $records) b) x
		LIMIT 20}),
		'', $what) || report($what);
}

# What the operations build and ddl may have left.
sub step_undo_ddl
{
	sql(q{
SET client_min_messages = warning;
DROP INDEX IF EXISTS model_index;
ALTER TABLE storage_history DROP CONSTRAINT IF EXISTS model_check, DROP COLUMN IF EXISTS model_column;
ALTER TABLE storage_latest DROP CONSTRAINT IF EXISTS model_check, DROP COLUMN IF EXISTS model_column});
	return;
}

# A user's triggers, from now on until their turn to be looked at.
my $noted_from;
sub step_triggers
{
	$noted_from = sql('SELECT coalesce(max(id), 0) FROM model.given');
	sql(q{
TRUNCATE model.noted;
CREATE TRIGGER model_note AFTER INSERT ON storage_history FOR EACH ROW WHEN (NEW.key <> 'filler') EXECUTE FUNCTION model.note();
CREATE CONSTRAINT TRIGGER model_look AFTER INSERT ON storage_history DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.key <> 'filler') EXECUTE FUNCTION model.look()});
	return;
}

sub step_triggers_end
{
	my ($what) = @_;

	return if !defined $noted_from;
	is(sql(qq{
		WITH given AS (SELECT key, collection, item, version, value FROM model.given WHERE id > $noted_from)
		SELECT 'missing', * FROM (TABLE given EXCEPT ALL TABLE model.noted) a
		UNION ALL
		SELECT 'too many', * FROM (TABLE model.noted EXCEPT ALL TABLE given) b
		LIMIT 20}),
		'', "$what: a trigger sees each record once") or report("$what: triggers");
	sql('DROP TRIGGER model_note ON storage_history; DROP TRIGGER model_look ON storage_history');
	undef $noted_from;
	return;
}

# Whatever was removed since, no version is given again.
sub step_names
{
	my ($what) = @_;

	is(sql(q{
		SELECT key, collection, item, version, array_agg(value ORDER BY id) FROM model.given WHERE NOT by_hand
		GROUP BY 1, 2, 3, 4 HAVING count(*) > 1 ORDER BY 1, 2, 3, 4 LIMIT 20}),
		'', "$what: a version names one record") or report("$what: names");
	return;
}

# A backup, made as the close of day makes one for a date that it has folded.
my $backups = 0;
sub step_backup
{
	my ($what) = @_;
	my $kind = any('full', 'day', 'day');
	my $date = sql('SELECT date ' . q{'2020-01-01'} . ' + ' . ++$backups);

	remember('control', "backup ($kind) of $date");
	sql("INSERT INTO model.kept SELECT date '$date', * FROM model.record");
	sql("ALTER DATABASE postgres SET cfp.backup_history = '$kind'");
	sql("INSERT INTO storage_days (date, started, items_folded) VALUES ('$date', now(), 0)");
	sql('SELECT pg_reload_conf()');
	wait_true($node, "SELECT finished IS NOT NULL FROM cfp.storage_days WHERE date = '$date'");
	my ($state, $error) = sqlstate($node, 'postgres', "SELECT cfp_verify_backup('$date')");
	is($state, '00000', "$what: backup ($kind) of $date") or report($error);
	return;
}

sub step_restore
{
	my ($what) = @_;
	my $date = sql('SELECT date ' . q{'2020-01-01'} . ' + ' . (1 + int(rand($backups))));
	my $kept = "SELECT key, collection, item, version, value FROM model.kept WHERE date = '$date'";

	remember('control', "restore of $date");
	my ($state, $error) = sqlstate($node, 'postgres', "SELECT cfp_restore_backup('$date', discard_newer => true)");
	is($state, '00000', "$what: restore of $date") or report($error);
	return if $state ne '00000';
	history_is($kept, "$what: the history is that of $date");
	sql(qq{
SET session_replication_role = replica;	-- nothing of it is stored now
TRUNCATE model.record;
INSERT INTO model.record (key, collection, item, version, value, level) SELECT key, collection, item, version, value, 'rebuilt' FROM model.kept WHERE date = '$date'});
	seen_ok($node, "$what: all agree after the restore");
	return;
}

# --- the runs ---------------------------------------------------------------

my @runs = ([ 'large cache', 0, 0 ], [ 'large cache, triggers', 0, 1 ], [ 'small cache', 1, 0 ], [ 'small cache, triggers', 1, 1 ]);
foreach my $i (0 .. $#runs)
{
	my ($what, $small, $triggers) = @{ $runs[$i] };

	if ($small && !$runs[ $i - 1 ][1])
	{
		$node->append_conf('postgresql.conf', "cfp.cache_size = '1MB'");
		$node->restart;
		wait_worker($node);
	}
	step_triggers() if $triggers && !$without{step_triggers};
	run($what, $seconds / @runs, $small);
	last if $failed;
	step_triggers_end($what);
	step_names($what) unless $without{step_names};
	step_backup($what) unless $without{step_backup};
	step_restore($what) if $backups && chance(0.5) && !$without{step_restore};
}

note(join(', ', map { "$_ $count{$_}" } sort keys %count));
$node->stop;
log_ok(
	$node,
	# the sessions look at each of their errors themselves
	qr/\] model session ERROR:  /,
	qr/ERROR:  [^\n]*(?:serialize|deadlock|conflict|concurrent)/,
	qr/ERROR:  [^\n]*version/,
	qr/ERROR:  canceling (?:statement|autovacuum task)/,
	qr/WARNING:  \d+ records were passed over because they had been given up/,
	# what a REINDEX CONCURRENTLY that failed has left
	qr/WARNING:  (?:cannot reindex|skipping reindex of) invalid index/,
	qr/ERROR:  duplicate key value/,
	qr/ERROR:  constraint "model_check" for relation "\w+" already exists/,
	qr/ERROR:  [^\n]*(?:worker|changing the storage tables by hand)/,
	qr/WARNING:  cfp: [^\n]* failed: (?:deadlock detected|a transaction is changing)/,
	qr/FATAL:  (?:terminating connection due to administrator command|connection to client lost)/);
done_testing();
