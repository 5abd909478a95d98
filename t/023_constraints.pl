# Constraints that a user makes on the storage tables hold for what the worker
# and its jobs write, too: an error stops that piece of work, stores and gets
# go on.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = cfp_node('main', 'cfp.retain_days = 0', "cfp.backup_history = 'full'");
cfp_install($node);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

my $value = 0;

# The fold fails with this, says so, and is the only one that fails.
sub fold_fails
{
	my ($state, $pattern, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	state_is($node, 'postgres', 'SELECT cfp_fold()', $state, $pattern, $what);
	like(sql('SELECT last_error FROM cfp_stat'), $pattern, "$what: last_error");
	$value++;
	is(sql("SELECT cfp_store('other', '{}', 'i', 'c', $value); SELECT cfp_get_value('other', 'i', 'c')") =~ s/.*\n//r, $value, "$what: stores and gets go on");
	return;
}

sub fold_works
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql('SELECT cfp_fold() >= 0'), 't', $what);
	latest_ok($node, "$what: latest is right");
	return;
}

# ---- a foreign key of latest, and of the history

sql(q{CREATE TABLE parent (name text COLLATE "C" PRIMARY KEY); INSERT INTO parent VALUES ('known'), ('old')});
foreach my $when ('', 'DEFERRABLE INITIALLY IMMEDIATE', 'DEFERRABLE INITIALLY DEFERRED')
{
	sql("ALTER TABLE cfp.storage_latest ADD CONSTRAINT of_parent FOREIGN KEY (status) REFERENCES parent $when");
	sql(q{SELECT cfp_store('fk', '{"status": "known"}', 'i', 'c')});
	fold_works("foreign key $when: what is known is folded");
	sql(q{SELECT cfp_store('fk', '{"status": "unknown"}', 'i', 'c')});
	fold_fails('23503', qr/of_parent/, "foreign key $when: an update");
	sql(q{SELECT cfp_store('fk', '{"status": "known"}', 'i', 'c'); SELECT cfp_store('fk', '{"status": "unknown"}', 'new', 'c')});
	fold_fails('23503', qr/of_parent/, "foreign key $when: an insert");
	state_is($node, 'postgres', 'SELECT cfp_rebuild_latest_from_history()', '23503', qr/of_parent/, "foreign key $when: rebuild of latest");
	is(sql(q{SELECT status FROM cfp.storage_latest WHERE key = 'fk' AND item_name = 'i'}), 'known', "foreign key $when: nothing of it is folded");
	sql(q{SELECT cfp_store('fk', '{"status": "known"}', 'new', 'c')});
	fold_works("foreign key $when: with what is known it goes on");
	sql('ALTER TABLE cfp.storage_latest DROP CONSTRAINT of_parent');
}

# ---- unique, checked at the end

sql('ALTER TABLE cfp.storage_latest ADD CONSTRAINT once UNIQUE (username) DEFERRABLE INITIALLY DEFERRED');
sql(q{SELECT cfp_store('unique', '{}', 'a', 'c', username => 'ann'); SELECT cfp_store('unique', '{}', 'b', 'c', username => 'bob')});
fold_works('unique: different ones');
sql(q{SELECT cfp_store('unique', '{}', 'a', 'c', username => 'bob'); SELECT cfp_store('unique', '{}', 'b', 'c', username => 'ann')});
fold_works('unique: two that are exchanged');
sql(q{SELECT cfp_store('unique', '{}', 'a', 'c', username => 'ann')});
fold_fails('23505', qr/once/, 'unique: the same twice');
sql(q{SELECT cfp_store('unique', '{}', 'a', 'c', username => 'bob')});
fold_works('unique: without it goes on');
sql('ALTER TABLE cfp.storage_latest DROP CONSTRAINT once');

sql(q{ALTER TABLE cfp.storage_latest ADD CONSTRAINT apart EXCLUDE USING btree (status_int WITH =) DEFERRABLE INITIALLY DEFERRED});
sql(q{SELECT cfp_store('exclude', '{"status_int": 1}', 'a', 'c'); SELECT cfp_store('exclude', '{"status_int": 1}', 'b', 'c')});
fold_fails('23P01', qr/apart/, 'exclusion');
sql(q{SELECT cfp_store('exclude', '{"status_int": 2}', 'b', 'c')});
fold_works('exclusion: without it goes on');
sql('ALTER TABLE cfp.storage_latest DROP CONSTRAINT apart');

