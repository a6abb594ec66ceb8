# Holdfast. `make` lists the verbs.
# Variables: BOOTSTRAP=no (install nothing), PROFILE=fast|safe (failover timing), NODES=2|3 (data nodes),
# NAME=second (another stack beside the first), YES=1 (the answer to what is asked), PG_MAJOR=17|18 (PostgreSQL).

PYTHON ?= python3
export PYTHON
VENV   := .venv
BIN    := $(VENV)/bin
SCRIPTS = holdfast .ci/run $(shell grep -rlE '^\#!/.*sh$$' deploy)

.DEFAULT_GOAL := help
.PHONY: help up update down clean distclean status primary vip switchover logs psql dev check tests-at-work tests-that-wait tests-on-the-other check-major check-long check-busy check-update check-backups check-nodes check-monitoring check-pooler test test-stack bench bench-writes mutants dashboards fmt lock

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up:  ## from a bare machine to a running stack
	@$(PYTHON) -m ops up

update:  ## security updates: fresh images, every container replaced in turn; nothing fails
	@$(PYTHON) -m ops update

down:  ## stop the stack, keep its data
	@$(PYTHON) -m ops down

clean:  ## stop the stack, remove its data and secrets; asks (YES=1 is the answer)
	@$(PYTHON) -m ops clean

distclean:  ## clean, and remove images, virtual environment and caches too
	@$(PYTHON) -m ops distclean
	@[ -n "$(filter-out holdfast,$(NAME))" ] || rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

status:  ## what `./holdfast status` shows; that one's exit code is for scripts
	@./holdfast status || [ $$? -eq 3 ]

primary:  ## print the container that is the primary now
	@$(PYTHON) -m ops primary

vip:  ## print the container that holds the virtual IP now
	@$(PYTHON) -m ops vip

switchover:  ## hand the primary's role over, in an orderly way
	@$(PYTHON) -m ops switchover

logs:  ## follow all logs (ARGS="app1 app2" for some)
	@$(PYTHON) -m ops logs $(ARGS)

psql:  ## psql through the write port
	@$(PYTHON) -m ops psql $(ARGS)

dev: $(VENV)/ready  ## the service on an embedded cluster: no Docker, no root
	@$(BIN)/python -m ops.dev $(ARGS)

check: $(VENV)/ready  ## fast: lint, types, import contracts, audit, unit and integration tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck --external-sources $(SCRIPTS)
	$(BIN)/hadolint deploy/*/Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose/*.yaml
	@$(BIN)/python -m ops.audit
	@deploy/bootstrap/install-wrk.sh "$${BOOTSTRAP:-yes}" || echo "The tests of make bench cannot run."
	@deploy/bootstrap/install-chromium.sh "$${BOOTSTRAP:-yes}" || echo "The tests of the console's page cannot run."
	@deploy/bootstrap/install-pgbouncer.sh build/pgbouncer "$${BOOTSTRAP:-yes}" || echo "The tests through a pooler cannot run."
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target tests-at-work tests-that-wait tests-on-the-other

# At the same time: the ones are busy while the others wait for a database. Some of these go with those, so that
# both take as long.
MOVED := $(addprefix tests/integration/,test_bench.py test_soak.py test_workers.py)
tests-at-work: $(VENV)/ready
	$(BIN)/python -m pytest tests/unit $(MOVED)

tests-that-wait: $(VENV)/ready
	$(BIN)/python -m pytest tests/integration $(MOVED:%=--ignore=%)

# The short form of the matrix: what the server's version touches most, on the major release that the others do not
# run on. Begins when the first of the two above has ended.
OTHER := $(if $(filter 18,$(PG_MAJOR)),17,18)
SENSITIVE := $(patsubst %,tests/integration/test_%.py,majors stack_sql commit keyed_writes audit)
tests-on-the-other: $(VENV)/ready
	PG_MAJOR=$(OTHER) $(BIN)/python -m pytest $(SENSITIVE)

check-major: $(VENV)/ready  ## the long form: every integration test on the other PostgreSQL, 18 (20 min; PG_MAJOR=18: 17)
	PG_MAJOR=$(OTHER) $(BIN)/python -m pytest tests/integration

check-long: $(VENV)/ready  ## 2,000 new histories, loss at every byte, a soak of ten minutes
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest \
		tests/integration/test_properties.py tests/integration/test_every_byte.py tests/integration/test_soak.py

check-busy: $(VENV)/ready  ## tests again and again, beside four busy processes (ROUNDS=20, ARGS="FILES")
	@$(BIN)/python -m tests.busy --rounds $(or $(ROUNDS),20) $(ARGS)

check-update: $(VENV)/ready  ## `make update` on the real stack, beside clients that never retry (3 min)
	$(BIN)/python -m pytest tests/stack/test_update.py -m "stack and long"

check-backups: $(VENV)/ready  ## the long forms: a machine lost, every control, a repository in S3 (5 min)
	$(BIN)/python -m pytest tests/stack/test_backups.py tests/stack/test_backups_s3.py -m "stack and long"

check-nodes: $(VENV)/ready  ## drills of three nodes, nodes damaged, left behind or all gone, two stacks (12 min)
	$(BIN)/python -m pytest tests/stack/test_three_nodes.py tests/stack/test_healing.py tests/stack/test_last_resort.py \
		tests/stack/test_kept.py tests/stack/test_two_stacks.py -m "stack and long"

check-pooler: $(VENV)/ready  ## POOLER=yes on the real stack: switched beside clients, its alerts (10 min)
	$(BIN)/python -m pytest tests/stack/test_pooler.py -m "stack and long"

check-monitoring: $(VENV)/ready  ## the long forms: every alert in its turn, planned work, console, traces (40 min)
	$(BIN)/python -m pytest tests/stack/test_monitoring.py tests/stack/test_turns.py \
		tests/stack/test_console.py tests/stack/test_traces.py -m "stack and long"

test: check test-stack  ## everything, the real stack included

test-stack: $(VENV)/ready  ## the tests on the real stack (brings it up, and down again if it was down)
	@deploy/bootstrap/install-chromium.sh "$${BOOTSTRAP:-yes}" || echo "The tests of the console cannot run."
	$(BIN)/python -m pytest tests/stack -m "stack and not long" --durations=20

bench: $(VENV)/ready  ## speed beside a control and a plain FastAPI, as ratios; 3 min (ARGS="--long": 25)
	@deploy/bootstrap/install-wrk.sh "$${BOOTSTRAP:-yes}"
	@$(BIN)/python -m benchmarks $(ARGS)

bench-writes: $(VENV)/ready  ## measure what an idempotency key costs a write (ARGS="--rounds 6")
	@$(BIN)/python -m benchmarks.writes $(ARGS)

mutants: $(VENV)/ready  ## plant faults and see whether a test fails: in what changed, 2 min (ALL=1, ARGS="PATHS")
	@$(BIN)/python -m mutants $(if $(ALL),,--since auto --seconds 120) $(ARGS)

dashboards: $(VENV)/ready  ## write Grafana's dashboards anew (deploy/monitoring/grafana)
	@$(BIN)/python -m dashboards

fmt: $(VENV)/ready  ## format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/ready  ## pin the dependencies anew, hashes included
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --quiet --upgrade pyproject.toml -o requirements/service.txt
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --quiet --upgrade --group dev pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --quiet --upgrade --group client -c requirements/dev.txt -o requirements/client.txt

$(VENV)/ready: requirements/dev.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || deploy/bootstrap/install-venv.sh "$${BOOTSTRAP:-yes}"
	@echo "==> virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
