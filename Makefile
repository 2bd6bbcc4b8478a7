# make run    everything on this machine, in an environment of its own
# make quick  lint, types and the tests that need neither browsers nor worker processes: under two
#             minutes on two cores that nothing else uses
# make test   lint, types and all tests, exactly as CI runs them
# make soak   the long forms: browser tests in five orders, tests marked `soak`, properties with
#             many examples, the bench
# make lock   settle the versions of all that pyproject.toml names; LOCK=--upgrade for newer ones
# make audit  look for known faults in what requirements.lock pins; needs PyPI
# make sbom   list that as CycloneDX, in dist/sbom.json
# make fmt    put the code in form
# make clean  remove what the above made; never `var`, which holds keys and readers

PYTHON ?= python3
UV ?= uv
# Without compiled files each process compiles its modules anew, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet install
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	--no-emit-index-url --no-header $(LOCK)
COMPILE_OURS = $(COMPILE) --extra build pyproject.toml
BUILD := editables hatchling setuptools
# Without an index pip finds nothing for an environment of its own in which to build.
OFFLINE := $(if $(PIP_NO_INDEX),--no-build-isolation)
# The tools of `make audit` and `make sbom`, which are no part of what runs.
TOOLS := .venv/tools
AUDIT := pip-audit==2.10.1 cyclonedx-bom==7.5.0
UNREACHABLE := Nothing was audited: PyPI's list of known faults cannot be reached from here.
# A test waits for most of its time: while one does, others run. One that ends its process is a
# failure, not to be tried in another.
AT_ONCE := --numprocesses 4 --dist worksteal --max-worker-restart 0
# The files that have tests of a marker. To collect those of all files takes longer than they do.
FILES_WITH = $$(grep -rl --include='test_*.py' 'mark\.$(1)\b' tests)
# Browsers, and a Redis that is newer than the wheel's and speaks TLS.
PACKAGES := firefox-esr chromium chromium-headless-shell dbus-daemon libnotify4 redis-server
# What runs WordPress.
PACKAGES += php-cli php-mysql mariadb-server-core libjs-underscore
# What makes hosts of network namespaces.
PACKAGES += iproute2
OLD_PYTHON := needs Python 3.10 or later: apt-get install python3, or name one: make run PYTHON=python3.12
NO_VENV := needs Python's venv: apt-get install python3-venv
# True for root on Debian, where alone these packages may be installed unasked.
MAY_INSTALL := [ "$$(id -u)" = 0 ] && grep -qs '^ID=debian' /etc/os-release
APT_INSTALL := apt-get update -q && DEBIAN_FRONTEND=noninteractive \
	apt-get install -q -y --no-install-recommends

.PHONY: run quick test soak check lock audit sbom fmt clean debian-packages
.NOTPARALLEL:

run: .venv/for-run
	@exec $(BIN)/stoppress up

check: .venv/for-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@# Beside it one process compiles the tests, and another the desk's pages, which otherwise each
	@# process of a run does anew.
	{ $(BIN)/pytest --collect-only -q; $(BIN)/python -m tests.support.processes.preloaded; } >/dev/null 2>&1 & \
	$(BIN)/mypy; found=$$?; wait; exit $$found

quick: check
	$(BIN)/pytest $(AT_ONCE) -m "not (browser or processes or long or alone or soak)"

test: debian-packages check .venv/wordpress .venv/promtool .venv/nginx
	$(BIN)/pytest $(call FILES_WITH,alone) -m "alone and not soak"
	@# Some of them once more on a Redis that is reached over TCP and configured as it comes: enough
	@# that it runs each of our scripts.
	$(BIN)/python -m tests.support.redis_servers.second \
		$(BIN)/pytest $(AT_ONCE) -m "not (alone or soak)"

soak: debian-packages .venv/for-test .venv/wordpress .venv/promtool .venv/nginx .venv/debian.tar
	$(BIN)/pytest -m "alone and soak"
	$(BIN)/pytest $(AT_ONCE) -m "soak and not alone"
	for seed in 1 2 3 4 5; do \
	  $(BIN)/pytest $(AT_ONCE) --randomly-seed=$$seed -m "browser and not (alone or soak)" || exit 1; \
	done
	HYPOTHESIS_PROFILE=soak $(BIN)/pytest $(AT_ONCE) --timeout 900 -m "not (browser or processes or alone or soak)"
	$(BIN)/stoppress bench