sql(q{ALTER TABLE cfp.storage_latest ADD CONSTRAINT small CHECK (value_int < 1000)});
sql(q{SELECT cfp_store('check', '{}', 'a', 'c', 1000)});
fold_fails('23514', qr/small/, 'check');
sql(q{SELECT cfp_store('check', '{}', 'a', 'c', 1)});
fold_works('check: without it goes on');

# A trigger that is not for the worker does not fire in it; one that is does.
sql(q{
CREATE TABLE public.fired (name text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.fired VALUES (TG_NAME); RETURN NULL; END $$;
CREATE TRIGGER ordinary AFTER UPDATE ON cfp.storage_latest FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER of_value AFTER UPDATE OF value_int ON cfp.storage_latest FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER of_key AFTER UPDATE OF key ON cfp.storage_latest FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE cfp.storage_latest ENABLE ALWAYS TRIGGER of_value, ENABLE ALWAYS TRIGGER of_key;
SELECT cfp_store('check', '{}', 'a', 'c', 2)});
fold_works('with triggers');
is(sql('SELECT string_agg(name, $$ $$) FROM public.fired'), 'of_value', 'only that fires in the worker that is to');
sql('DROP TRIGGER ordinary ON cfp.storage_latest; DROP TRIGGER of_value ON cfp.storage_latest; DROP TRIGGER of_key ON cfp.storage_latest');

# A column of one's own gets its default, and keeps what it has.
sql(q{ALTER TABLE cfp.storage_latest ADD COLUMN note text DEFAULT 'none', ADD COLUMN twice bigint GENERATED ALWAYS AS (2 * value_int) STORED;
	UPDATE cfp.storage_latest SET note = 'mine' WHERE key = 'check' AND item_name = 'a';
	SELECT cfp_store('check', '{}', 'a', 'c', 3); SELECT cfp_store('check', '{}', 'b', 'c', 4); SELECT cfp_fold()});
is(sql(q{SELECT string_agg(item_name || ' ' || note || ' ' || twice, ', ' ORDER BY item_name) FROM cfp.storage_latest WHERE key = 'check'}),
	'a mine 6, b none 8', 'columns of a user');
sql('ALTER TABLE cfp.storage_latest DROP COLUMN note, DROP COLUMN twice');

# ---- what the jobs bring back

sql(q{SELECT cfp_store('back', '{"status": "old"}', 'i', 'c'); SELECT cfp_flush();
	INSERT INTO cfp.storage_days (date, started) VALUES ('2020-01-02', now()); SELECT pg_reload_conf()});
wait_true($node, q{SELECT finished IS NOT NULL FROM cfp.storage_days WHERE date = '2020-01-02'});
sql(q{SELECT cfp_store('back', '{"status": "known"}', 'i', 'c'); SELECT cfp_fold();
	DELETE FROM cfp.storage_history WHERE status NOT IN ('known');
	ALTER TABLE cfp.storage_history ADD CONSTRAINT of_parent FOREIGN KEY (status) REFERENCES parent DEFERRABLE INITIALLY DEFERRED;
	DELETE FROM parent WHERE name = 'old'; SELECT cfp_fold()});
my $open = sql('SELECT max(date) FROM cfp_wal_files');
my $first = sql('SELECT min(date) FROM cfp_wal_files');
state_is($node, 'postgres', "SELECT cfp_rebuild_history_from_wal('$first', '$open')", '23503', qr/of_parent/, 'a rebuild of the history');
state_is($node, 'postgres', q{SELECT cfp_restore_backup('2020-01-02', discard_newer => true)}, '23503', qr/of_parent/, 'a restore of the history');
sql(q{ALTER TABLE cfp.storage_history DROP CONSTRAINT of_parent; ALTER TABLE cfp.storage_latest ADD CONSTRAINT of_parent FOREIGN KEY (status) REFERENCES parent});
state_is($node, 'postgres', q{SELECT cfp_restore_backup('2020-01-02', discard_newer => true)}, '23503', qr/of_parent/, 'a restore of latest');
is(sql(q{SELECT cfp_get_data('back', 'i', 'c')}), '{"status": "known"}', 'nothing has changed');
sql(q{INSERT INTO parent VALUES ('old'), ('unknown'); SELECT cfp_restore_backup('2020-01-02', discard_newer => true)});
is(sql(q{SELECT cfp_get_data('back', 'i', 'c')}), '{"status": "old"}', 'with what is wanted it works');
seen_ok($node, 'all agree');

$node->stop;
log_ok($node, qr/of_parent|once|apart|small/);
done_testing();
