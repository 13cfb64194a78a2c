# Everything a person or a CI machine does here; `make help` lists it. All of it works from a fresh clone:
# what a target needs, it installs into .venv, hash-pinned by the locks in deploy/. Stamps in .venv keep a
# second run off the network for as long as neither the locks nor pyproject.toml change.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables
unexport PYTHONDONTWRITEBYTECODE # the tests start the program hundreds of times

# For the command line:
CONFIG :=# make run CONFIG=kms-exporter.yml   that configuration instead of the demo
ARGS :=#   make test ARGS='-k dns'            more arguments for the program behind run, test, bench and lock
PYTHON :=# make run PYTHON=python3.13         the interpreter .venv is made from

# What only the tests use. Without a package its tests are skipped, or fail where CI=true.
#   bind9           named: authoritative servers to look records up at
#   bind9-dnsutils  nsupdate: dynamic updates, as a KMS host sends them
#   prometheus      Prometheus and promtool: rules, scrapes, `check metrics`
#   prometheus-alertmanager  Alertmanager and amtool: routes, inhibition, pages
#   iproute2        ip: network namespaces with addresses that lose packets or lead nowhere
#   chromium, chromium-driver  a browser that looks at the pages
#   curl            an HTTP client with TLS and client certificates
#   libfaketime     a clock that a test can set for one process
#   systemd         systemd-analyze, which rates the unit; nothing of it is started
# What only the benchmarks use:
#   prometheus-blackbox-exporter  what the exporter is compared with
#   tcpdump         the kernel's times of handshakes
MONITORING := prometheus prometheus-alertmanager
BENCH_PACKAGES := bind9 bind9-dnsutils prometheus prometheus-blackbox-exporter iproute2 tcpdump
BROWSER := chromium chromium-driver
DEBIAN_PACKAGES := bind9 bind9-dnsutils $(MONITORING) iproute2 $(BROWSER) curl libfaketime systemd
# The services that come with them. The tests and the stack start their own; these stay off.
DEBIAN_SERVICES := named $(MONITORING) prometheus-blackbox-exporter

PIP := .venv/bin/python -m pip --disable-pip-version-check --no-input -q
PROJECT := --no-deps --no-build-isolation --no-index

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: .venv/.runtime ## the demo, or with CONFIG=FILE the exporter; ARGS adds flags
	@exec .venv/bin/kms-exporter $(if $(CONFIG),run --config.file='$(CONFIG)',demo) $(ARGS)

.PHONY: stack
stack: .venv/.runtime ## demo, Prometheus with the rules, and Alertmanager, without containers; ARGS for deploy/stack
	@$(debian-install)
	debian_install $(MONITORING) || true # it names itself what it lacks, and takes what is not Debian's
	exec .venv/bin/python -m deploy.stack $(if $(CONFIG),--config.file='$(CONFIG)') $(ARGS)

# Files are begun in the order that tests/conftest.py says: the longest first.
PYTEST := .venv/bin/pytest -n 4 --dist loadfile --no-loadscope-reorder
TESTED := .venv/.dev .venv/.supply debian-packages .venv/.npm

.PHONY: test
test: $(TESTED) ## all tests; ARGS for pytest, e.g. ARGS='-k dns', or '-n 0 --pdb'
	@$(PYTEST) $(ARGS)

.PHONY: coverage
coverage: $(TESTED) ## all tests with branch coverage, which takes a fifth longer, and the threshold for it
	@$(PYTEST) --cov --cov-report=term $(ARGS)

