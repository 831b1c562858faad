"""What hands type by habit, from other programs or from Hydra, and the way that works here."""

from __future__ import annotations

# Names that other libraries give to keys; in lower case, without what stands before the last dot.
_OTHER_NAMES = {
    "algo": ("agent", "algorithm", "model", "method", "learner"),
    "env": ("environment", "task", "env_name", "domain"),
    "env.id": ("env_id", "gym_id"),
    "algo.actor": ("policy", "actor_critic"),
    "algo.actor_learning_rate and algo.critic_learning_rate": ("lr", "learning_rate", "step_size"),
    "algo.actor_learning_rate": ("lr_actor", "actor_lr", "policy_lr", "pi_lr"),
    "algo.critic_learning_rate": ("lr_critic", "critic_lr", "q_lr", "qf_lr"),
    "algo.temperature_learning_rate": ("lr_alpha", "alpha_lr", "temp_lr", "ent_lr"),
    "algo.initial_temperature": ("alpha", "ent_coef", "temperature", "init_temperature", "entropy_coef"),
    "algo.learn_temperature": ("autotune", "auto_alpha", "automatic_entropy_tuning"),
    "algo.batch_size": ("batch", "minibatch_size"),
    "algo.gamma": ("discount", "discount_factor"),
    "algo.tau": ("polyak", "soft_update_rate"),
    "algo.utd_ratio": ("utd", "gradient_steps", "updates_per_step", "num_updates", "replay_ratio"),
    "algo.num_critics": ("n_critics", "num_q", "num_qs", "num_ensemble", "ensemble_size"),
    "algo.hidden_sizes": ("hidden_dim", "hidden_dims", "net_arch", "layers", "width"),
    "training.replay_size": ("buffer_size", "replay_buffer_size", "memory_size", "capacity"),
    "training.start_steps": ("learning_starts", "warmup", "warmup_steps", "random_steps", "start_timesteps"),
    "training.total_steps": ("steps", "num_steps", "max_steps", "total_timesteps", "timesteps", "num_env_steps"),
    "eval.interval": ("eval_freq", "eval_every", "eval_interval", "evaluate_every"),
    "eval.episodes": ("eval_episodes", "num_eval_episodes", "n_eval_episodes"),
    "checkpoint.interval": ("save_freq", "save_every", "save_interval", "checkpoint_freq"),
    "hardware.device": ("gpu", "cuda", "accelerator"),
    "hardware.threads": ("num_threads", "n_threads", "num_workers", "cpus"),
    "hardware.updates": ("compile", "backend", "jit"),
    "output_dir": ("output", "dir", "log_dir", "logdir", "out_dir", "outdir", "save_dir", "folder"),
    "experiment_name": ("exp_name", "run_name"),
    "logger=wandb": ("wandb", "use_wandb", "track", "wandb_project"),
    "seed": ("seeds", "random_seed"),
}
_MEANT = {other: key for key, others in _OTHER_NAMES.items() for other in others}
_EVERY = ("every", "freq", "frequency")  # last names of what is "interval" here

# Hydra's own settings that are fixed, by how their names begin.
_SETTINGS = {
    ("hydra.run", "hydra.sweep", "hydra.output_subdir", "hydra.job.chdir"): "output_dir=<folder> says where runs are",
    ("hydra.job.name",): "experiment_name=<name> names the runs",
    ("hydra.mode",): "-m makes it a sweep",
    ("hydra.job.num", "hydra.job.id", "hydra.runtime"): "it follows from the command",
    ("hydra.verbose", "hydra/job_logging", "hydra/hydra_logging", "hydra.job_logging", "hydra.hydra_logging"): (
        "each run has its train.log"
    ),
}


def key_meant(key: str) -> str | None:
    """The key of this project that others call ``key``."""
    before, _, last = key.casefold().rpartition(".")
    if last in _EVERY and before in ("eval", "checkpoint"):
        return f"{before}.interval"
    return _MEANT.get(last)


def way_instead(setting: str) -> str | None:
    """What does here what ``setting`` of Hydra does elsewhere, in words."""
    return next((way for begins, way in _SETTINGS.items() if setting.startswith(begins)), None)
