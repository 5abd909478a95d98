# cfp: builds with PGXS.  For another PostgreSQL: make PG_CONFIG=/path/to/pg_config

PG_CONFIG ?= pg_config

EXTENSION = cfp
MODULE_big = cfp
PGFILEDESC = "cfp - collection fast persist"

# Sources are found beside this file, so that `make -f` builds in any directory.
cfp_dir := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

DATA = $(notdir $(wildcard $(cfp_dir)/cfp--*.sql))
OBJS = $(patsubst $(cfp_dir)/%.c,%.o,$(sort $(wildcard $(cfp_dir)/src/*.c)))

# Backups are compressed where the server is built with zstd (make with_zstd=no: never).
with_zstd ?= $(if $(filter -lzstd,$(LIBS)),yes)
PG_CPPFLAGS = -I$(cfp_dir)/src $(if $(filter yes,$(with_zstd)),-DCFP_ZSTD)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
# Calls between cfp's own files are direct, not through the linkage table.
SHLIB_LINK = -Wl,-Bsymbolic -ljson-c $(if $(filter yes,$(with_zstd)),-lzstd)

# cfp's code is never inlined into queries, so it has no use for LLVM bitcode.
override with_llvm = no

PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))

ifneq ($(PGXS),)
include $(PGXS)
else
all install:
	@echo "$(PG_CONFIG) knows no PGXS: install postgresql-server-dev-all, or set PG_CONFIG" >&2; false
clean:
endif

# Sources only: PGXS would take objects from a build beside the sources, too.
VPATH =
vpath %.c $(cfp_dir)
vpath %.control $(cfp_dir)

# PGXS on Debian tracks no dependencies; cfp is small enough to build whole.
$(OBJS): $(wildcard $(cfp_dir)/src/*.h) $(cfp_dir)/Makefile | src
src:
	mkdir -p $@

clean: clean-build
clean-build:
	rm -rf $(cfp_dir)/build

# The rest needs nothing installed before: it asks apt for what is missing.
export PG_CONFIG

.PHONY: test demo psql model bench lint clean-build

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
	cd $(cfp_dir) && shellcheck -x .ci/run test/run test/install-tree test/install-packages test/lib.sh demo/run demo/psql demo/lib.sh bench/run bench/*.sh
