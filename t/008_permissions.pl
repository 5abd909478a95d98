# Privileges: the same on a cache hit as on a miss, with a hint that helps.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use Test::More;

my $node = cfp_node('main');
cfp_install($node);
$node->safe_psql('postgres', q{
CREATE ROLE nobody LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE storer LOGIN;
CREATE ROLE updater LOGIN; CREATE ROLE deleter LOGIN; CREATE ROLE watcher LOGIN;
GRANT USAGE ON SCHEMA cfp TO PUBLIC;
GRANT SELECT ON cfp.storage_current TO reader;
GRANT INSERT ON cfp.storage_current TO storer;
GRANT UPDATE ON cfp.storage_current TO updater;
GRANT DELETE ON cfp.storage_current TO deleter;
GRANT pg_monitor TO watcher;
SELECT cfp.cfp_store('k', '{"a": 1}', 'i', 'c', 1)});

# SQL by what it needs.
my %reads = (
	cfp_get => q{SELECT cfp_get('k', 'i', 'c')},
	cfp_get_value => q{SELECT cfp_get_value('k', 'i', 'c')},
	cfp_get_text => q{SELECT cfp_get_text('k', 'i', 'c')},
	cfp_get_data => q{SELECT cfp_get_data('k', 'i', 'c')},
	cfp_item => q{SELECT cfp_item('k', 'i', 'c')},
	cfp_get_collection => q{SELECT cfp_get_collection('k', 'c')},
	cfp_get_values => q{SELECT cfp_get_values('k', 'c')},
	cfp_get_key => q{SELECT cfp_get_key('k')},
	cfp_get_collection_json => q{SELECT cfp_get_collection_json('k', 'c')},
	cfp_items => q{SELECT * FROM cfp_items('k', 'c')});
my $store = q{SELECT cfp_store('k', '{}', 'i', 'c', 2)};
my $delete = q{SELECT cfp_delete('k', 'i', 'c')};
my $delete_collection = q{SELECT cfp_delete_collection('k', 'c')};

sub as
{
	my ($user) = @_;
	return (extra_params => [ '-U', $user ]);
}

