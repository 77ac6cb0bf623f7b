# ipcd. "make help" lists the targets.

# What a package build sets: make install DESTDIR=/tmp/stage PREFIX=/usr
PREFIX     ?= /usr
DESTDIR    ?=
SYSCONFDIR ?= /etc
BINDIR     ?= $(PREFIX)/bin
UNITDIR    ?= $(PREFIX)/lib/systemd/system
USERUNITDIR ?= $(PREFIX)/lib/systemd/user
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/ipcd
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/$(if $(and $(filter /usr,$(PREFIX)),$(wildcard /etc/debian_version)),vendor-completions,site-functions)
FISHDIR    ?= $(PREFIX)/share/fish/vendor_completions.d

# Where build puts the programs, and install takes them from.
BIN ?= bin

# In a tarball there is no git: say make VERSION=v1.2.3 there.
VERSION ?= $(if $(wildcard .git),$(shell git describe --tags --always --dirty 2>/dev/null))

UNITS     := $(notdir $(wildcard packaging/systemd/*.socket packaging/systemd/*.service))
USERUNITS := $(notdir $(wildcard packaging/systemd/user/*.socket packaging/systemd/user/*.service))

GO    ?= go
LINT  := $(GO) tool -modfile=$(CURDIR)/tools/go.mod golangci-lint
LDFLAGS := -s -w -X github.com/ipcd/ipcd/internal/version.stamp=$(VERSION)
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false

# What is built to be used is compiled by the profile of what the daemon does most (docs/adr/0033). That takes half a minute more the first time,
# which nobody has to wait for who only wants to see it work.
PGO       ?= auto
demo test: PGO = off

# Where ipcctl is entered before the Go runtime is, to learn which signals are ignored and blocked: see docs/adr/0018.
ENTRY = $(if $(filter amd64 arm64,$(shell $(GO) env GOARCH)),-E ipcctl_entry)

# The race detector needs a C compiler; make test RACE= does without. A cached result says nothing about this machine's
# kernel, systemd and Redis, so nothing is taken from the cache.
# Some tests mostly wait, as for systemd: so more packages are tested at a time than there are processors.
RACE ?= -race
TEST := $(CURDIR)/test/setup $(GO) test -count=1 -timeout 20m -p $$(($$(nproc) + 2)) $(RACE)

# A process with the race detector sleeps for a second before it ends. Reports that are being written are waited for all the same.
export GORACE ?= atexit_sleep_ms=0

# A count, not a time: up to Go 1.26 a time may run out "with an error" where nothing was found (go.dev/issue/75804).
FUZZ ?= 100000x

# All of the 98,000 states of the small worlds of locks, and of the 700,000 of the bus, 20,000 of each of those of groups and of requests, and
# 30,000 of each of those of wills, take some minutes.
SEARCH ?= 0

# So many subscriptions begin in make races, in the engine and then at a daemon.
RACES ?= 1000000

# So many daemons end in make crash, and so many commands are sent by make fuzz-commands.
KILLS ?= 1000
COUNT ?= 1000000

# Modules: this one, and the one that keeps other people's clients out of our go.mod.
MODULES := . $(patsubst %/go.mod,%,$(wildcard test/*/go.mod))

.DEFAULT_GOAL := build
.NOTPARALLEL:
.PHONY: help build demo test fuzz fuzz-commands crash search races seeded-bugs check fmt fmt-check vet lint shellcheck generate generated tidy bench profile cover install uninstall clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

build: ## bin/ipcd and bin/ipcctl, static
	@mkdir -p $(BIN)
	$(BUILD) -pgo=$(PGO) -ldflags "$(LDFLAGS)" -o $(BIN)/ ./cmd/ipcd
	$(BUILD) -ldflags "$(LDFLAGS) $(ENTRY)" -o $(BIN)/ ./cmd/ipcctl

demo: build ## a story on this repository's own files, checked at its end
	@$(GO) build -C test/conformance -trimpath -o $(CURDIR)/bin/redis-publish ./redis-publish
	@test/demo/run

test: build ## all tests, under the race detector, and a short run of each fuzz target
	$(TEST) ./test/... ./... # those first that wait longest
	$(MAKE) search SEARCH=2000
	test/seeded-bugs/run
	test/fuzz $(FUZZ)
	@for m in $(filter-out .,$(MODULES)); do echo "cd $$m && go test $(RACE) ./..."; (cd $$m && $(TEST) ./...) || exit; done

fuzz: ## each fuzz target, FUZZ=10m long or FUZZ=1000000x often
	test/fuzz $(FUZZ)

fuzz-commands: ## every command in every shape, at a real daemon; COUNT=1000000 of them
	$(GO) test -count=1 -timeout 0 -v ./test/commands -commands $(COUNT)

crash: ## locks under faults: kills, full disks, failing system calls; KILLS=1000 daemons end
	test/setup $(GO) test -count=1 -timeout 0 $(RACE) -v ./test/crash -kills $(KILLS) -positions 40

search: ## all that can happen to locks, on the bus and to wills in small worlds; SEARCH=1000 visits so many states of each
	$(GO) test -count=1 -timeout 0 -run '^TestSearch$$' -v ./lockmgr -search $(SEARCH)
	$(GO) test -count=1 -timeout 0 -run '^TestSmallWorlds' -v ./bus -search $(SEARCH)
	$(GO) test -count=1 -timeout 0 -run '^TestSmallWorlds' -v ./internal/server -search $(SEARCH)

