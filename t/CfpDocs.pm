# The commands of README.md and docs/*.md, run in the order and as they are
# printed, each document on a server of its own; what is printed as their
# output is compared with it.
#
# What a block is, is seen from its lines: a configuration (name = value), shell
# commands ($ ...), the form of a function (cfp_x(...) RETURNS ...), or psql
# input with its output. Only what cannot be seen is said, in comments before
# the block:
#
#   <!-- test: not run: WHY -->  it is no command, or who else runs it
#   <!-- test: before: SQL -->   what there is before, by a superuser
#   <!-- test: after: SQL -->    true afterwards
#   <!-- test: like -->          numbers of the output are others
#   <!-- test: as: ROLE -->      who runs it (else a superuser)
#   <!-- test: in: DATABASE -->  where (else app)
#   <!-- test: stage: NAME -->   what the sub stage_NAME below makes, before
#   <!-- test: by: NAME -->      the sub run_NAME below runs it: more than a session
#   <!-- test: client: NAME -->  a program, run by CfpClients.pm; what it prints is the next block
#   <!-- test: file: NAME -->    a file that the next program finds beside it
#
# A block that is none of these fails.  Dates, times, etags in an output stand
# for any; an ellipsis for anything.  Dates in commands, directories and oids
# are replaced by what there is (sub as_here).

package CfpDocs;

use strict;
use warnings;

use CfpClients;
use CfpTest;
use Cwd;
use Exporter 'import';
use File::Path qw(make_path);
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(documents_there run_documents);

# Where the documents are.
my $top = Cwd::realpath("$FindBin::RealBin/..");