sub refused
{
	my ($user, $sql, $pattern, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return state_is($node, 'postgres', $sql, '42501', $pattern, "$what for $user", as($user));
}

sub allowed
{
	my ($user, $sql, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return state_is($node, 'postgres', $sql, '00000', undef, "$what for $user", as($user));
}

my $grant = sub { qr/HINT:[^\n]*GRANT $_[0] ON [^\n]*storage_current[^\n]* TO / };

foreach my $when ('miss', 'hit')
{
	foreach my $name (sort keys %reads)
	{
		$node->safe_psql('postgres', $when eq 'miss'
			? q{SELECT cfp_evict('k', 'c')} : q{SELECT cfp_warm('k', 'c')});
		refused('nobody', $reads{$name}, $grant->('SELECT'), "$name on a $when");
		refused('storer', $reads{$name}, $grant->('SELECT'), "$name on a $when");
		allowed('reader', $reads{$name}, "$name on a $when");
	}
	foreach my $user ('nobody', 'reader', 'deleter')
	{
		refused($user, $store, qr/HINT:[^\n]*GRANT [^\n]*(?:INSERT|UPDATE)[^\n]* ON [^\n]*storage_current/, "cfp_store on a $when");
	}
	allowed($_, $store, "cfp_store on a $when") foreach 'storer', 'updater';
	foreach my $user ('nobody', 'reader', 'storer')
	{
		refused($user, $delete, $grant->('DELETE'), "cfp_delete on a $when");
		refused($user, $delete_collection, $grant->('DELETE'), "cfp_delete_collection on a $when");
	}
	allowed('deleter', $delete, "cfp_delete on a $when");
	allowed('storer', $store, "cfp_store after a delete on a $when");
}

# A privilege that is taken away is gone at once, also for a session that
# remembers that it had it.
my $session = connect_node($node, 'postgres', user => 'reader');
$session->do('SET search_path = cfp');
is($session->selectrow_array(q{SELECT cfp_get_value('k', 'i', 'c')}), '2', 'a reader reads');
$node->safe_psql('postgres', 'REVOKE SELECT ON cfp.storage_current FROM reader');
is(eval { $session->selectrow_array(q{SELECT cfp_get_value('k', 'i', 'c')}); 1 }, undef, 'REVOKE works at once');
is($session->state, '42501', 'REVOKE: SQLSTATE');
$node->safe_psql('postgres', 'GRANT SELECT ON cfp.storage_current TO reader');
is($session->selectrow_array(q{SELECT cfp_get_value('k', 'i', 'c')}), '2', 'and so does GRANT');
$node->safe_psql('postgres', 'REVOKE SELECT ON cfp.storage_current FROM reader; CREATE ROLE readers; GRANT readers TO reader; GRANT SELECT ON cfp.storage_current TO readers');
is($session->selectrow_array(q{SELECT cfp_get_value('k', 'i', 'c')}), '2', 'through membership');
$node->safe_psql('postgres', 'REVOKE readers FROM reader');
is(eval { $session->selectrow_array(q{SELECT cfp_get_value('k', 'i', 'c')}); 1 }, undef, 'until that ends');
$session->disconnect;
$node->safe_psql('postgres', 'GRANT SELECT ON cfp.storage_current TO reader');

# SET ROLE and SECURITY DEFINER.
state_is($node, 'postgres', "SET ROLE nobody; $reads{cfp_get}", '42501', undef, 'SET ROLE to one without the privilege');
$node->safe_psql('postgres', q{
CREATE FUNCTION public.read_for_all() RETURNS jsonb LANGUAGE sql SECURITY DEFINER
	SET search_path = cfp AS $$SELECT cfp_get_value('k', 'i', 'c')$$});
is(allowed('nobody', 'SELECT public.read_for_all()', 'SECURITY DEFINER'), '2', 'SECURITY DEFINER reads');
refused('nobody', "SELECT public.read_for_all(); $reads{cfp_get}", undef, 'cfp_get after SECURITY DEFINER');

# storage_current is the other door to the same.
refused('nobody', 'SELECT * FROM storage_current', undef, 'the table');
allowed('reader', 'SELECT * FROM storage_current', 'the table');
refused('reader', q{INSERT INTO storage_current (key, collection_name, item_name, data) VALUES ('k', 'c', 'v', '{}')}, undef, 'INSERT on the table');
allowed('storer', q{INSERT INTO storage_current (key, collection_name, item_name, data) VALUES ('k', 'c', 'v', '{}')}, 'INSERT on the table');

# The tables and the history.
refused('reader', 'SELECT * FROM storage_history', undef, 'the table storage_history');
refused('reader', 'SELECT * FROM storage_latest', undef, 'the table storage_latest');
refused('reader', q{SELECT * FROM cfp_history('k', 'i', 'c')}, qr/HINT:[^\n]*GRANT SELECT ON [^\n]*storage_history/, 'cfp_history');
$node->safe_psql('postgres', 'GRANT SELECT ON cfp.storage_history TO reader');
allowed('reader', q{SELECT * FROM cfp_history('k', 'i', 'c')}, 'cfp_history with the privilege');

# Maintenance and statistics.
foreach my $call ('cfp_flush()', 'cfp_fold()', "cfp_warm('k', 'c')", "cfp_evict('k', 'c')")
{
	refused('reader', "SELECT $call", undef, $call);
	(my $function = $call) =~ s/\(.*//;
	my $arguments = $call =~ /'/ ? 'text, text' : '';
	$node->safe_psql('postgres', "GRANT EXECUTE ON FUNCTION cfp.$function($arguments) TO watcher");
	allowed('watcher', "SELECT $call", "$call with EXECUTE");
}
foreach my $view ('cfp_stat', 'cfp_stat_collections', 'cfp_stat_progress')
{
	refused('reader', "SELECT * FROM $view", undef, $view);
	allowed('watcher', "SELECT * FROM $view", $view);
}

# Row security: refused, not let past.
$node->safe_psql('postgres', q{
GRANT DELETE ON cfp.storage_current TO reader;
GRANT INSERT, UPDATE ON cfp.storage_current TO reader;
ALTER TABLE cfp.storage_latest ENABLE ROW LEVEL SECURITY});
foreach my $name (sort keys %reads)
{
	state_is($node, 'postgres', $reads{$name}, '0A000', qr/row(?:-level)? security/i, "$name with row security", as('reader'));
}
state_is($node, 'postgres', $store, '0A000', qr/row(?:-level)? security/i, 'cfp_store with row security', as('reader'));
state_is($node, 'postgres', $delete, '0A000', qr/row(?:-level)? security/i, 'cfp_delete with row security', as('reader'));
state_is($node, 'postgres', 'SELECT * FROM storage_current', '0A000', qr/row(?:-level)? security/i, 'the table with row security', as('reader'));
is($node->safe_psql('postgres', $reads{cfp_get_value}), '2', 'the owner of the tables is not subject to it');
$node->safe_psql('postgres', 'ALTER TABLE cfp.storage_latest DISABLE ROW LEVEL SECURITY');
allowed('reader', $reads{cfp_get}, 'cfp_get when row security is off again');
$node->safe_psql('postgres', 'ALTER TABLE cfp.storage_history ENABLE ROW LEVEL SECURITY');
state_is($node, 'postgres', $reads{cfp_get}, '0A000', qr/row(?:-level)? security/i, 'cfp_get with row security on the history', as('reader'));
state_is($node, 'postgres', q{SELECT * FROM cfp_history('k', 'i', 'c')}, '0A000', qr/row(?:-level)? security/i,
	'cfp_history with row security', as('reader'));
$node->safe_psql('postgres', 'ALTER ROLE reader BYPASSRLS');
allowed('reader', $reads{cfp_get}, 'cfp_get with BYPASSRLS');

$node->stop;
log_ok($node, qr/ERROR:  permission denied for/, qr/ERROR:  [^\n]*row(?:-level)? security/i);
done_testing();
