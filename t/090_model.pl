# Random operations of several sessions, done with cfp and with a plain table
# in the same transactions: PostgreSQL's own visibility is the oracle.  Every
# read compares cfp with the plain table in one statement, under one snapshot.
#
# CFP_MODEL_SEED repeats a run (as far as the timing of sessions that wait
# for each other allows), CFP_MODEL_SECONDS sets how long it takes.

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
my $sessions = 6;
my $longest_wait = 120;

diag("seed $seed: CFP_MODEL_SEED=$seed CFP_MODEL_SECONDS=$seconds repeats this run");
srand($seed);

my @names = map { my $key = $_; map { [ $key, $_ ] } 'a', 'b', 'c' } 'k1', 'k2';
my @items = map { "item$_" } 0 .. 7;

my $node = cfp_node('main', 'deadlock_timeout = 20ms', 'cfp.flush_interval = 100ms',
	'log_statement = none', 'restart_after_crash = on');
cfp_install($node);
$node->safe_psql('postgres', q{
CREATE SCHEMA model;
CREATE TABLE model.record (
	key text, collection text, item text COLLATE "C", version int,
	value bigint,	-- NULL: deleted
	level text,		-- isolation level, or conditional, none, hand
	seen int,		-- the version it was stored on top of
	txid xid8 DEFAULT pg_current_xact_id(),
	PRIMARY KEY (key, collection, item, version))});

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

	return { sql => qq{SELECT cfp_store('$key', '{}', '$item', '$collection', -1, expected_version => n - 1) FROM (SELECT $newest OFFSET 0) x(n) WHERE n > 1},
		check => sub { return @{ $_[0] } ? 'a store that expects a superseded version works' : undef } };
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

# A batch on top of what the statement sees.  (Unconditional, its versions could
# not be told: a deletion by hand that the snapshot does not see makes them begin
# again below what it sees.)
sub op_batch
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my @chosen = (shuffle @items)[ 0 .. 2 ];

	$value += 10;
	my $list = join(', ', map { "('$chosen[$_]', $value + $_, @{[ newest($key, $collection, $chosen[$_]) ]})" } 0 .. $#chosen);
	return { sql => qq{WITH i(item, value, seen) AS MATERIALIZED (VALUES $list), }
		  . qq{s AS MATERIALIZED (SELECT cfp_store_many('$key', jsonb_object_agg(item, jsonb_build_object('value', value, 'data', jsonb_build_object('v', value), 'expected_version', seen)), '$collection') AS n FROM i) }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) SELECT '$key', '$collection', item, (cfp_item('$key', item, '$collection')).version, value, 'conditional', seen FROM s, i} };
}

sub op_delete_collection
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };

	return { sql => qq{DO \$do\$ DECLARE i text; v int; BEGIN }
		  . qq{FOR i IN SELECT item_name FROM cfp_items('$key', '$collection') LOOP }
		  . qq{v := cfp_delete('$key', i, '$collection'); IF v IS NOT NULL THEN }
		  . qq{INSERT INTO model.record (key, collection, item, version, level) VALUES ('$key', '$collection', i, v, 'none'); END IF; END LOOP; END \$do\$} };
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

# Through the view.
sub op_update_view
{
	my ($session) = @_;
	my ($key, $collection) = @{ any(@names) };
	my $item = any(@items);

	$value++;
	return { sql => qq{WITH s AS (UPDATE storage_current SET value_int = $value WHERE key = '$key' AND collection_name = '$collection' AND item_name = '$item' RETURNING version) }
		  . qq{INSERT INTO model.record (key, collection, item, version, value, level, seen) }
		  . qq{SELECT '$key', '$collection', '$item', (cfp_item('$key', '$item', '$collection')).version, $value, 'conditional', n FROM (SELECT count(*) FROM s) c(c), (SELECT @{[ newest($key, $collection, $item) ]}) x(n) WHERE c > 0} };
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

sub op_evict { my ($key, $collection) = @{ any(@names) }; return { sql => "SELECT cfp_evict('$key', '$collection')" } }
sub op_warm { my ($key, $collection) = @{ any(@names) }; return { sql => "SELECT cfp_warm('$key', '$collection')" } }

# A request may wait for long when tables are changed by hand all the time.
sub op_flush { return { sql => 'SELECT cfp_flush()', timeout => 1000, states => [ '55000', '55006' ] } }
sub op_fold { return { sql => 'SELECT cfp_fold()', timeout => 1000, states => [ '55000', '55006' ] } }
sub op_rebuild_latest { return { sql => 'SELECT cfp_rebuild_latest_from_history()', timeout => 1000, states => [ '55000', '55006' ] } }

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
	elsif ($way < 0.95)
	{
		$sql = $gate . "WITH h AS (DELETE FROM storage_history WHERE $where RETURNING version), l AS (DELETE FROM storage_latest WHERE $where) DELETE FROM model.record USING h WHERE $model AND record.version = h.version";
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

	return { sql => $how, done => sub { closed($session) } };
}

sub op_savepoint { my ($session) = @_; my $name = 's' . ($session->{depth} + 1); return { sql => "SAVEPOINT $name", done => sub { $session->{depth}++ } } }
sub op_rollback_to { my ($session) = @_; return { sql => "ROLLBACK TO s$session->{depth}", done => sub { $session->{broken} = 0 } } }
sub op_release { my ($session) = @_; return { sql => "RELEASE s$session->{depth}", done => sub { $session->{depth}-- } } }

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
	my ($session) = @_;

	$changed_by_hand = time if $session->{hand};
	$session->{hand} = 0;
	@$session{ 'open', 'level', 'depth', 'broken', 'stored', 'begun' } = (0, 'read committed', 0, 0, 0, time);
	return;
}