my $user = getpwuid($<);
my ($gid) = split " ", $(;
my $group = getgrgid($gid);
my ($bin) = grep { -x "$_/postgres" } split /:/, $ENV{PATH};
my $timeout = $PostgreSQL::Test::Utils::timeout_default;

# Of the document that is being run.
my ($scratch, $document, $node, $open_date, %session, @others, $conf, $cwd, $old_directory, %files);

# ---------------------------------------------------------------------------
# Reading a document
# ---------------------------------------------------------------------------

# The blocks of code of a document, in order: lines, number of the first, and
# the marks before it.
sub blocks
{
	my ($file) = @_;
	my @lines = split /\n/, slurp_file("$top/$file");
	my (@blocks, @marks);

	for (my $i = 0; $i < @lines; $i++)
	{
		if ($lines[$i] =~ /^\s*<!-- test: (.*)/)
		{
			my $mark = $1;
			$mark .= "\n" . $lines[ ++$i ] until $mark =~ s/\s*-->\s*$// || $i >= $#lines;
			push @marks, { text => $mark, line => $i + 1 };
		}
		elsif ($lines[$i] =~ /^(\s*)(```+|~~~+)/)
		{
			my ($indent, $fence, $first) = ($1, $2, $i + 2);
			my @code;
			push @code, $lines[$i] while ++$i < @lines && $lines[$i] !~ /^\s*\Q$fence\E/;
			s/^\Q$indent\E// foreach @code;
			push @blocks, { file => $file, line => $first, code => \@code, marks => [@marks] };
			@marks = ();
		}
		elsif (($i == 0 || $lines[ $i - 1 ] =~ /^\s*$|-->\s*$/) && $lines[$i] =~ /^( {4,}|\t+)\S/)
		{
			my ($indent, $first) = ($1, $i + 1);
			my @code;
			while ($i < @lines && $lines[$i] =~ /^(?:\Q$indent\E|\s*$)/)
			{
				push @code, $lines[ $i++ ];
			}
			pop @code, $i-- while $code[-1] =~ /^\s*$/;
			$i--;
			s/^\Q$indent\E// foreach @code;
			push @blocks, { file => $file, line => $first, code => \@code, marks => [@marks] };
			@marks = ();
		}
		elsif ($lines[$i] !~ /^\s*$/ && @marks)
		{
			fail("$file:$marks[0]{line}: a mark with no block behind it");
			@marks = ();
		}
	}
	return @blocks;
}

# Which marks a block has: name => text.
sub marks
{
	my ($block) = @_;
	my %mark;

	foreach my $mark (@{ $block->{marks} })
	{
		if ($mark->{text} =~ /^(not run|before|after|as|in|stage|by|client|file): (.+)$/s)
		{
			push @{ $mark{$1} }, $2;
		}
		elsif ($mark->{text} eq 'like')
		{
			$mark{like} = 1;
		}
		else
		{
			fail("$block->{file}:$mark->{line}: an unknown mark");
		}
	}
	return %mark;
}

sub kind
{
	my ($block) = @_;
	my @code = grep { /\S/ } @{ $block->{code} };

	return 'shell' unless grep { !/^\$ / } @code;
	return 'configuration' unless grep { !/^[a-z_.]+ = \S/ } @code;
	return 'signature' if $code[0] =~ /^cfp_\w+\(/ && grep { /\) RETURNS \w/ } @code;
	return 'psql' if starts_statement($code[0]) || $code[0] =~ /^-- /;
	return 'unknown';
}

sub starts_statement
{
	return $_[0] =~ /^(?:\\[a-z!]|(?:ALTER|BEGIN|CLUSTER|COMMIT|CREATE|DELETE|DROP|EXECUTE|EXPLAIN|GRANT|IMPORT|INSERT|LOCK|PREPARE|REINDEX|RESET|REVOKE|ROLLBACK|SAVEPOINT|SELECT|SET|SHOW|TABLE|TRUNCATE|UPDATE|VACUUM|WITH)\b)/;
}

# What psql reads, statement by statement, with the output shown behind each.
# A comment behind a statement that is a value is its output.
sub statements
{
	my ($block) = @_;
	my (@statements, $open);
	my $number = $block->{line} - 1;

	foreach my $line (@{ $block->{code} })
	{
		$number++;
		if (!$open && (starts_statement($line) || $line =~ /^-- / || $line eq ''))
		{
			next if $line =~ /^(?:-- |$)/;
			$open = { line => $number, sql => '', shown => [] };
			push @statements, $open;
		}
		if (!$open)
		{
			fail("$block->{file}:$number: an output of what?"), next unless @statements;
			push @{ $statements[-1]{shown} }, $line;
			next;
		}
		$open->{sql} .= "$line\n";
		my $comment = $line =~ /;\s+-- (.*)$/ ? $1 : undef;
		# without comments and strings, is it at an end?
		(my $bare = $open->{sql}) =~ s/(\$\w*\$).*?\1|'[^']*'|--[^\n]*//gs;
		if ($bare !~ /'|\$(?:[A-Za-z_]\w*)?\$/ && ($bare =~ /;\s*$/ || $line =~ /^\\/))
		{
			$open->{value} = $1
			  if defined $comment && $comment =~ /^(NULL|[tf]|-?\d+(?:\.\d+)?|"[^"]*"|\{.*\})(?=$|[,:] )/;
			undef $open;
		}
	}
	fail("$block->{file}:$open->{line}: a statement without an end") if $open;
	return @statements;
}

# ---------------------------------------------------------------------------
# Running psql
# ---------------------------------------------------------------------------

# What is printed, with what stands for something else here.
sub as_here
{
	my ($text) = @_;
	my $srv = "$scratch/$document/srv";
	my $old = "$scratch/$document/old";

	$text =~ s{\b2026-11-(2[0-3])\b}{date($1 - 23)}ge;
	$text =~ s{(?<![\w/.])/srv/}{$srv/}g;
	$text =~ s{(?<![\w/.])/old/}{$old/}g;
	$text =~ s{(?<![\w/.])/new/}{$scratch/$document/new/}g;
	$text =~ s{/usr/lib/postgresql/\d+/bin\b}{$bin}g;
	$text =~ s{\b16384_app\b}{$old_directory // directory()}ge;
	$text =~ s{\b16385_app\b}{directory()}ge;
	$text =~ s{host=(?:…)}{host=@{[$others[0]->host]} port=@{[$others[0]->port]}}g;
	$text =~ s{user=(?:…)}{user=$user}g;
	$text =~ s{\bsudo }{}g;
	$text =~ s{-o postgres -g postgres}{-o $user -g $group};
	$text =~ s{\bpostgres:}{$user:}g;
	return $text;
}

# A date that many days from the open one.
sub date
{
	my ($days) = @_;

	return $node->safe_psql('postgres', "SELECT date '$open_date' + ($days)");
}

# The directory of the database app.
sub directory
{
	return $node->safe_psql('postgres', "SELECT oid || '_app' FROM pg_database WHERE datname = 'app'");
}

sub session_name
{
	my ($database, $role, $name) = @_;

	return join ' ', $node->name, $database, $role // '', $name // '';
}

# A session of psql, kept open until the document ends or the server restarts.
sub session
{
	my ($database, $role, $name) = @_;
	my $session = \$session{ session_name($database, $role, $name) };

	unless (defined $$session)
	{
		my ($in, $out, $err) = ('', '', '');
		my @command = ('psql', '-X', '-q', '-P', 'pager=off', '-P', 'footer=off',
			'-d', $node->connstr($database), defined $role ? ('-U', $role) : ());
		$$session = {
			in => \$in,
			out => \$out,
			err => \$err,
			run => IPC::Run::start(\@command, '<', \$in, '>', \$out, '2>', \$err,
				init => sub { chdir "$scratch/$document" or die },
				my $timer = IPC::Run::timeout($timeout)) };
		$$session->{timer} = $timer;
	}
	return $$session;
}

sub close_sessions
{
	foreach my $session (values %session)
	{
		${ $session->{in} } .= "\\q\n";
		eval { $session->{run}->finish };
	}
	%session = ();
	return;
}

my $marker = 0;

# Sends psql something; answer() waits for what comes of it.
sub send_psql
{
	my ($session, $text) = @_;

	$marker++;
	$session->{marker} = "--- that was $marker ---";
	${ $session->{out} } = ${ $session->{err} } = '';
	${ $session->{in} } .= "$text\n\\echo '$session->{marker}'\n\\warn '$session->{marker}'\n";
	$session->{timer}->start($timeout);
	$session->{run}->pump_nb;
	return;
}

sub answer
{
	my ($session) = @_;
	my $marker = $session->{marker};

	while (${ $session->{out} } !~ /\Q$marker\E\n/ || ${ $session->{err} } !~ /\Q$marker\E\n/)
	{
		$session->{run}->pump;
	}
	return map { s/\Q$marker\E\n//r } ${ $session->{out} }, ${ $session->{err} };
}

# Outputs are compared without the width of columns.
sub flat
{
	my ($text) = @_;

	$text =~ s/^[-+]{3,}$/---/gm;
	$text =~ s/^-+\+[-+]+$/---/gm;
	$text =~ s/\s*\|\s*/ | /g;
	$text =~ s/\s+/ /g;
	$text =~ s/^ | $//g;
	return $text;
}

# A pattern for an output as it is shown.
sub pattern
{
	my ($shown, $like) = @_;
	my $pattern = '';

	$shown = flat($shown);
	while ($shown ne '')
	{
		if ($shown =~ s/^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+\d\d(?::\d\d)?)?//)
		{
			$pattern .= '\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+\d\d(?::\d\d)?)?';
		}
		elsif ($shown =~ s/^\d{4}-\d\d-\d\d//)
		{
			$pattern .= '\d{4}-\d\d-\d\d';
		}
		elsif ($shown =~ s/^"[0-9a-f]{16}"//)
		{
			$pattern .= '"[0-9a-f]{16}"';
		}
		elsif ($shown =~ s/^(?:…|\.\.\.|\xe2\x80\xa6)//)
		{
			$pattern .= '.*?';
		}
		elsif ($like && $shown =~ s/^\d+(?:\.\d+)?//)
		{
			$pattern .= '\d+(?:\.\d+)?';
		}
		else
		{
			$shown =~ s/^(\d+|.)//s;
			$pattern .= quotemeta $1;
		}
	}
	return qr/^$pattern$/;
}

# What a statement gave, against what is shown of it.
sub answered_ok
{
	my ($statement, $out, $err, $what, $like) = @_;
	my $shown = join "\n", @{ $statement->{shown} };
	my $pattern;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$err =~ s/^(?:CONTEXT|LOCATION|LINE \d+): .*\n(?:\s.*\n)*//gm;
	if ($shown =~ /\S/)
	{
		# without a line below the names of the columns it is the rows alone
		$out =~ s/^.*\n-[-+]*\n// unless $shown =~ /^-{3}/m;
		$pattern = pattern($shown, $like);
		# all that is shown of a message is its first lines
		$err =~ s/^(?:DETAIL|HINT): .*\n//gm unless $shown =~ /^(?:DETAIL|HINT):/m;
		like(flat("$err$out"), $pattern, "$what: as shown");
		return;
	}
	unlike($err, qr/^(?:ERROR|FATAL|PANIC): |^psql: |^\\\w+: |invalid command/m, $what) or return;
	if (defined $statement->{value})
	{
		$out =~ s/^.*\n-[-+]*\n//;
		$out = 'NULL' unless $out =~ /\S/;
		like(flat($out), pattern($statement->{value}, $like), "$what: the value in its comment");
	}
	return;
}

# A statement by its first line.
sub name_of
{
	my ($block, $line, $text) = @_;
	my ($first) = split /\n/, $text;

	return sprintf '%s:%d %s', $block->{file}, $line, length $first > 60 ? substr($first, 0, 57) . '...' : $first;
}

sub run_statement
{
	my ($block, $session, $statement, $like) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	send_psql($session, as_here($statement->{sql}));
	answered_ok($statement, answer($session), name_of($block, $statement->{line}, $statement->{sql}), $like);
	return;
}

# SQL of a mark: an error of it is one of the document.
sub sql_of_mark
{
	my ($database, $sql) = @_;

	return $node->safe_psql($database, as_here($sql));
}

# ---------------------------------------------------------------------------
# Running the other kinds
# ---------------------------------------------------------------------------

sub run_configuration
{
	my ($block) = @_;
	my $text = join "\n", @{ $block->{code} };

	close_sessions();
	$node->append_conf('postgresql.conf', as_here($text));
	$node->restart;
	foreach my $line (@{ $block->{code} })
	{
		next unless $line =~ /^(\S+) = '?(.*?)'?\s*(?:#.*)?$/;
		my ($name, $value) = ($1, as_here($2));
		is($node->safe_psql('postgres', "SELECT current_setting('$name')"), $value, "$block->{file}:$block->{line} $name");
	}
	return;
}

# All commands of a block in one shell, which stops where one fails.
sub run_shell
{
	my ($block) = @_;
	my @lines = map { s/^\$ //r } @{ $block->{code} };
	my $script = as_here(join "\n", @lines);
	my ($out, $err) = ('', '');

	if ($script =~ /\b(jq|zstd)\b/ && !grep { -x "$_/$1" } split /:/, $ENV{PATH})
	{
		SKIP: { skip("$block->{file}:$block->{line}: no $1 here", 1) }
		return;
	}
	close_sessions() if $script =~ /\bpg_ctl\b/;
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATA} = $node->data_dir;
	local $ENV{PGUSER} = $user;
	# a server started here is not to keep our pipes
	my $log = $node->logfile;
	$script =~ s{^pg_ctl start$}{pg_ctl -w -l '$log' start >/dev/null}m;
	my $where = $cwd // "$scratch/$document/home";
	undef $cwd;
	make_path($where);
	my $result = IPC::Run::run([ 'bash', '-e', '-o', 'pipefail', '-c', "cd '$where'\n$script" ],
		'>', \$out, '2>', \$err);
	ok($result, name_of($block, $block->{line}, $lines[0])) or diag($out, $err);
	if ($script =~ /\bpg_ctl\b.*start/)
	{
		$node->_update_pid(1);
	}
	return ($out, $err);
}

# The form of a function, against the catalog.
sub run_signature
{
	my ($block) = @_;
	my $text = join ' ', @{ $block->{code} };

	$text =~ s/\s+/ /g;
	while ($text =~ s/^\s*(cfp_\w+)\((.*?)\) RETURNS ((?:SETOF )?\w+)//)
	{
		my ($name, $arguments, $result) = ($1, $2, $3);
		my @arguments = split /, /, $arguments;
		my $typed = !@arguments || $arguments[0] =~ / /;
		my $wanted = $typed ? types($arguments) : join ', ', @arguments;
		my $there = $node->safe_psql('app', $typed
			? qq{SELECT replace(pg_get_function_arguments(p.oid), '::jsonb', '') || ' ' || pg_get_function_result(p.oid)
				FROM pg_proc p WHERE proname = '$name'}
			: qq{SELECT array_to_string(proargnames[:$#arguments + 1], ', ') || ' ' || pg_get_function_result(p.oid)
				FROM pg_proc p WHERE proname = '$name'});
		$there = types($there) =~ s/NULL::(?:timestamp with time zone|\w+)/NULL/gr;
		ok(scalar(grep { $_ eq types("$wanted $result") } split /\n/, $there),
			"$block->{file}:$block->{line} $name") or diag("shown: ", types("$wanted $result"), "\nthere: $there");
	}
	like($text, qr/^\s*$/, "$block->{file}:$block->{line} the forms of functions, and nothing else");
	return;
}

sub types
{
	my ($text) = @_;

	$text =~ s/\btimestamptz\b/timestamp with time zone/g;
	return $text;
}

sub run_psql
{
	my ($block, %mark) = @_;

	foreach my $statement (statements($block))
	{
		my $session = $mark{in} || $mark{as}
		  ? session($mark{in} ? $mark{in}[0] : 'app', $mark{as} ? $mark{as}[0] : undef, 'marked')
		  : session($conf->{database});
		run_statement($block, $session, $statement, $mark{like});
		if ($statement->{sql} =~ /^\\c (\w+)/)
		{
			# the same session, from now on in another database
			my $name = session_name($conf->{database});
			$conf->{database} = $1;
			$session{ session_name($1) } = delete $session{$name};
		}
	}
	return;
}

sub run_block
{
	my ($block) = @_;
	my %mark = marks($block);
	my $where = "$block->{file}:$block->{line}";

	if ($mark{'not run'})
	{
		pass("$where is not run: $mark{'not run'}[0]");
		return;
	}
	foreach my $name (@{ $mark{stage} // [] })
	{
		my $sub = CfpDocs->can("stage_$name") // return fail("$where: no stage_$name");
		$sub->();
	}
	sql_of_mark($mark{in} ? $mark{in}[0] : 'app', $_) foreach @{ $mark{before} // [] };

	my $kind = $mark{by} ? $mark{by}[0] : $mark{client} ? 'client' : $mark{file} ? 'file' : kind($block);
	my $run = CfpDocs->can("run_$kind");
	return fail("$where: nobody runs this block (see the head of t/CfpDocs.pm): $block->{code}[0]")
	  unless $run && $kind !~ /^(?:block|statement)$/;
	$run->($block, %mark);

	is(sql_of_mark($mark{in} ? $mark{in}[0] : 'app', $_), 't', "$where: afterwards") foreach @{ $mark{after} // [] };
	return;
}

# ---------------------------------------------------------------------------
# What the text takes for granted
# ---------------------------------------------------------------------------

# A server without cfp in its configuration, where it is the afternoon, so that
# no date ends meanwhile.
sub bare_server
{
	my ($name) = @_;
	my $hour = (gmtime)[2];
	my $zone = sprintf 'Etc/GMT%+d', $hour - 14;

	my $server = PostgreSQL::Test::Cluster->new($name);
	$server->init;
	$server->append_conf('postgresql.conf', join "\n", 'jit = off', "timezone = 'UTC'",
		'cfp.min_free_space = 0', "cfp.timezone = '$zone'", 'max_worker_processes = 20',
		# what follows a change by hand comes this long after it
		'cfp.flush_interval = 1s',
		'wal_level = replica', 'max_wal_senders = 5', 'max_replication_slots = 5');
	$server->start;
	$open_date = $server->safe_psql('postgres', "SELECT (now() AT TIME ZONE '$zone')::date");
	return $server;
}

# Dates closed with their backups, and stores on each and on the open one: the
# newest backup is the second of them.
sub stage_days
{
	foreach my $days (-3 .. -1)
	{
		my $date = date($days);
		$node->poll_query_until('app', q{SELECT count(*) = 2 FROM cfp.cfp_state WHERE name IN ('day', 'files')})
		  or BAIL_OUT('no day files');
		$node->safe_psql('app', qq{
BEGIN;
DELETE FROM cfp.storage_days WHERE date >= '$date';
UPDATE cfp.cfp_state SET date = date '$date' - 1 WHERE name = 'day';
UPDATE cfp.cfp_state SET date = '$date', file = 0, length = 0 WHERE name = 'files';
SELECT cfp.cfp_store('days', '{}', 'day ' || n, 'c', n) FROM generate_series(1, 4 + $days) n;
COMMIT});
		$node->safe_psql('app', 'SELECT cfp.cfp_flush()');
		$node->safe_psql('app', "ALTER DATABASE app SET cfp.backup_history = 'off'") if $days == -1;
		$node->reload;
		$node->poll_query_until('app', "SELECT finished IS NOT NULL FROM cfp.storage_days WHERE date = '$date'")
		  or BAIL_OUT("$date is not closed");
	}
	$node->safe_psql('app', 'ALTER DATABASE app RESET cfp.backup_history');
	$node->reload;
	wait_worker($node, 'app');
	$node->safe_psql('app', q{SELECT cfp.cfp_store('days', '{}', 'today', 'c', 1)});
	$node->safe_psql('app', 'SELECT cfp.cfp_flush()');
	return;
}

# A view of what cfp shows is kept, to be compared with later.
sub stage_keep
{
	$node->safe_psql('app', q{
DROP TABLE IF EXISTS public.kept;
CREATE TABLE public.kept AS SELECT to_jsonb(c) - 'txid' AS r FROM cfp.storage_current c});
	return;
}

# The worker has nothing to do.
sub stage_idle
{
	$node->poll_query_until('app', q{SELECT worker_state = 'idle' AND unflushed_records = 0 FROM cfp.cfp_stat})
	  or BAIL_OUT('the worker is not idle');
	return;
}

# A new database app, with cfp.
sub stage_app
{
	close_sessions();
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS app');
	$node->safe_psql('postgres', 'CREATE DATABASE app');
	$node->safe_psql('app', 'CREATE SCHEMA cfp; CREATE EXTENSION cfp SCHEMA cfp');
	$node->safe_psql('app', 'ALTER DATABASE app SET search_path = public, cfp');
	wait_worker($node, 'app');
	return;
}

# A new database app, with two computers.
sub stage_office
{
	stage_app();
	$node->safe_psql('app', q{
SELECT cfp_store('office 1', '{"model": "T14"}', 'pc-17', 'computers', 1499);
SELECT cfp_store('office 1', '{"model": "X1", "status": "lent", "status_int": 2}', 'pc-18', 'computers', 1899.5, username => 'anna');
SELECT cfp_store('office 1', '{"model": "X1"}', 'pc-18', 'computers', 1899.5)});
	return;
}

# Who may end the worker: a superuser.
sub stage_who_ends_the_worker
{
	$node->safe_psql('app', 'CREATE ROLE signaller LOGIN; GRANT pg_signal_backend, pg_monitor TO signaller; GRANT USAGE ON SCHEMA cfp TO signaller');
	state_is($node, 'app', 'SET ROLE signaller; SELECT pg_terminate_backend(worker_pid) FROM cfp.cfp_stat',
		'42501', qr/superuser|terminate/i, 'a member of pg_signal_backend does not end the worker');
	push @{ $conf->{log} }, qr/ERROR:  (?:must be a superuser to terminate|permission denied to terminate)/;
	return;
}

# The clock was ahead for a moment: dates up to 2036 are closed, or skipped.
sub stage_wrong_clock
{
	my $date = date(-3);

	wait_worker($node, 'app');
	$node->safe_psql('app', qq{
BEGIN;
LOCK TABLE cfp.cfp_state;
INSERT INTO cfp.storage_days (date, started, finished) VALUES ('$date', now(), now());
INSERT INTO cfp.storage_days (date, started, finished, error) VALUES ('2036-11-17', now(), now(), 'skipped: a wrong clock');
UPDATE cfp.cfp_state SET date = '2036-11-17' WHERE name = 'day';
UPDATE cfp.cfp_state SET date = '2036-11-18', file = 0, length = 0 WHERE name = 'files';
SELECT cfp.cfp_store('clock', '{}');
COMMIT});
	$node->safe_psql('app', 'SELECT cfp.cfp_flush()');
	return;
}

# cfp.base_dir is where it was before it was moved.
sub stage_moved_back
{
	my $srv = "$scratch/$document/srv";

	close_sessions();
	$node->stop;
	rename "$srv/cfp", "$srv/cfp0" or die "could not rename $srv/cfp: $!";
	rename "$srv/cfp2", "$srv/cfp" or die "could not rename $srv/cfp2: $!";
	$node->append_conf('postgresql.conf', "cfp.base_dir = '$srv/cfp'");
	$node->start;
	wait_worker($node, 'app');
	return;
}

# The next shell begins in the directory of a date.
sub stage_date_directory
{
	$cwd = as_here('/srv/cfp/16384_app/2026-11-20');
	return;
}

# Only the old server's cfp.base_dir is left of it.
sub stage_new_server
{
	my $base = $node->safe_psql('postgres', 'SHOW cfp.base_dir');

	$old_directory = directory();
	make_path("$scratch/new/old", "$scratch/new/srv");
	system_or_bail('cp', '-a', $base, "$scratch/new/old/cfp");
	push @others, $node;
	$document = 'new';
	$node = bare_server('new');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cfp'\ncfp.base_dir = '$scratch/new/srv/cfp'\ncfp.wal_files = off");
	$node->restart;
	# so that its directory has another name
	$node->safe_psql('postgres', 'CREATE DATABASE another');
	stage_app();
	return;
}

sub stage_old_server
{
	close_sessions();
	$node->stop;
	$node = pop @others;
	($document) = $conf->{file} =~ /(\w+)\.md$/;
	undef $old_directory;
	return;
}

# Another server with cfp, whose database has no extension yet.
sub stage_subscriber
{
	push @others, $node;
	$node = bare_server('subscriber');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cfp'");
	$node->restart;
	$node->safe_psql('postgres', 'CREATE DATABASE app');
	$node->safe_psql('app', 'ALTER DATABASE app SET search_path = public, cfp');
	return;
}

# What was published has arrived.  Then, on the publisher: which order another
# program sees.
sub stage_decode
{
	my $wanted = $others[0]->safe_psql('app', 'SELECT count(*) FROM storage_history');

	$node->poll_query_until('app', 'SELECT count(*) FROM cfp.storage_history', $wanted)
	  or BAIL_OUT('the subscriber did not get what was published');
	is($node->safe_psql('app', q{SELECT cfp_get_value('days', 'today', 'c')}), '1', 'the subscriber shows what was published');
	close_sessions();
	$node->safe_psql('app', 'DROP SUBSCRIPTION cfp_sub');
	$node->stop;
	$node = pop @others;

	$node->safe_psql('app', q{SELECT pg_create_logical_replication_slot('order', 'test_decoding')});
	my ($low, $high) = map { session('app', undef, $_) } 'low', 'high';
	foreach my $session ($low, $high)
	{
		send_psql($session, q{BEGIN; SELECT cfp_store('order', '{}');});
		answer($session);
	}
	foreach my $session ($high, $low)
	{
		send_psql($session, 'COMMIT;');
		answer($session);
	}
	my ($first_seen, $then) = split ' ', $node->safe_psql('app', q{
SELECT string_agg(substring(data FROM 'version.integer.:(\d+)'), ' ') FROM pg_logical_slot_get_changes('order', NULL, NULL)
WHERE data LIKE '%INSERT: key[text]:''order''%' AND data LIKE 'table cfp.storage_history:%'});
	cmp_ok($first_seen, '>', $then, 'a program sees versions in the order of the commits');
	$node->safe_psql('app', q{SELECT pg_drop_replication_slot('order')});

	# plugins must be named by servers that have the setting
	my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
	my %since = (15 => 150019, 16 => 160015, 17 => 170011, 18 => 180006);
	my $first = $since{ int($version / 10000) } // 190000;
	is($node->safe_psql('postgres', q{SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries'}),
		'pgoutput, test_decoding', 'output_plugin_libraries') if $version >= $first;
	return;
}

# ---------------------------------------------------------------------------
# Blocks of their own kind
# ---------------------------------------------------------------------------

# Files below cfp.base_dir, one a line.
sub run_files
{
	my ($block) = @_;
	my $base = $node->safe_psql('postgres', 'SHOW cfp.base_dir');

	$base = $node->data_dir . "/$base" unless $base =~ m{^/};
	foreach my $line (@{ $block->{code} })
	{
		my ($file) = split ' ', as_here($line);
		ok(-s "$base/$file", "$block->{file}:$block->{line} there is $file");
	}
	return;
}

# A file that the next program finds beside it.
sub run_file
{
	my ($block, %mark) = @_;

	$files{ $mark{file}[0] } = join "\n", @{ $block->{code} }, '';
	return;
}

# A program, where its language and library are there.
sub run_client
{
	my ($block, %mark) = @_;
	my $name = $mark{client}[0];
	my $where = "$block->{file}:$block->{line} $name";
	my %beside = %files;

	%files = ();
  SKIP:
	{
		my $missing = client_missing($name, "$scratch/$document");
		if (defined $missing)
		{
			note("note: $name is not run: $missing");
			skip("$where: $missing", 2);
		}
		my ($ended, $out, $err) = client_output($name, "$scratch/$document", $node,
			join("\n", @{ $block->{code} }, ''), %beside);
		ok($ended, "$where ends well") or diag($out, $err);
		like(flat($out), pattern(join("\n", @{ $block->{prints} })), "$where prints what is shown") or diag($err);
	}
	return;
}

# A write skew: what the other does stands in a comment.
sub run_write_skew
{
	my ($block) = @_;
	my ($begin, $read, $store, $commit) = statements($block);
	my ($one, $two) = map { session('app', undef, $_) } 1, 2;

	$node->safe_psql('app', q{SELECT cfp_store('duty', '{}', name, 'oncall', 1) FROM unnest('{alice,bob}'::text[]) name});
	run_statement($block, $one, $begin);
	run_statement($block, $one, $read);
	foreach my $sql ($begin->{sql}, $read->{sql}, $store->{sql} =~ s/alice/bob/r, $commit->{sql})
	{
		send_psql($two, $sql);
		is((answer($two))[1], '', "$block->{file}:$block->{line} the other: $sql");
	}
	run_statement($block, $one, $store);
	run_statement($block, $one, $commit);
	return;
}

# A session that waits for another: each line of comment says whose turn it is.
sub run_waitpoint
{
	my ($block) = @_;
	my ($set, $store, $release) = statements($block);
	my ($one, $two) = map { session('app', undef, $_) } 1, 2;

	run_statement($block, $one, $set);
	send_psql($one, $store->{sql});
	$node->poll_query_until('app', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT cfp_store%'
		AND state = 'active' AND wait_event_type = 'Extension'})
	  or BAIL_OUT('the store does not stop');
	run_statement($block, $two, $release);
	is((answer($one))[1], '', "$block->{file}:$store->{line} goes on");
	return;
}

# A relative cfp.base_dir after a recovery to a point in time, and the commands
# that bring the day files of before.
sub run_recovery
{
	my ($block) = @_;
	my $where = "$block->{file}:$block->{line}";
	my $main = $node;
	my $data = as_here('/old/data');
	my $counts = q{SELECT (SELECT count(*) FROM storage_history WHERE key = 'recovery'), (SELECT sum(records) FROM cfp_wal_files)};

	close_sessions();
	$node = PostgreSQL::Test::Cluster->new('before');
	$node->init(has_archiving => 1, allows_streaming => 1);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cfp'\njit = off\ncfp.min_free_space = 0");
	$node->start;
	stage_app();
	my $store = sub {
		$node->safe_psql('app', "SELECT cfp_store('recovery', '{}', '$_[0]', 'c', 1)");
		$node->safe_psql('app', 'SELECT cfp_flush()');
	};
	$store->('in the base backup');
	$node->backup('base');
	$store->('until the target');
	$node->safe_psql('postgres', q{SELECT pg_create_restore_point('target')});
	$store->('later');
	is($node->safe_psql('app', $counts), '3|3', "$where before: records, and lines of day files");
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$node->stop;
	make_path($data =~ s{/[^/]*$}{}r);
	symlink $node->data_dir, $data or die;

	foreach my $copied (0, 1)
	{
		my $recovered = PostgreSQL::Test::Cluster->new($copied ? 'copied' : 'recovered');
		$recovered->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
		$recovered->append_conf('postgresql.conf', "recovery_target_name = 'target'\nrecovery_target_action = 'promote'");
		if ($copied)
		{
			my $before = $node;
			$node = $recovered;
			run_shell($block);
			$node = $before;
		}
		$recovered->start;
		$recovered->poll_query_until('app', 'SELECT NOT pg_is_in_recovery()');
		wait_worker($recovered, 'app');
		is($recovered->safe_psql('app', q{SELECT cfp_store('recovery', '{}', 'after it', 'c', 1)}), '1', "$where a store");
		$recovered->safe_psql('app', 'SELECT cfp_flush()');
		is($recovered->safe_psql('app', $counts), $copied ? '3|3' : '3|2',
			$copied ? "$where then: the day files are those of the database" : "$where without: the day files miss what came after the base backup");
		like(slurp_file($recovered->logfile), $copied ? qr/day file .* cut back from/ : qr/is shorter than it was, a new one is begun/, "$where and the log says so");
		$recovered->stop;
	}
	unlink $data;
	$node = $main;
	return;
}

# pg_upgrade, here to the same version, with an absolute cfp.base_dir.
sub run_upgrade
{
	my ($block) = @_;
	my $where = "$block->{file}:$block->{line}";
	my ($old, $new) = map { as_here("/$_/data") } 'old', 'new';
	my $old_node = $node;
	my $records = q{SELECT count(*), md5(string_agg((to_jsonb(c) - 'txid')::text, ',' ORDER BY key, collection_name, item_name)) FROM storage_current c};

	close_sessions();
	# dates with backups, which the new server does not take for its own; the
	# directories of before the extension was made anew are out of the way
	my $own = as_here('/srv/cfp/16384_app');
	rename $own, "$scratch/operations/before" if -d $own;
	stage_days();
	my $there = $node->safe_psql('app', $records);
	my $days = $node->safe_psql('app', 'SELECT count(*), max(date) FROM storage_days');
	my $files = $node->safe_psql('app', 'SELECT count(*), sum(records) FROM cfp_wal_files');
	my $base = $node->safe_psql('app', 'SHOW cfp.base_dir');
	my $date = date(-3);
	my $preload = "shared_preload_libraries = 'cfp'";
	# as the text says
	my $other = PostgreSQL::Test::Cluster->new('upgraded');
	$other->init;
	$other->append_conf('postgresql.conf', join "\n", $preload, 'jit = off', "timezone = 'UTC'", 'cfp.min_free_space = 0', 'cfp.flush_interval = 1s',
		"cfp.base_dir = '$base'", 'cfp.timezone = ' . $node->safe_psql('app', q{SELECT quote_literal(current_setting('cfp.timezone'))}),
		'max_worker_processes = 20');
	$node->stop;
	make_path(map { s{/[^/]*$}{}r } $old, $new);
	symlink $node->data_dir, $old or die;
	symlink $other->data_dir, $new or die;
	{
		local $ENV{PGSOCKETDIR} = $node->host;
		run_shell($block);
	}
	push @others, $old_node;
	$node = $other;
	$node->start;
	wait_worker($node, 'app');
	is($node->safe_psql('app', $records), $there, "$where records stay");
	is($node->safe_psql('app', 'SELECT count(*), max(date) FROM storage_days'), $days, "$where closed dates stay");
	$node->safe_psql('app', q{SELECT cfp_store('upgraded', '{}')});
	$node->safe_psql('app', 'SELECT cfp_flush()');
	my ($count, $lines) = split /\|/, $files;
	is($node->safe_psql('app', 'SELECT count(*), sum(records) FROM cfp_wal_files'), ($count + 1) . '|' . ($lines + 1),
		"$where a new day file beside the old ones");
	state_is($node, 'app', "SELECT cfp_verify_backup('$date')", 'XX001', qr/cannot use manifest/, "$where a backup of before, verified");
	state_is($node, 'app', "SELECT cfp_restore_backup('$date', discard_newer => true)", 'XX001', qr/cannot use manifest/, "$where and restored");
	cmp_ok($node->safe_psql('app', "SELECT count(*) FROM cfp_read_wal('$date')"), '>', 0, "$where day files of before are read");
	my ($out, $err) = ('', '');
	$node->psql('app', "SELECT cfp_rebuild_history_from_wal('$date')", stdout => \$out, stderr => \$err);
	like($err, qr/WARNING:  \d+ day files? w.* not made by this server/, "$where with a warning");
	push @{ $conf->{log} }, qr/cannot use manifest/, qr/WARNING:  .* not made by this server/;
	seen_ok($node, "$where all agree", 'app');
	return;
}

# ---------------------------------------------------------------------------
# The documents
# ---------------------------------------------------------------------------

# Their names.
sub documents_there
{
	return ('README.md', map { s{.*/docs/}{docs/}r } sort glob "$top/docs/*.md");
}

# Each is a hash: file; install, whether the database app has the extension to
# begin with; database, where the first session is; conf, of the server; log,
# what its log may have.  Without these it has nothing but commands of the
# developers.
sub run_documents
{
	# not before: the directory is known when the test itself runs
	$scratch = PostgreSQL::Test::Utils::tempdir;
	run_document($_) foreach @_;
	return;
}

sub run_document
{
	my ($each) = @_;
	my @blocks = blocks($each->{file});

	$conf = $each;
	($document) = $each->{file} =~ /(\w+)\.md$/;
	if (!defined $each->{install})
	{
		# elsewhere: only the comments behind the commands may be anything
		foreach my $block (@blocks)
		{
			is(join("\n", grep { !m{^(?:make|bench/(?:run|plots))(?: [A-Za-z_]+(?:=\S+|='[^']*')?)*(?:\s+#.*)?$} } @{ $block->{code} }), '',
				"$block->{file}:$block->{line} are commands of the developers, which CI runs");
		}
		return;
	}
	make_path("$scratch/$document");
	$node = bare_server($document);
	if ($each->{install})
	{
		$node->append_conf('postgresql.conf', join "\n", "shared_preload_libraries = 'cfp'", @{ $each->{conf} // [] });
		$node->restart;
		stage_app();
	}
	my @errors;
	while (my $block = shift @blocks)
	{
		push @errors, map { /^ERROR:\s+(.*)/ ? pattern_in_log($1) : () } @{ $block->{code} };
		$block->{prints} = shift(@blocks)->{code} if grep { $_->{text} =~ /^client: / } @{ $block->{marks} };
		run_block($block);
	}
	close_sessions();
	seen_ok($node, "$each->{file}: all agree at the end", 'app');
	log_ok($node, @errors, @{ $each->{log} // [] });
	foreach my $server ($node, @others)
	{
		$server->stop('fast', fail_ok => 1);
	}
	@others = ();
	return;
}

# An error that is shown is one of the log.
sub pattern_in_log
{
	my ($message) = @_;
	my $pattern = pattern($message, 1);

	$pattern =~ s/\^|\$(?=\)$)//g;
	return qr/ERROR:  $pattern/;
}

1;
