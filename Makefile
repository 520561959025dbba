# pg_saga: build, install and test with PGXS.
#
#: make                 build the module and the install script
#: make install         install both into the PostgreSQL that PG_CONFIG names
#: make installcheck    regression, isolation and TAP tests against a running server that preloads pg_saga
#: make deps            install the Debian packages that are missing
#: make check           build and run every test; the last line counts them (SUITES="unit regress": only those)
#: make demo            show the product on a throw-away server (KEEP=1 leaves it running)
#: make bench           run the benchmarks
#: make dist            the zip file for PGXN, from the last commit, in build/
#: make format          clang-format on every C++ file
#: make lint            clang-tidy on every C++ file
#: FAULT_POINTS=1       with make and make install: the build for tests
#: CXX=clang++-14       another compiler, in the environment or on the command line
#
# Two kinds of goals. Tool goals (deps, check, demo, ...) need nothing but make and bash: they install what is
# missing first. Build goals (all, install, installcheck, ...) need pg_config and go through PGXS.

EXTENSION    = pg_saga
EXTVERSION  := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" pg_saga.control)
PG_CONFIG   ?= pg_config

tool_goals  := deps check demo bench dist format lint help
goals       := $(or $(MAKECMDGOALS),all)
build_goals := $(filter-out $(tool_goals),$(goals))

ifneq (,$(and $(build_goals),$(filter $(tool_goals),$(goals))))
# Both kinds in one call, as in `make deps install`: one make after the other, so that the second one finds
# what the first one has installed.
.NOTPARALLEL:
.PHONY: $(goals)
$(goals):
	@$(MAKE) --no-print-directory $@

else ifeq (,$(build_goals))

.PHONY: $(tool_goals)

deps:
	@tools/deps

# SUITES="unit regress" runs only those.
check:
	@tools/check $(SUITES)

# KEEP=1 leaves running what the demonstration has started.
demo: deps
	@KEEP='$(KEEP)' examples/demo

bench: deps
	@bench/run

# What goes to PGXN: the committed tree, named as PGXN wants it.
dist:
	@mkdir -p build
	git archive --format=zip --prefix=$(EXTENSION)-$(EXTVERSION)/ -o build/$(EXTENSION)-$(EXTVERSION).zip HEAD

# Rewrites the C++ sources as .clang-format says.
format:
	find $(wildcard src test bench examples) -name '*.[ch]pp' -exec clang-format -i {} +

lint:
	@tools/check lint

help:
	@sed -n 's/^#: //p' Makefile

else

ifeq (,$(shell $(PG_CONFIG) --version 2>/dev/null))
$(error $(PG_CONFIG) not found: run `make deps` first, or name it with PG_CONFIG=)
endif

# ---- what is built -------------------------------------------------------------------------------------------

MODULE_big  = $(EXTENSION)
sources    := $(sort $(wildcard src/*.cpp src/*/*.cpp src/*/*/*.cpp))
OBJS        = $(sources:.cpp=.o)

fragments  := $(sort $(wildcard sql/[0-9][0-9]_*.sql))
script      = sql/$(EXTENSION)--$(EXTVERSION).sql
DATA        = $(wildcard sql/$(EXTENSION)--*--*.sql)
DATA_built  = $(script)

# ---- tests of `make installcheck`: they run against the installed library -------------------------------------

REGRESS       := $(sort $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql)))
REGRESS_OPTS   = --inputdir=$(srcdir)/test
ISOLATION     := $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation
ifneq (,$(wildcard test/t/*.pl))
TAP_TESTS      = 1
endif
PROVE_TESTS    = test/t/*.pl

EXTRA_CLEAN = $(OBJS:.o=.d) build/flags build/objects build/fragments build/syntax results

# ---- compiler -------------------------------------------------------------------------------------------------

# Makefile.global assigns CXX, so a compiler named in the environment (CXX=clang++-14 make) is kept aside.
ifneq (,$(filter environment,$(origin CXX)))
asked_cxx := $(CXX)
endif

# CXXFLAGS of PGXS do not reach the bitcode build, and the module gains nothing from being inlined into queries.
override with_llvm = no
# Without this the module is linked by the C compiler and finds the C++ library by luck.
override COMPILER  = $(CXX) $(CXXFLAGS)

# Server headers come by -isystem: under -I they break -Werror (a folder named both ways counts as a system one).
PG_CPPFLAGS  = -I$(srcdir)/src -isystem $(shell $(PG_CONFIG) --includedir-server)
PG_CXXFLAGS  = -std=c++20 -Wall -Wextra -Wconversion -Wold-style-cast -Werror -fvisibility=hidden
ifdef FAULT_POINTS
# Builds for tests: named wait, error and kill points, and assertions.
PG_CPPFLAGS += -DSAGA_FAULT_POINTS
else
PG_CPPFLAGS += -DNDEBUG
endif

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

ifdef asked_cxx
CXX := $(asked_cxx)
endif
ifneq (,$(findstring clang,$(shell $(CXX) --version 2>/dev/null)))
# The server was built by GCC; some of the flags that it hands on are unknown here.
override CXXFLAGS := $(filter-out -Wimplicit-fallthrough=% -fexcess-precision=% -flto% -ffat-lto-objects \
                       -Wno-format-truncation -Wno-stringop-truncation,$(CXXFLAGS))
# HOLD_INTERRUPTS() counts in a volatile variable, which C++20 frowns at.
override CXXFLAGS += -Wno-deprecated-volatile
else
override CXXFLAGS += -Wclobbered
endif

# ---- rules ----------------------------------------------------------------------------------------------------

# $(call remember,TEXT): rewrites the target only when TEXT changed, so that what depends on it follows the
# compiler flags and the lists of files, and is left alone otherwise.
remember = @mkdir -p $(@D); printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' >$@

.PHONY: force syntax
force:
build/flags: force
	$(call remember,$(CXX) $(CXXFLAGS) $(CPPFLAGS))
build/objects: force
	$(call remember,$(OBJS))
build/fragments: force
	$(call remember,$(fragments))

$(OBJS): %.o: %.cpp build/flags
	$(CXX) $(CXXFLAGS) $(CPPFLAGS) -MMD -MP -MF $*.d -c -o $@ $<

ifneq ($(PORTNAME),darwin)
SHLIB_LINK += -Wl,--version-script=$(srcdir)/src/exports.map
endif
$(shlib): build/objects src/exports.map

$(script): $(fragments) build/fragments
	printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit' >$@.tmp
	cat $(fragments) >>$@.tmp
	mv $@.tmp $@

# Checks every source without writing objects: `CXX=clang++-14 make syntax` beside a build by GCC.
checked = $(sources:src/%.cpp=build/syntax/%.ok)
syntax: $(checked)
$(checked): build/syntax/%.ok: src/%.cpp build/flags
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(CPPFLAGS) -MMD -MP -MF build/syntax/$*.d -MT $@ -fsyntax-only $<
	@touch $@

-include $(OBJS:.o=.d) $(checked:.ok=.d)

endif
