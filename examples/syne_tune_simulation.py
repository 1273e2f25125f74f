"""Syne Tune's ASHA with four workers on the suite's own table, in simulated time."""

import logging

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend.simulator_backend.simulator_callback import SimulatorCallback
from syne_tune.blackbox_repository.simulated_tabular_backend import UserBlackboxBackend
from syne_tune.optimizer.baselines import ASHA

import benchmark
from benchmark.adapters.syne_tune import ELAPSED, FIDELITY, METRIC, blackbox

logging.getLogger().setLevel(logging.WARNING)
table = benchmark.load_table("resnet20-cifar10-paper-epochs10-2daccdc2036b")
box = blackbox(table)
tuner = Tuner(
    trial_backend=UserBlackboxBackend(box, elapsed_time_attr=ELAPSED, seed=0),
    scheduler=ASHA(box.configuration_space, METRIC, FIDELITY, max_t=10, do_minimize=False, random_seed=0),
    stop_criterion=StoppingCriterion(max_num_trials_finished=30),
    n_workers=4,
    sleep_time=0,
    callbacks=[SimulatorCallback()],
    save_tuner=False,
)
tuner.run()
config = tuner.best_config(METRIC)[1]["config"]
print(f"{config}: {table.query(config, seed=None, epoch=None, split='test'):.2f} %, the mean over seeds")
