# Tables of the extension that belong to a role without rights: what their
# owner attached to them runs, in the worker and in its jobs, as that owner,
# and everything works.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('main', 'autovacuum = off', 'max_worker_processes = 24', 'cfp.retain_days = 2', "cfp.backup_history = 'full'");
my $db = 'postgres';

sub sql
{
	return $node->safe_psql($db, $_[0]);
}

# As one of the roles; a superuser would run what hangs on the tables.
sub as
{
	my ($role, $sql) = @_;
	return $node->safe_psql($db, $sql, extra_params => [ '-U', $role ]);
}

# mallory and mallory2 own tables, clerk stores, keeper runs cfp.  Row security
# is for who calls functions.
sql(q{CREATE ROLE mallory LOGIN; CREATE ROLE mallory2 LOGIN; CREATE ROLE clerk LOGIN BYPASSRLS; CREATE ROLE keeper LOGIN; GRANT pg_monitor TO keeper});

# A database of its own for each case.
sub begin_case
{
	($db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	cfp_install($node, $db);
	sql(q{
GRANT USAGE ON SCHEMA cfp TO clerk, keeper;
GRANT SELECT, INSERT, UPDATE, DELETE ON cfp.storage_current TO clerk;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cfp TO keeper;
CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO mallory; GRANT USAGE ON SCHEMA evil TO PUBLIC});

	# A spy notes as whom it runs, and tries what it can.  It is called from
	# triggers, and through a function that only says it is immutable.
	as('mallory', q{
CREATE TABLE evil.log (role name, what text);
CREATE TABLE evil.later (n int);
GRANT INSERT ON evil.log, evil.later TO PUBLIC;
CREATE FUNCTION evil.spy(what text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	INSERT INTO evil.log VALUES (current_user, what);
	BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN SET ROLE NONE; EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO evil.later VALUES (1); EXCEPTION WHEN insufficient_privilege THEN NULL; END;
	PERFORM set_config('search_path', 'evil', false);
	RETURN what;
END $$;
CREATE FUNCTION evil.quiet(what text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN evil.spy(what); END $$;
CREATE FUNCTION evil.spy_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evil.spy(format('%s %s %s %s %s', TG_TABLE_NAME, TG_NAME, TG_WHEN, TG_LEVEL, TG_OP));
	IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
	RETURN NEW;
END $$;
CREATE FUNCTION evil.spy_table() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evil.spy(format('%s %s rows', TG_TABLE_NAME, count(*))) FROM changed;
	RETURN NULL;
END $$;
CREATE FUNCTION evil.spy_later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO evil.log VALUES (current_user, 'deferred by a spy');
	BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON evil.later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.spy_later();
ALTER TABLE evil.later ENABLE ALWAYS TRIGGER later});
	return;
}

# All that runs code, on one table.
sub equip
{
	my ($table, $owner, $key) = @_;
	my $history = $table eq 'storage_history';

	sql("ALTER TABLE cfp.$table OWNER TO $owner; GRANT ALL ON SCHEMA cfp TO $owner");
	my %triggers = (
		after_row => 'AFTER INSERT OR UPDATE OR DELETE', before_statement => 'BEFORE INSERT OR UPDATE OR DELETE',
		after_statement => 'AFTER INSERT OR UPDATE OR DELETE', before_truncate => 'BEFORE TRUNCATE', after_truncate => 'AFTER TRUNCATE');
	# A trigger before each row of the history stops stores.
	$triggers{before_row} = $history ? 'BEFORE UPDATE OR DELETE' : 'BEFORE INSERT OR UPDATE OR DELETE';
	my @commands;
	foreach my $name (sort keys %triggers)
	{
		my $level = $name =~ /row/ ? 'ROW' : 'STATEMENT';
		foreach my $enable ('ALWAYS', 'REPLICA')
		{
			my $trigger = lc "spy_${name}_$enable";
			push @commands, "CREATE TRIGGER $trigger $triggers{$name} ON cfp.$table FOR EACH $level EXECUTE FUNCTION evil.spy_trigger()",
			  "ALTER TABLE cfp.$table ENABLE $enable TRIGGER $trigger";
		}
	}
	push @commands,
	  "CREATE CONSTRAINT TRIGGER spy_deferred AFTER INSERT OR UPDATE OR DELETE ON cfp.$table DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.spy_trigger()",
	  "ALTER TABLE cfp.$table ENABLE ALWAYS TRIGGER spy_deferred",
	  "CREATE TRIGGER spy_inserted AFTER INSERT ON cfp.$table REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION evil.spy_table()",
	  "ALTER TABLE cfp.$table ENABLE ALWAYS TRIGGER spy_inserted",
	  "CREATE INDEX ${table}_spy ON cfp.$table (evil.quiet('$table index expression ' || $key))",
	  "CREATE INDEX ${table}_spy_where ON cfp.$table (($key)) WHERE evil.quiet('$table predicate') IS NOT NULL",
	  "CREATE STATISTICS cfp.${table}_spy_statistics ON (evil.quiet('$table statistics')), (evil.quiet('$table statistics ' || $key)) FROM cfp.$table",
	  "ALTER TABLE cfp.$table ADD CONSTRAINT ${table}_spy CHECK (evil.quiet('$table check ' || $key) IS NOT NULL)",
	  "ALTER TABLE cfp.$table ADD COLUMN extra text DEFAULT evil.spy('$table default')",
	  "ALTER TABLE cfp.$table ADD COLUMN made text GENERATED ALWAYS AS (evil.quiet('$table generated ' || $key)) STORED",
	  "ALTER TABLE cfp.$table ENABLE ROW LEVEL SECURITY",
	  "ALTER TABLE cfp.$table FORCE ROW LEVEL SECURITY",
	  "CREATE POLICY spy ON cfp.$table USING (evil.spy('$table policy') IS NOT NULL)";
	# ON CONFLICT is not for a table with rules.
	push @commands, "CREATE RULE spy AS ON INSERT TO cfp.$table DO ALSO SELECT evil.spy('$table rule')"
	  if $table =~ /^storage_(?:history|latest|dirty)$/;
	as($owner, join(";\n", @commands));
	as('mallory', 'TRUNCATE evil.log');
	return;
}

# Who was run as, other than those it may be.
sub only_as
{
	my ($roles, $what, @kinds) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql("SELECT role, what, count(*) FROM evil.log WHERE role <> ALL ('{$roles}') GROUP BY 1, 2 ORDER BY 2 LIMIT 20"), '', "$what: nothing runs as somebody else");
	is(sql(q{SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper AND oid <> 10}), '', "$what: nobody has become a superuser");
	foreach my $kind (@kinds)
	{
		isnt(sql(qq{SELECT count(*) FROM evil.log WHERE role ~ 'mallory' AND what ~ '$kind'}), '0', "$what: $kind ran");
	}
	as('mallory', 'TRUNCATE evil.log');
	return;
}

my $days = 0;
my $stores = 0;

# Each thing the worker and its jobs do.
sub do_all
{
	my ($what, $owner) = @_;
	$stores++;
	as('clerk', qq{SELECT cfp.cfp_store('k', '{}', 'i' || n, 'c', $stores) FROM generate_series(1, 20) n});
	is(as('keeper', 'SELECT cfp.cfp_flush() >= 0'), 't', "$what: flush");
	is(as('keeper', 'SELECT cfp.cfp_fold() > 0'), 't', "$what: fold");
	as('clerk', qq{SELECT cfp.cfp_store('k', '{}', 'i' || n, 'c', -$stores) FROM generate_series(1, 20) n;
		SELECT cfp.cfp_delete('k', 'i20', 'c')});
	is(as('keeper', 'SELECT cfp.cfp_fold()'), '20', "$what: fold of what is there");
	is(as('clerk', q{SELECT count(*) FROM cfp.cfp_items('k', 'c')}), '19', "$what: read");

	# A close of day: fold, backup, retention, which looks into the history.
	$days++;
	my $date = sql("SELECT date '2020-01-01' + $days");
	as('clerk', q{SELECT cfp.cfp_store('k', '{}', 'i1', 'c', 1)});
	my $insert = "INSERT INTO cfp.storage_days (date, started) VALUES ('$date', now())";
	if (sql(q{SELECT relowner = 10 FROM pg_class WHERE oid = 'cfp.storage_days'::regclass}) eq 't')
	{
		sql($insert);
	}
	else
	{
		as($owner, $insert);
	}
	sql('SELECT pg_reload_conf()');
	my @manifest;
	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if @manifest = glob($node->data_dir . "/cfp/*_$db/$date/manifest.json");
		usleep(100_000);
	}
	is(scalar(@manifest), 1, "$what: a backup");
	# The worker may be starting again.
	$node->poll_query_until($db, 'SELECT worker_pid IS NOT NULL FROM cfp.cfp_stat_row()') or BAIL_OUT('no worker');
	is(as('keeper', 'SELECT cfp.cfp_fold() >= 0'), 't', "$what: goes on after the close");
	is(as('keeper', "SELECT cfp.cfp_verify_backup('$date') > 0"), 't', "$what: verify");

	is(as('keeper', q{SELECT cfp.cfp_prune_history(keep_versions => 1, dry_run => true) > 0}), 't', "$what: prune, dry");
	is(as('keeper', q{SELECT cfp.cfp_prune_history(keep_versions => 1) > 0}), 't', "$what: prune");
	is(as('keeper', q{SELECT cfp.cfp_prune_history(older_than => now() + interval '1 hour') > 0}), 't', "$what: prune of what was deleted");
	is(as('keeper', qq{SELECT cfp.cfp_restore_backup('$date', discard_newer => true) > 0}), 't', "$what: restore");
	is(as('clerk', q{SELECT count(*) FROM cfp.cfp_items('k', 'c')}), '19', "$what: what is restored is read");
	is(as('keeper', 'SELECT cfp.cfp_rebuild_latest_from_history() >= 0'), 't', "$what: rebuild latest");
	my $open = as('keeper', 'SELECT max(date) FROM cfp.cfp_wal_files_rows()');
	is(as('keeper', "SELECT cfp.cfp_rebuild_history_from_wal('$open') >= 0"), 't', "$what: rebuild history");
	is(as('clerk', q{SELECT count(*) FROM cfp.cfp_items('k', 'c')}), '19', "$what: read at the end");
	return;
}

# ---- each table by itself, without a right on the schema for those that need none

my %kinds = (
	storage_latest => [ 'storage_latest spy_after_row', 'storage_latest spy_before_row', 'spy_before_statement', 'spy_after_statement', 'truncate', 'deferred',
		'rows', 'index expression', 'predicate', 'check', 'default', 'generated' ],
	storage_history => [ 'storage_history spy_after_row.*DELETE', 'spy_before_row.*DELETE', 'truncate', 'index expression', 'check', 'generated' ],
	storage_dirty => [ 'storage_dirty spy_after_row.*INSERT', 'spy_after_row.*DELETE', 'spy_before_row', 'deferred', 'index expression', 'check', 'default', 'generated' ]);
foreach my $table ('storage_latest', 'storage_history', 'storage_dirty')
{
	begin_case("only_$table");
	equip($table, 'mallory', 'key');
	sql("REVOKE ALL ON SCHEMA cfp FROM mallory; REVOKE ALL ON cfp.$table FROM mallory");
	do_all($table, 'mallory');
	only_as('mallory,clerk', $table, @{ $kinds{$table} });
}

# ---- two owners who must not run each other's code; cfp's own tables

begin_case('all_tables');
equip('storage_latest', 'mallory', 'key');
equip('storage_history', 'mallory2', 'key');
do_all('two owners', 'mallory');
is(sql(q{SELECT count(*) FROM evil.log WHERE role = 'mallory' AND what ~ '^storage_history' OR role = 'mallory2' AND what ~ '^storage_latest'}), '0',
	'two owners: neither runs the code of the other');
only_as('mallory,mallory2,clerk', 'two owners', 'storage_history', 'storage_latest');
foreach my $table ('cfp_state', 'storage_days', 'cfp_pruned', 'cfp_forgotten', 'storage_floors')
{
	equip($table, 'mallory', $table eq 'cfp_state' ? 'name' : $table eq 'storage_days' ? "(date - date '2000-01-01')::text" : "coalesce(key, '')");
}
sql('ALTER TABLE cfp.cfp_gate OWNER TO mallory');
do_all('all tables', 'mallory');
only_as('mallory,mallory2,clerk', 'all tables', 'cfp_state spy_after_row', 'cfp_state index expression', 'cfp_state spy_deferred', 'storage_days spy_after_row', 'cfp_pruned spy_after_row',
	'cfp_forgotten spy_after_row.*INSERT', 'cfp_forgotten spy_after_row.*DELETE', 'cfp_forgotten index expression', 'storage_floors spy_after_row', 'storage_floors check', 'storage_floors spy_deferred');

# A change by hand marks the database as cfp_state's owner, also with an index on an expression.
as('mallory2', q{UPDATE cfp.storage_history SET username = 'by hand' WHERE item_name = 'i1'});
as('keeper', 'SELECT cfp.cfp_fold()');
only_as('mallory,mallory2,clerk', 'a change by hand', 'cfp_state spy_after_row');

# What it gives up is noted as the owner of those tables, where no floor is
# above it.
as('clerk', q{SELECT cfp.cfp_store('k', '{}', 'i2', 'c', n) FROM generate_series(1, 9) n});
as('mallory2', q{DELETE FROM cfp.storage_history WHERE item_name = 'i2'});
only_as('mallory,mallory2,clerk', 'what is given up', 'cfp_forgotten spy_after_row.*INSERT', 'storage_floors spy_after_row');

# The triggers switched off and on are made to fire always again.
as('mallory', 'ALTER TABLE cfp.storage_latest DISABLE TRIGGER cfp_stamp');
as('mallory', 'ALTER TABLE cfp.storage_latest ENABLE TRIGGER cfp_stamp');
$node->poll_query_until($db, q{SELECT tgenabled = 'A' FROM pg_trigger WHERE tgrelid = 'cfp.storage_latest'::regclass AND tgname = 'cfp_stamp'})
  or BAIL_OUT('the trigger is not enabled again');
only_as('mallory,mallory2,clerk', 'triggers enabled again');

# ---- an owner that has taken its rights on cfp's own tables away

sql('REVOKE ALL ON cfp.cfp_state FROM mallory');
as('clerk', q{SELECT cfp.cfp_store('k', '{}', 'i1', 'c', 1)});
state_is($node, $db, 'SELECT cfp.cfp_flush()', '42501', qr/as its owner "mallory".*HINT: .*GRANT ALL ON cfp\.cfp_state TO mallory/s,
	'an owner without rights on cfp_state', extra_params => [ '-U', 'keeper' ]);
as('clerk', q{SELECT cfp.cfp_store('k', '{}', 'i1', 'c', 2)});
sql('GRANT ALL ON cfp.cfp_state TO mallory');
$node->poll_query_until($db, 'SELECT cfp.cfp_flush() IS NOT NULL') or BAIL_OUT('the worker does not go on');
pass('with them the worker goes on');

$node->stop;
log_ok($node, qr/cannot use table "cfp_state" as its owner/);
done_testing();
