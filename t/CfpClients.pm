# Programs in other languages, as docs/clients.md has them: which are there, and
# what they print.  A program is named LANGUAGE/LIBRARY.

package CfpClients;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(dirname);
use File::Path qw(make_path);
use IPC::Run;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(client_missing client_output);

my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $java = '/usr/share/java';
my %jars = (
	jdbc => ['postgresql.jar'],
	jpa => [ 'postgresql.jar', 'eclipselink.jar', 'eclipselink-jpa-2.1-spec.jar' ]);

# A language: the program's file, how it is run, in its directory, and what asks
# whether libraries are there, both with the program of that name.
my %language = (
	go => {
		program => 'go', file => 'client.go',
		run => sub { [ $_[0], 'run', 'client.go' ] },
		has => sub { my $go = shift; [ $go, 'list', @_ ] } },
	java => {
		program => 'javac', file => 'Client.java',
		run => sub {
			my $path = join ':', '.', map { "$java/$_" } @{ $jars{ $_[1] } };
			return [ 'sh', '-e', '-c', qq{"\$0" -cp "\$1" Client.java && "\${0%c}" -cp "\$1" -Declipselink.logging.level=OFF Client}, $_[0], $path ];
		},
		has => sub { shift; [ 'ls', map { "$java/$_" } map { @{ $jars{$_} } } @_ ] } },
	node => {
		program => 'node', file => 'client.mjs',
		run => sub { [ $_[0], 'client.mjs' ] },
		has => sub {
			my $node = shift;
			return [ $node, '--input-type=module', '-e', join '; ', map {
				/^>= (\d+)$/ ? "parseInt(process.versions.node) >= $1 || process.exit(1)" : "await import('$_')" } @_ ];
		} },
	php => {
		program => 'php', file => 'client.php',
		run => sub { [ $_[0], 'client.php' ] },
		has => sub { my $php = shift; [ $php, '-r', join ' ', map { "extension_loaded('$_') || exit(1);" } @_ ] } },
	python => {
		program => 'python3', file => 'client.py',
		run => sub { [ $_[0], '-W', 'ignore', 'client.py' ] },
		has => sub { my $python = shift; [ $python, '-c', 'import ' . join ', ', @_ ] } },
	ruby => {
		program => 'ruby', file => 'client.rb',
		run => sub { [ $_[0], 'client.rb' ] },
		has => sub { my $ruby = shift; [ $ruby, (map { "-r$_" } @_), '-e', '1' ] } });

# What each program needs beside its language.
my %libraries = (
	'go/pq' => ['github.com/lib/pq'],
	'java/jdbc' => ['jdbc'],
	'java/jpa' => ['jpa'],
	'node/drizzle' => [ 'pg', 'drizzle-orm' ],
	'node/http' => ['pg'],
	'node/knex' => [ 'pg', 'knex' ],
	'node/pg' => ['pg'],
	'node/postgres' => ['postgres'],
	'node/sequelize' => [ 'pg', 'sequelize' ],
	'node/typeorm' => [ '>= 20', 'pg', 'typeorm' ],
	'php/pdo' => ['pdo_pgsql'],
	'python/django' => [ 'django', 'psycopg2' ],
	'python/psycopg' => [ 'psycopg', 'psycopg_pool' ],
	'python/sqlalchemy' => [ 'sqlalchemy', 'psycopg2' ],
	'ruby/activerecord' => [ 'pg', 'active_record' ]);

my %found;

# What a program sees of the machine, beside PATH.
sub environment
{
	my ($dir) = @_;

	return (
		HOME => $dir,
		# the packages of Debian, and nothing fetched
		GOPATH => '/usr/share/gocode', GO111MODULE => 'off', GOFLAGS => '', GOCACHE => "$dir/gocache", GOTOOLCHAIN => 'local');
}

# Runs a command in a directory.
sub run_in
{
	my ($dir, $command, %environment) = @_;
	my ($out, $err) = ('', '');

	%environment = (environment($dir), %environment);
	local @ENV{ keys %environment } = values %environment;
	my $ended = eval {
		IPC::Run::run($command, '<', \undef, '>', \$out, '2>', \$err, init => sub { chdir $dir or die },
			IPC::Run::timeout($timeout));
	};
	return ($ended, $out, $err . ($@ // ''));
}

# The program of a language that finds the libraries: the first of that name may
# belong to another installation, or to somebody whose files we may not read.
sub interpreter
{
	my ($name, $scratch) = @_;
	my ($language) = split m{/}, $name;
	my $how = $language{$language} // die "no such language: $name";

	return $found{$name} if exists $found{$name};
	make_path($scratch);
	my @there = grep { -x } map { "$_/$how->{program}" } split(/:/, $ENV{PATH}), '/usr/bin';
	my ($first) = grep { (run_in($scratch, $how->{has}->($_, @{ $libraries{$name} })))[0] } @there;
	return $found{$name} = $first;
}

# What a program lacks here, or undef.
sub client_missing
{
	my ($name, $scratch) = @_;
	my ($language) = split m{/}, $name;

	return if defined interpreter($name, $scratch);
	return "no $language{$language}{program} here that finds " . join ', ', @{ $libraries{$name} };
}

# Runs a program, with files beside it, as the role web in the database app.
# Returns whether it ended well, and what it printed.
sub client_output
{
	my ($name, $scratch, $node, $code, %files) = @_;
	my ($language, $library) = split m{/}, $name;
	my $how = $language{$language};
	my $dir = "$scratch/" . $name =~ tr{/}{-}r;
	my $address = '127.0.0.1:' . $node->port . '/app';

	$files{ $how->{file} } = $code;
	foreach my $file (keys %files)
	{
		make_path(dirname("$dir/$file"));
		open my $handle, '>', "$dir/$file" or die "could not write $dir/$file: $!";
		print $handle $files{$file};
		close $handle or die;
	}
	return run_in($dir, $how->{run}->(interpreter($name, $scratch), $library),
		DATABASE_URL => "postgresql://web\@$address",
		JDBC_URL => "jdbc:postgresql://$address?user=web",
		PGHOST => '127.0.0.1', PGPORT => $node->port, PGUSER => 'web', PGDATABASE => 'app', PGSSLMODE => 'disable');
}

1;