my %weight = (
	store => 20, delete => 4, conditional => 8, conditional_new => 4, conditional_old => 2, store_many => 4, batch => 5,
	delete_collection => 1, block => 1, update_view => 4,
	read => 25, read_item => 15, read_range => 6,
	evict => 3, warm => 2, flush => 1.5, fold => 1, rebuild_latest => 0.5, hand => 1.5, park => 1.5);

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
		delete $now{hand} if $session->{stored};
		$now{end} = 14;
		$now{savepoint} = 4 if $session->{depth} < 4;
		@now{ 'rollback_to', 'release' } = (3, 3) if $session->{depth};
	}
	else
	{
		$now{begin} = 25;
	}
	my $total = 0;
	$total += $_ foreach values %now;
	my $pick = rand($total);
	foreach my $name (sort keys %now)
	{
		$pick -= $now{$name};
		next if $pick >= 0;
		no strict 'refs';
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
	$session->{stored} = 1 if $session->{open} && $op->{sql} =~ /cfp_store|cfp_delete|UPDATE storage_current/;
	$session->{hand} = 1 if $session->{open} && $op->{hand};
	remember($session->{name}, $op->{sql});
	$session->{op} = $op;
	$session->{since} = time;
	$session->{sth} = $session->{dbh}->prepare($op->{sql}, { pg_async => PG_ASYNC, pg_direct => 1 });
	$session->{sth}->execute;
	return;
}

my @expected = ('40001', '40P01', '57014');
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
	$session->{broken} = 1 if $session->{open};
	closed($session) if $op->{sql} =~ /^(?:COMMIT|ROLLBACK$)/;
	# the division in op_conditional_new: wrong unless a deletion that the
	# snapshot did not see has made the item absent
	return if $op->{late} && $state eq '22012'
	  && ($session->{level} eq 'read committed' || $changed_by_hand >= $session->{begun});
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
	my @all = map { new_session($_) } 1 .. $sessions;
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
	$control->disconnect;
	note("$what: $operations operations");
	return if $failed;

	cmp_ok($operations, '>', 50 * $time, "$what: enough operations");
	is( $node->safe_psql('postgres', q{
		SELECT * FROM (
			SELECT 'missing', key, collection, item, version, value FROM (
				SELECT key, collection, item, version, value FROM model.record
				EXCEPT ALL SELECT key, collection_name, item_name, version, value_int FROM storage_history WHERE key <> 'filler') a
			UNION ALL
			SELECT 'too many', key, collection, item, version, value FROM (
				SELECT key, collection_name AS collection, item_name AS item, version, value_int AS value FROM storage_history WHERE key <> 'filler'
				EXCEPT ALL SELECT key, collection, item, version, value FROM model.record) b) x
		LIMIT 20}),
		'', "$what: the history is the model's");
	my $lost = $node->safe_psql('postgres', q{
		SELECT r.key, r.collection, r.item, r.version, r.value, r.level, r.seen, r.txid,
			q.version, q.value, q.level, q.txid
		FROM (SELECT *, lag(value) OVER (PARTITION BY key, collection, item ORDER BY version) IS NULL AS deleted_before
				FROM model.record) r
			JOIN model.record q ON (q.key, q.collection, q.item) = (r.key, r.collection, r.item)
				AND q.txid <> r.txid AND q.version > r.seen AND q.version < r.version
		WHERE r.level <> 'read committed'
			-- an old snapshot may insert below by hand
			AND q.level <> 'hand'
			-- an INSERT by hand takes the version that its snapshot makes it take
			AND q.level <> 'hand'
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

run('large cache', $seconds / 2, 0);
if (!$failed)
{
	$node->append_conf('postgresql.conf', "cfp.cache_size = '1MB'");
	$node->restart;
	run('small cache', $seconds / 2, 1);
}

note(join(', ', map { "$_ $count{$_}" } sort keys %count));
$node->stop;
log_ok(
	$node,
	qr/ERROR:  [^\n]*(?:serialize|deadlock|conflict|concurrent)/,
	qr/ERROR:  [^\n]*version/,
	qr/ERROR:  canceling statement/,
	qr/ERROR:  division by zero/,
	qr/ERROR:  duplicate key value/,
	qr/ERROR:  current transaction is aborted/,
	qr/ERROR:  [^\n]*(?:worker|changing the storage tables by hand)/,
	qr/WARNING:  cfp: [^\n]* failed: (?:deadlock detected|a transaction is changing)/,
	qr/FATAL:  (?:terminating connection due to administrator command|connection to client lost)/);
done_testing();