races: ## subscriptions that begin while messages are published, RACES=1000000 of them
	$(GO) test -count=1 -timeout 0 -run '^TestRaces$$' -v ./bus -races $(RACES)
	$(GO) test -count=1 -timeout 0 -run '^TestRaces$$' -v ./test/live -races $(RACES)

seeded-bugs: ## each known bug that is put into a package must be found by its tests
	test/seeded-bugs/run

check: fmt-check vet lint shellcheck generated tidy test ## exactly what CI runs

fmt: ## format all Go code
	gofmt -w $(shell find . -name '*.go' -not -path '*/testdata/*')

fmt-check:
	@out=$$(gofmt -l .) && if [ -n "$$out" ]; then echo "not formatted (make fmt):"; echo "$$out"; exit 1; fi

vet:
	@for m in $(MODULES); do echo "cd $$m && go vet ./..."; (cd $$m && $(GO) vet ./...) || exit; done
	@for a in amd64 arm64; do GOARCH=$$a $(GO) vet ./internal/cli/process || exit; done # the assembly of the other one

lint: ## golangci-lint, as pinned in tools/go.mod
	@for m in $(MODULES); do echo "cd $$m && golangci-lint run"; (cd $$m && $(LINT) run ./...) || exit; done

shellcheck: ## all shell scripts
	@test/setup test/shellcheck

generate: ## renew what is made from the command table
	$(GO) generate ./...

generated:
	@test/generated

tidy:
	@for m in $(MODULES); do echo "cd $$m && go mod tidy -diff"; (cd $$m && $(GO) mod tidy -diff) || exit; done

bench: build ## benchmarks; BASE=ref compares the Go benchmarks with those of a commit
ifdef BASE
	test/bench-compare $(BASE)
else
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) run ./test/bench
endif

profile: ## renew the profile that the daemon is compiled by, after a change of what it does most
	$(GO) test -run '^$$' -bench 'Command|Ping|Publish|Request|LockPair' -benchtime 4s -cpuprofile cmd/ipcd/default.pgo -o /dev/null ./internal/server

cover: ## coverage of the Go tests; look at it by go tool cover -html=cover.out
	test/setup $(GO) test -coverpkg=./... -coverprofile=cover.out ./...
	@$(GO) tool cover -func=cover.out | tail -1

install: build ## honours DESTDIR, PREFIX, SYSCONFDIR, UNITDIR, …; keeps an ipcd.toml that is there
	install -D -t $(DESTDIR)$(BINDIR) $(BIN)/ipcd $(BIN)/ipcctl
	install -Dm644 -t $(DESTDIR)$(UNITDIR) packaging/systemd/*.socket packaging/systemd/*.service
	install -Dm644 -t $(DESTDIR)$(USERUNITDIR) packaging/systemd/user/*.socket packaging/systemd/user/*.service
	sed -i 's|/usr/bin/|$(BINDIR)/|g' $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS)) $(addprefix $(DESTDIR)$(USERUNITDIR)/,$(USERUNITS))
	install -Dm644 -t $(DESTDIR)$(SYSUSERSDIR) packaging/sysusers/ipcd.conf
	[ -e $(DESTDIR)$(SYSCONFDIR)/ipcd/ipcd.toml ] || install -Dm644 -t $(DESTDIR)$(SYSCONFDIR)/ipcd packaging/ipcd.toml
	for m in packaging/man/*.[1-8]; do install -Dm644 -t $(DESTDIR)$(MANDIR)/man$${m##*.} $$m || exit; done
	install -Dm644 -t $(DESTDIR)$(DOCDIR) CHANGELOG.md LICENSE docs/guide.md docs/protocol.md docs/topics.md docs/locks-json.md
	install -Dm644 -t $(DESTDIR)$(DOCDIR)/examples docs/examples/*.service
	install -Dm644 packaging/completions/ipcctl.bash $(DESTDIR)$(BASHDIR)/ipcctl
	install -Dm644 -t $(DESTDIR)$(ZSHDIR) packaging/completions/_ipcctl
	install -Dm644 -t $(DESTDIR)$(FISHDIR) packaging/completions/ipcctl.fish

uninstall: ## remove what install has put there, with the same variables; ipcd.toml and what the daemon keeps stay
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,ipcd ipcctl)
	rm -f $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS)) $(addprefix $(DESTDIR)$(USERUNITDIR)/,$(USERUNITS))
	rm -f $(DESTDIR)$(SYSUSERSDIR)/ipcd.conf
	for m in $(notdir $(wildcard packaging/man/*.[1-8])); do rm -f $(DESTDIR)$(MANDIR)/man$${m##*.}/$$m || exit; done
	rm -rf $(DESTDIR)$(DOCDIR)
	rm -f $(DESTDIR)$(BASHDIR)/ipcctl $(DESTDIR)$(ZSHDIR)/_ipcctl $(DESTDIR)$(FISHDIR)/ipcctl.fish

clean: ## remove what was built
	rm -rf bin cover.out
