# What clients of a transaction-mode pooler do: statements prepared with
# untyped parameters, and a session that is somebody else's after each
# transaction.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use Test::More;

my $node = cfp_node('main');
cfp_install($node);

# PREPARE with untyped parameters: every one is text, or what the function says.
is( $node->safe_psql(
		'postgres', q{
PREPARE p AS SELECT cfp_store($1, $2, $3, $4, $5);
EXECUTE p('k', '{"a": 1}', 'i', 'c', 'text');
EXECUTE p('k', NULL, 'none', 'c', NULL);
PREPARE all_of_it AS SELECT cfp_store($1, $2, $3, $4, $5, $6, $7, $8);
EXECUTE all_of_it('k', '{}', 'i', 'c', '42', '2024-02-29', 'me', 1);
PREPARE g AS SELECT cfp_get_text($1, $2, $3), cfp_get($1, $2, $3) ->> 'username';
EXECUTE g('k', 'i', 'c');
PREPARE typed(text, jsonb, text, text, int) AS SELECT cfp_store($1, $2, $3, $4, $5);
EXECUTE typed('k', '{}', 'n', 'c', 7);
SELECT cfp_get_value('k', 'n', 'c'), jsonb_typeof(cfp_get_value('k', 'i', 'c'));
PREPARE d AS SELECT cfp_delete($1, $2, $3);
EXECUTE d('k', 'n', 'c')}) =~ s/^$/NULL/mr,
	"1\n1\n2\n42|me\n1\n7|string\n2", 'untyped parameters in SQL');

# The same from a driver, with the protocol's own prepare.
my @sessions = map { connect_node($node) } 1 .. 3;
foreach my $session (@sessions)
{
	my $store = $session->prepare('SELECT cfp_store($1, $2, $3, $4, $5)', { pg_prepare_now => 1 });
	$store->execute('driver', '{"x": "é"}', 'item', 'c', 'value');
	like($store->fetchall_arrayref->[0][0], qr/^\d$/, 'untyped parameters from a driver');
	my $get = $session->prepare('SELECT cfp_get_text($1, $2, $3)');
	$get->execute('driver', 'item', 'c');
	is($get->fetchall_arrayref->[0][0], 'value', 'and read back');
}

# Transaction after transaction on any of the server's sessions, with all
# state thrown away between them.
my %wanted;
foreach my $number (1 .. 200)
{
	my $session = $sessions[ $number % @sessions ];
	my $item = 'item' . ($number % 7);

	$session->do('BEGIN');
	my ($version) = $session->selectrow_array("SELECT cfp_store('pool', '{}', ?, 'c', ?::int)", undef, $item, $number);
	if ($number % 5)
	{
		$session->do('COMMIT');
		$wanted{$item} = $number;
	}
	else
	{
		$session->do('ROLLBACK');
	}
	$session->do('DISCARD ALL');
}
is_deeply(
	{ map { @$_ } @{ $sessions[0]->selectall_arrayref("SELECT item_name, value_int FROM cfp_items('pool', 'c')") } },
	\%wanted, 'transactions on any session, DISCARD ALL between them');

# A name set by a transaction for itself.
$sessions[0]->do('BEGIN');
$sessions[0]->do("SET LOCAL cfp.username = 'alice'");
$sessions[0]->do("SELECT cfp_store('pool', '{}', 'who', 'c')");
$sessions[0]->do('COMMIT');
is($sessions[1]->selectrow_array("SELECT cfp_get('pool', 'who', 'c') ->> 'username'"), 'alice', 'SET LOCAL cfp.username');
$sessions[0]->do("SELECT cfp_store('pool', '{}', 'who', 'c')");
is($sessions[1]->selectrow_array("SELECT cfp_get('pool', 'who', 'c') ->> 'username'"), undef, 'ends with its transaction');

$_->disconnect foreach @sessions;
seen_ok($node, 'all agree');
$node->stop;
log_ok($node);
done_testing();
