# make demo: the main job. make test: the tests. Each sets up what it needs, once.
VENV := .venv
PYTHON := $(VENV)/bin/python
SETUP := $(VENV)/.ready
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST

.PHONY: demo test lint types benchmark clean

demo: $(SETUP)
	$(VENV)/bin/praxon demo

test: $(SETUP)
	$(PYTHON) -m pytest

lint: $(SETUP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(SETUP)
	$(PYTHON) -m mypy

benchmark: $(SETUP)
	$(PYTHON) benchmarks/environment_speed.py
	$(PYTHON) benchmarks/experts.py
	$(PYTHON) benchmarks/pick_place.py
	$(PYTHON) benchmarks/augmentation.py
	$(PYTHON) benchmarks/dataset_crash.py
	$(PYTHON) benchmarks/lerobot_exchange.py
	$(PYTHON) benchmarks/dataset_throughput.py
	$(PYTHON) benchmarks/lerobot_policies.py
	$(PYTHON) benchmarks/denoise.py
	$(PYTHON) benchmarks/lerobot_denoising.py
	$(VENV)/bin/praxon bench policies study=meta_world out=benchmarks/results/policies_meta_world.json
	$(VENV)/bin/praxon bench policies study=every_policy out=benchmarks/results/policies_every_policy.json
	$(PYTHON) benchmarks/act_execution.py
	$(PYTHON) benchmarks/images.py
	$(PYTHON) benchmarks/ptr.py
	$(PYTHON) benchmarks/ptr.py --task "metaworld task.env_name=pick-place-v3" --seeds 0 1
	$(PYTHON) benchmarks/dagger.py
	$(PYTHON) benchmarks/rlif.py
	$(PYTHON) benchmarks/rlpd.py
	$(PYTHON) benchmarks/rl_actor_speed.py
	$(PYTHON) benchmarks/render.py

$(SETUP): pyproject.toml constraints.txt setup.sh
	VENV="$(VENV)" sh setup.sh
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
