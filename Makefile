# cfp: builds with PGXS.  For another PostgreSQL: make PG_CONFIG=/path/to/pg_config

PG_CONFIG ?= pg_config

EXTENSION = cfp
MODULE_big = cfp
PGFILEDESC = "cfp - collection fast persist"

# Sources are found beside this file, so that `make -f` builds in any directory.
cfp_dir := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

ifeq ($(wildcard $(cfp_dir)/cfp.control),)
$(error make -f takes no path with a space: run make in the directory of this file)
endif

DATA = $(notdir $(wildcard $(cfp_dir)/cfp--*.sql))
OBJS = $(patsubst $(cfp_dir)/%.c,%.o,$(sort $(wildcard $(cfp_dir)/src/*.c $(cfp_dir)/src/*/*.c)))
OBJ_DIRS = $(sort $(patsubst %/,%,$(dir $(OBJS))))

# Backups are compressed where the server is built with zstd (make with_zstd=no: never).
with_zstd ?= $(if $(filter -lzstd,$(LIBS)),yes)
PG_CPPFLAGS = -I$(cfp_dir)/src $(if $(filter yes,$(with_zstd)),-DCFP_ZSTD)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
# Calls between cfp's own files are direct, not through the linkage table.
SHLIB_LINK = -Wl,-Bsymbolic -ljson-c $(if $(filter yes,$(with_zstd)),-lzstd)

EXTRA_CLEAN = .built-for

# For make installcheck, in a server that runs and has cfp loaded.
REGRESS = $(sort $(notdir $(basename $(wildcard $(cfp_dir)/sql/*.sql))))
REGRESS_OPTS = --no-locale --encoding=UTF8
ISOLATION = $(sort $(notdir $(basename $(wildcard $(cfp_dir)/specs/*.spec))))
ISOLATION_OPTS = --no-locale --encoding=UTF8

# cfp's code is never inlined into queries, so it has no use for LLVM bitcode.
override with_llvm = no

# Debian ships PGXS with the client, the server's headers in a package of their own.
PGXS := $(and $(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h),\
	$(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null)))

ifneq ($(PGXS),)
include $(PGXS)

# The name that the tests know their database by.
CONTRIB_TESTDB = regression

installcheck: server-with-cfp
server-with-cfp:
	@'$(bindir)/psql' -XAtqc 'SHOW cfp.cache_size' postgres >/dev/null || \
		{ echo "make installcheck wants a running server with cfp installed and in shared_preload_libraries, and to be its superuser (PGHOST, PGPORT, PGUSER); make test makes a server of its own" >&2; false; }
else
all install installcheck:
	@echo "$(PG_CONFIG) knows no PGXS or no postgres.h: install postgresql-server-dev of the server's version, or set PG_CONFIG" >&2; false
clean:
endif

# Sources only: PGXS would take objects from a build beside the sources, too.
VPATH =
vpath %.c $(cfp_dir)
vpath %.control $(cfp_dir)

# PGXS on Debian tracks no dependencies; cfp is small enough to build whole.
$(OBJS): $(wildcard $(cfp_dir)/src/*/*.h) $(cfp_dir)/Makefile | $(OBJ_DIRS)
$(OBJ_DIRS):
	mkdir -p $@

# Objects are for one PostgreSQL and of one set of flags: for others, as in a
# `make install PG_CONFIG=...` that follows `make`, they are built anew.
$(OBJS): .built-for
.built-for: FORCE
	@{ $(PG_CONFIG); echo '$(subst ','\'',$(COMPILE.c) $(SHLIB_LINK))'; } >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
.PHONY: FORCE

clean: clean-build
clean-build:
	rm -rf $(cfp_dir)/build

# The rest needs nothing installed before: it asks apt for what is missing.
export PG_CONFIG

.PHONY: test test-all test-fresh demo psql model bench lint indent analyze sanitize valgrind coverage \
	server-with-cfp clean-build

test:
	@$(cfp_dir)/test/run $(TESTS)

model: SECONDS ?= 600
model:
	@CFP_MODEL_SECONDS=$(SECONDS) $(cfp_dir)/test/run model

demo:
	@$(cfp_dir)/demo/run

psql:
	@$(cfp_dir)/demo/psql

bench:
	@$(cfp_dir)/bench/run

lint:
	@$(cfp_dir)/test/lint

indent:
	@$(cfp_dir)/test/install-packages --only perl
	@$(cfp_dir)/test/install-packages --only pg-bsd-indent
	@$(cfp_dir)/test/indent

sanitize valgrind coverage:
	@$(cfp_dir)/test/instrumented $@ $(TESTS)

test-fresh:
	@$(cfp_dir)/test/fresh $(DEBIAN) $(CELLS)

test-all: PG ?= 15 17 18
test-all:
	@$(cfp_dir)/test/all-versions $(PG) $(TESTS)

analyze:
	@$(cfp_dir)/test/analyze