.PHONY: lint
lint: .venv/.dev .venv/.supply ## every static check, and the audit; reports all, fails in the end
	@failed=()
	check() {
	    echo "==> $$*"
	    ".venv/bin/$$1" "$${@:2}" || failed+=("$$*")
	}
	check ruff check
	check ruff format --check
	check mypy
	check lint-imports
	echo "==> audit"
	.venv/supply/bin/python -m deploy.supply.audit || failed+=(audit) # where it cannot be done, it says so
	if (( $${#failed[@]} )); then
	    printf '==> failed: %s\n' "$${failed[@]}"
	    exit 1
	fi

.PHONY: format
format: .venv/.dev ## the formatter, and the lint fixes that are safe
	@.venv/bin/ruff check --fix-only
	.venv/bin/ruff format

.PHONY: bench
bench: .venv/.dev .venv/.bench ## the benchmarks, about half an hour; ARGS for tests/bench.py, e.g. ARGS='--only pair,truth'
	@$(debian-install)
	debian_install $(BENCH_PACKAGES) || true # it names itself what it lacks
	exec .venv/bin/python -m tests.bench $(ARGS)

.PHONY: bench-quick
bench-quick: .venv/.dev .venv/.bench ## the same, each smaller, in three minutes: for a look
	@$(debian-install)
	debian_install $(BENCH_PACKAGES) || true
	exec .venv/bin/python -m tests.bench --quick $(ARGS)

.PHONY: soak
soak: .venv/.dev debian-packages ## 20 minutes of everything at once; ARGS for tests/soak.py, e.g. ARGS='--seconds 120 --seed 7'
	@exec .venv/bin/python -m tests.soak $(ARGS)

.PHONY: fuzz
fuzz: .venv/.fuzz ## the fuzzer on every way in, ten minutes; ARGS for tests/fuzz, e.g. ARGS='--seconds 3600 dns config'
	@exec .venv/fuzz/bin/python -m tests.fuzz $(ARGS)

.PHONY: schema
schema: .venv/.runtime ## deploy/kms-exporter.schema.json, from the configuration model
	@.venv/bin/python -m exporter.config >.venv/schema.json
	cp .venv/schema.json deploy/kms-exporter.schema.json

.PHONY: dashboards
dashboards: .venv/.dev ## grafana/*.json, from grafana/source
	@.venv/bin/python -m grafana.source

.PHONY: manifests
manifests: .venv/.runtime ## deploy/kubernetes, from deploy/prometheus
	@.venv/bin/python deploy/kubernetes/generate.py

.PHONY: screenshots
screenshots: .venv/.dev ## docs/screenshots/*.png, of the embedded lab
	@$(debian-install)
	debian_install $(BROWSER)
	exec .venv/bin/python -m tests.screenshots $(ARGS)

# Dated by the last commit, so that the same commit gives the same bytes.
.PHONY: wheel
wheel: .venv/.runtime ## the wheel, into dist/
	@$(date-of-commit)
	$(PIP) wheel $(PROJECT) --wheel-dir dist .
	ls dist/*.whl

.PHONY: sbom
sbom: .venv/.supply ## the software bill of materials (CycloneDX), into dist/
	@$(date-of-commit)
	mkdir -p dist
	.venv/supply/bin/python -m deploy.supply.sbom dist/kms-exporter.cdx.json
	ls dist/kms-exporter.cdx.json

# Asks the advisory database OSV; where that cannot be reached, it says so and does not fail.
.PHONY: audit
audit: .venv/.supply ## known vulnerabilities of what the locks pin; ARGS for pip-audit
	@exec .venv/supply/bin/python -m deploy.supply.audit $(ARGS)

# Pins stay as they are unless something asks for another: ARGS='--upgrade' or ARGS='--upgrade-package NAME'.
# Nothing of this machine's own package sources may get in, neither an address nor a hash.
.PHONY: lock
lock: .venv/.dev ## deploy/*.lock, from pyproject.toml; ARGS=--upgrade for newer versions
	@unset "$${!UV_@}"
	compile() {
	    .venv/bin/uv pip compile -q --no-config --python .venv/bin/python --universal --python-version 3.11 \
	        --generate-hashes --custom-compile-command 'make lock' $(ARGS) "$$@"
	}
	build='import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'
	compile pyproject.toml -o deploy/requirements.lock
	compile pyproject.toml --group dev -c deploy/requirements.lock -o deploy/requirements-dev.lock
	for group in supply fuzz bench; do
	    compile --group $$group -o deploy/requirements-$$group.lock
	done
	.venv/bin/python -c "$$build" | compile - -o deploy/requirements-build.lock

.PHONY: clean
clean: ## removes what the targets above made, .venv included
	@rm -rf .venv build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache \
	    .ruff_cache exporter/REVISION tests/fuzz/crashes
	find exporter tests deploy grafana -name __pycache__ -prune -exec rm -rf {} +


# Not for the command line, mostly.

.venv/.runtime: deploy/requirements.lock deploy/requirements-build.lock pyproject.toml | exporter/REVISION
	@$(debian-install)
	find_python() {
	    for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do
	        "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
	    done
	    return 1
	}
	if ! .venv/bin/python -m pip --version &>/dev/null; then
	    find_python || { debian_install python3-venv && find_python; } || {
	        echo "No Python 3.11 or later with its venv module found. Install one (on Debian 12 or later:" \
	            "apt-get install python3-venv), or name one: make PYTHON=/path/to/python3"
	        exit 1
	    } >&2
	    "$$python" -m venv --clear .venv
	fi
	echo "Installing into .venv ..." >&2
	$(PIP) install --require-hashes -r deploy/requirements.lock -r deploy/requirements-build.lock
	$(PIP) install $(PROJECT) -e .
	touch $@

.venv/.dev: .venv/.runtime deploy/requirements-dev.lock
	@echo "Installing the development tools into .venv ..." >&2
	$(PIP) install --require-hashes -r deploy/requirements-dev.lock
	touch $@

# Apart from the rest: what these tools need is no part of what they look at, nor may it hold that back.
.venv/.supply: .venv/.runtime deploy/requirements-supply.lock
	@echo "Installing the tools of the supply chain into .venv/supply ..." >&2
	.venv/bin/python -m venv --clear --without-pip .venv/supply
	$(PIP) --python .venv/supply/bin/python install --require-hashes -r deploy/requirements-supply.lock
	touch $@

# Another exporter, with which this one is compared, and what it needs of its own.
.venv/.bench: .venv/.runtime deploy/requirements-bench.lock
	@echo "Installing what the benchmarks compare with into .venv/bench ..." >&2
	.venv/bin/python -m venv --clear --without-pip .venv/bench
	$(PIP) --python .venv/bench/bin/python install --require-hashes -r deploy/requirements-bench.lock
	touch $@

.venv/.fuzz: .venv/.runtime deploy/requirements-fuzz.lock
	@echo "Installing the fuzzer into .venv/fuzz ..." >&2
	.venv/bin/python -m venv --clear --without-pip .venv/fuzz
	$(PIP) --python .venv/fuzz/bin/python install --require-hashes -r deploy/requirements.lock -r deploy/requirements-fuzz.lock
	touch $@

# axe-core, which looks for what keeps people from using a page. It is never a reason not to run the other tests.
.venv/.npm: tests/npm/package.json tests/npm/package-lock.json | .venv/.dev
	@$(debian-install)
	npm_install() {
	    command -v npm >/dev/null || debian_install npm || return
	    rm -rf .venv/npm && mkdir .venv/npm && cp $^ .venv/npm || return
	    npm ci --prefix .venv/npm --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	}
	if npm_install; then
	    touch $@
	else
	    echo "Without axe-core from npm, some tests are skipped (with CI=true: fail)." >&2
	fi

# Always looked at and never a reason to install again. Empty where there is no commit to name.
.PHONY: exporter/REVISION
exporter/REVISION:
	@revision=
	if [ -e .git ]; then revision=$$(git rev-parse --short HEAD 2>/dev/null) || revision=; fi
	[ -e $@ ] && [ "$$(<$@)" = "$$revision" ] || printf '%s' "$$revision" >$@

.PHONY: debian-packages
debian-packages:
	@$(debian-install)
	debian_install $(DEBIAN_PACKAGES) || echo "Without them, some tests are skipped (with CI=true: fail)." >&2

# The same commit gives the same bytes (https://reproducible-builds.org/specs/source-date-epoch/).
define date-of-commit
if [ -z "$${SOURCE_DATE_EPOCH:-}" ] && [ -e .git ]; then
    SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct)
fi
[ -z "$${SOURCE_DATE_EPOCH:-}" ] || export SOURCE_DATE_EPOCH
endef

# A shell function: installs those of its arguments that are missing, as root or with sudo; where it cannot, it
# says which they are and returns 1. Where systemd runs, a service that comes along new is masked before it could
# take a port, and disabled after: a mask in /run is gone at the next boot even if this is interrupted.
define debian-install
debian_install() {
    local package unit status=0 missing=() fresh=() root=()
    for package; do
        [ "$$(dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null)" = installed ] || missing+=("$$package")
    done
    (( $${#missing[@]} )) || return 0
    echo "Missing Debian packages: $${missing[*]}" >&2
    if [ "$$(id -u)" != 0 ]; then
        root=(sudo)
        command -v sudo >/dev/null || {
            echo "Neither root nor sudo here. As root: apt-get install $${missing[*]}" >&2
            return 1
        }
    fi
    for unit in $(DEBIAN_SERVICES); do
        [ ! -d /run/systemd/system ] || systemctl cat "$$unit.service" &>/dev/null || fresh+=("$$unit.service")
    done
    (( ! $${#fresh[@]} )) || "$${root[@]}" systemctl mask -q --runtime "$${fresh[@]}" || true
    "$${root[@]}" apt-get -qq update || true
    "$${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 \
        install -y --no-install-recommends "$${missing[@]}" || status=1
    if (( $${#fresh[@]} )); then
        "$${root[@]}" systemctl unmask -q --runtime "$${fresh[@]}" || true
        "$${root[@]}" systemctl disable -q --now "$${fresh[@]}" 2>/dev/null || true
    fi
    (( ! status )) || echo "Could not install them. As root: apt-get install $${missing[*]}" >&2
    return $$status
}
endef