lock:
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(COMPILE_OURS) --output-file requirements.lock
	$(COMPILE_OURS) --extra dev --extra telemetry --constraint requirements.lock --output-file requirements-dev.lock
	printf '%s\n' $(BUILD) | $(COMPILE) --constraint requirements.lock \
	  --output-file requirements-build.lock -

# An audit of which a part is missing has found nothing: it fails, and says which of the two it was.
audit: $(TOOLS)
	@found=$$($(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes \
	  --progress-spinner off -r requirements.lock 2>&1) && { echo "$$found"; exit 0; }; \
	echo "$$found" >&2; \
	case $$found in *"known vulnerabilit"*) ;; *) echo "$(UNREACHABLE)" >&2;; esac; exit 1

sbom: $(TOOLS)
	@mkdir -p dist
	@$(TOOLS)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file dist/sbom.json requirements.lock 2>/dev/null
	@echo "dist/sbom.json (CycloneDX) lists what requirements.lock pins"

fmt: .venv/for-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find service workers tests -name __pycache__ -exec rm -rf {} +

.venv/for-run: requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements-build.lock
	$(PIP) --require-hashes $(OFFLINE) -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/for-test: requirements-dev.lock requirements-build.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements-build.lock
	$(PIP) --require-hashes $(OFFLINE) -r requirements-dev.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(TOOLS): | $(BIN)/python
	@$(BIN)/python -m venv --clear $@ && $@/bin/pip --disable-pip-version-check --quiet install $(AUDIT) \
	  || { rm -rf $@; exit 1; }

APT_DOWNLOAD := apt-get download -q -o APT::Sandbox::User=root
# Unpacked only, because to install it would bring a web server.
.venv/wordpress: | .venv/for-test
	@if $(MAY_INSTALL); then \
	  folder=$$(mktemp -d) && chmod 755 $$folder && cd $$folder && \
	  { $(APT_DOWNLOAD) wordpress || { apt-get update -q && $(APT_DOWNLOAD) wordpress; }; } && \
	  dpkg-deb -x wordpress_*.deb $(CURDIR)/$@ && rm -r $$folder && \
	  ln -s /usr/share/javascript /usr/share/php $(CURDIR)/$@/usr/share/; \
	fi

# Prometheus' own checks of figures and rules; of its package no more, which would start a server.
.venv/promtool: | .venv/for-test
	@if $(MAY_INSTALL); then \
	  folder=$$(mktemp -d) && chmod 755 $$folder && cd $$folder && \
	  { $(APT_DOWNLOAD) prometheus || { apt-get update -q && $(APT_DOWNLOAD) prometheus; }; } && \
	  dpkg-deb -x prometheus_*.deb . && cp usr/bin/promtool $(CURDIR)/$@ && rm -r $$folder; \
	fi

# Unpacked only: it checks docs/ops/proxy/nginx.conf, and no web server is to run here.
.venv/nginx: | .venv/for-test
	@if $(MAY_INSTALL); then \
	  folder=$$(mktemp -d) && cd $$folder && \
	  { $(APT_DOWNLOAD) nginx || { apt-get update -q && $(APT_DOWNLOAD) nginx; }; } && \
	  dpkg-deb -x nginx_*.deb $(CURDIR)/$@ && rm -r $$folder; \
	fi

# A minimal Debian, in which the tests build the container's image: they reach no registry of images.
.venv/debian.tar: | .venv/for-test
	@if $(MAY_INSTALL); then \
	  { command -v mmdebstrap >/dev/null || { $(APT_INSTALL) mmdebstrap; }; } && \
	  mmdebstrap --quiet --variant=minbase --include=python3-venv,ca-certificates \
	    "$$(. /etc/os-release && echo $$VERSION_CODENAME)" $@; \
	fi

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "Stop Press $(OLD_PYTHON)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Stop Press $(NO_VENV)" >&2; exit 1; }
	@# Half an environment must not be taken for one next time.
	$(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 1; }

debian-packages:
	@if $(MAY_INSTALL); then \
	  missing=$$(for name in $(PACKAGES); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$name 2>/dev/null | grep -qx installed || echo $$name; \
	  done); \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="python3-venv $$missing"; \
	  if [ -n "$$missing" ]; then $(APT_INSTALL) $$missing; fi; \
	fi
