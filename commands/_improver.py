"""The rounds of praxon improve: watch or learn while acting, train, evaluate; a round that is finished is not done again."""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import open_dict

from praxon.commands._hydra import Config, compose_config
from praxon.commands._improvable import require_improvable, require_learnable
from praxon.commands._learner import learner_of, lessons_of, save_start
from praxon.commands._ledger import Ledger
from praxon.commands._run import plain, progress_bar, require, task_of, write_json
from praxon.commands._windows import joined_windows
from praxon.sim.factory import make_world
from praxon.sim.seeds import Purpose, episode_seeds

if TYPE_CHECKING:
    from praxon.learning.interactive.counts import Counts
    from praxon.learning.interactive.gates import Gate
    from praxon.learning.interactive.lessons import Lessons
    from praxon.learning.interactive.methods import Method, Online
    from praxon.learning.interactive.operators import Operator
    from praxon.learning.rl.rounds import Progress
    from praxon.learning.trainer import Trainer
    from praxon.policies.base import Policy
    from praxon.policies.bundle import Bundle

EPISODES_AT_MOST = 200
"""In a round: a policy that needs no help asks for none."""
LEDGER = "meta/rollouts.jsonl"
IMPROVED = "\n## Improved\n\n"
"""Heading in a bundle's card."""


class Improver:
    """Rounds of watching, training and evaluating; a round that is finished is not done again."""

    def __init__(self, config: Config, method: "Method", gate: "Gate | None", operator: "Operator") -> None:
        import torch

        from praxon.datasets.lerobot_reader import LeRobotDataset
        from praxon.policies.bundle import load_bundle

        torch.set_num_threads(config.threads)
        self.config, self.method = config, method
        self._trainer(0)  # refuses settings out of range
        self.lessons: Lessons | None = method.lessons
        start = load_bundle(Path(str(config.bundle)))
        self.world = make_world(task_of(config), plain(config.robot), policy_contract=start.contract)
        require(
            self.world.contract.action.kind != "pose",
            "This policy commands tool poses and the expert joints; what either would do is compared in joints only.",
        )
        if config.classifier is not None:
            from praxon.learning.rl.success import load_classifier

            load_classifier(Path(str(config.classifier))).require(self.world.contract, "this world")
        if method.online is None:
            self.help = operator.at(self.world, config.skill, gate)
            self._gate(1)  # refuses what cannot be mixed
        else:  # the process that acts has the operator's device
            require(
                operator.gated or not config.practice,
                "practice is of scripted operators: a person who does not help would have to say all the same what failed.",
            )
            operator.require(self.world, config.skill)
        self.demonstrations = [] if config.dataset is None else [LeRobotDataset(Path(str(config.dataset)))]
        for dataset in self.demonstrations:
            dataset.require(start.contract)
            require(
                dataset.contract.task == self.world.contract.task,
                f"The demonstrations in '{dataset.root}' are of task '{dataset.contract.task}', not '{self.world.contract.task}'.",
            )
        require_improvable(config, method, gate, start, self.world, self.demonstrations)
        if method.online is not None:
            learner_of(config, method.online)
            self.lessons = lessons_of(config, method, method.online)
            require_learnable(config, method, start, self.demonstrations, trained_below=self.lessons is not None)

    def round(self, number: int, folder: Path) -> dict[str, Any]:
        """Round 0 is the policy as it was given; each other one watches the policy of the one before it."""
        from praxon.learning.interactive.counts import Counts
        from praxon.policies.bundle import load_bundle

        kept = folder / "round.json"
        if kept.exists():
            found: dict[str, Any] = json.loads(kept.read_text())
            _tidy(folder)
            return found
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        result: dict[str, Any] = {"round": number}
        before, counts = {"labels_so_far": 0, "env_steps_so_far": 0}, Counts()
        if number == 0:
            bundle = load_bundle(Path(str(self.config.bundle)))
            _save(folder / "bundle", bundle, bundle.policy)
        else:
            earlier = folder.with_name(f"{number - 1:02d}")
            before = json.loads((earlier / "round.json").read_text())
            if self.method.online is not None:
                bundle, counts, versions = self._learn_while_acting(
                    number, self.method.online, earlier / "bundle", folder
                )
                result["versions"] = versions
                trained = {} if self.lessons is None else self._train_below(number, bundle, folder)
            else:
                counts, report = self._watch(number, earlier / "bundle", folder / "rollouts")
                result |= {"gate": report} if report else {}
                bundle = load_bundle(earlier / "bundle")
                trained = self._train_below(number, bundle, folder)
            result |= trained
            _save(folder / "bundle", bundle, bundle.policy, self._said(number, counts, trained))
        result |= asdict(counts)
        result["intervention_rate"] = round(counts.intervention_rate, 4)
        for name in ("labels", "env_steps"):
            result[f"{name}_so_far"] = before[f"{name}_so_far"] + result[name]
        evaluated = self._evaluate(folder)
        result |= {name: evaluated[name] for name in ("successes", "success_rate", "interval_95")}
        result["seconds"] = round(time.perf_counter() - began, 2)
        write_json(kept, result)
        _tidy(folder)
        return result

    def _said(self, number: int, counts: "Counts", trained: dict[str, Any]) -> str:
        """What a card says of a round."""
        config, method = self.config, self.method
        gate = "" if config.gate is None else f", gate {str(config.gate['_target_']).rpartition('.')[2]}"
        learned = ""
        if method.online is not None:
            refinement = str(config.refinement["_target_"]).rpartition(".")[2]
            learned = f" Critics and refinement {refinement} ({config.learner.critics} critics), refit {config.refit}."
        samples = (
            f"{config.steps} steps on {trained['samples']} samples of this and earlier rounds" if trained else "none"
        )
        samples += " and the demonstrations" if trained and self.demonstrations else ""
        return (
            f"Round {number} of `praxon improve method={method.name}` from `{config.bundle}`: {counts.episodes} episodes, "
            f"{counts.labels} labels of an expert of skill {config.skill}{gate}, seed {config.seed}.{learned} Training of the "
            f"policy: {samples}. What stands above is of the policy that was improved."
        )

    def _gate(self, number: int) -> "Gate":
        """Who drives in a round."""
        own_gate = self.method.own_gate
        mixing = {"beta": float(self.config.beta), **plain(self.config.mixing)}
        return self.help.gate if own_gate is None else own_gate(number, mixing)

    def _watch(self, number: int, bundle: Path, root: Path) -> tuple["Counts", dict[str, Any]]:
        """Episodes until the expert has given as many labels as asked, on disk one by one; counts, and the gate's report."""
        from praxon.datasets.lerobot_reader import LeRobotDataset
        from praxon.datasets.lerobot_writer import LeRobotWriter
        from praxon.learning.interactive.counts import Counts
        from praxon.learning.interactive.experience import Experience
        from praxon.learning.interactive.foresight import Foresight
        from praxon.learning.interactive.records import record_features
        from praxon.learning.interactive.supervised import SupervisedAgent, roll_out
        from praxon.policies.agent import ChunkAgent
        from praxon.policies.denoising.backends.registry import open_runtime
        from praxon.robots.teleoperation.intervention import Mark

        config, world = self.config, self.world
        runtime = open_runtime(bundle, serving={"threads": config.threads})
        policy = ChunkAgent(runtime, world.contract)
        gate = self._gate(number)
        before = [LeRobotDataset(root.parent.with_name(f"{earlier:02d}") / "rollouts") for earlier in range(1, number)]
        gate.prepare(Experience(self.demonstrations, before, runtime, config.seed + number))
        agent = SupervisedAgent(policy, self.help.expert, gate, Foresight(world))
        seeds = episode_seeds(Purpose.COLLECT, 1_000_003 * (config.seed + 1) + number, EPISODES_AT_MOST)
        counts, helper = Counts(), self.help
        with (
            LeRobotWriter(
                root,
                world.contract,
                world.instruction,
                world.contract.robot,
                extra_features=record_features(world.contract, runtime.contract.chunk.num_execute),
                metadata={"improve": {"method": self.method.name, "round": number, "seed": config.seed}},
                resume=root.exists(),
            ) as writer,
            Ledger(root / LEDGER) as ledger,
            progress_bar(f"round {number}: watch", config.labels) as advance,
        ):
            for line in ledger.lines:
                counts += Counts.read(line)
                gate.remember(line.get("notes", {}))
            advance(completed=min(counts.labels, config.labels))
            while counts.episodes < EPISODES_AT_MOST and counts.labels < config.labels:
                # Killed between writing an episode and noting it, the run finds it there already. What a script did, it does again
                # to the bit, and the gate learns of it; a person would do something else.
                there = counts.episodes < writer.num_episodes
                if there and helper.attendant is not None:
                    stored = LeRobotDataset(root)
                    part = stored.episode_slice(counts.episodes)
                    frames = {name: values[part] for name, values in stored.columns.items()}
                else:
                    rollout = roll_out(
                        world, agent, seeds[counts.episodes], attendant=helper.attendant, gives_up=helper.gives_up
                    )
                    if rollout.mark == Mark.DISCARD:
                        continue
                    frames = rollout.frames
                    if not there:
                        writer.add_episode(frames, rollout.stamps_ns)
                found, notes = self.method.counted(Counts.of(frames)), gate.notes()
                ledger.add({**asdict(found), "notes": notes})
                gate.remember(notes)
                counts += found
                advance(
                    completed=min(counts.labels, config.labels),
                    note=f"{counts.solved}/{counts.episodes} solved, {counts.interventions} takeovers",
                )
        policy.close()
        return counts, gate.report()

    def _learn_while_acting(
        self, number: int, online: "Online", earlier: Path, folder: Path
    ) -> tuple["Bundle", "Counts", int]:
        """Actor and learner side by side, until the quota is met; the bundle, counts, and versions of weights that acted."""
        from praxon.learning.rl.process import START, Work
        from praxon.learning.rl.rounds import learn_while_acting, write_rollouts
        from praxon.policies.bundle import load_bundle

        config, loop = self.config, folder / "loop"
        if not (loop / START / "manifest.json").exists():
            save_start(config, load_bundle(earlier), loop / START)
        settings, schedule, gamma = learner_of(config, online)
        rollouts = [str(folder.with_name(f"{before:02d}") / "rollouts") for before in range(1, number)]
        work = Work(
            task=task_of(config),
            robot=plain(config.robot),
            skill=config.skill,
            operator=plain(config.operator),
            classifier=None if config.classifier is None else str(config.classifier),
            gate=None if config.gate is None else plain(config.gate),
            seeds=episode_seeds(
                Purpose.COLLECT, 1_000_003 * (config.seed + 1) + number, EPISODES_AT_MOST + config.practice
            ),
            labels=config.labels,
            env_steps=config.env_steps,
            practice=config.practice,
            reward=online.reward(plain(config.learner)),
            gamma=gamma,
            settings=settings,
            schedule=schedule,
            prefer_interventions=online.prefer_interventions,
            seed=config.seed + number,
            demonstrations=[str(dataset.root) for dataset in self.demonstrations],
            earlier=rollouts,
            threads=config.threads,
        )
        with progress_bar(f"round {number}: act and learn", config.labels) as advance:

            def told(now: "Progress") -> None:
                solved = f"{now.solved}/{now.episodes} solved"
                advance(
                    completed=min(now.labels, config.labels),
                    note=f"{now.steps} steps, {solved}; learned {now.updates} of {now.of} times",
                )

            bundle, learned = learn_while_acting(loop, work, self.world.contract, told)
        about = {"improve": {"method": self.method.name, "round": number, "seed": config.seed}}
        root = folder / "rollouts"
        counts, versions = write_rollouts(root, loop, self.world, bundle.contract, about, work.quota)
        write_json(folder / "learned.json", learned)
        return bundle, counts, versions

    def _train_below(self, number: int, bundle: "Bundle", folder: Path) -> dict[str, Any]:
        """Train a bundle's policy in place; of a refined one, the policy below."""
        from dataclasses import replace

        from praxon.policies.refined import RefinedPolicy

        refined = bundle.policy
        if not isinstance(refined, RefinedPolicy):
            trained, figures = self._train(number, bundle, folder)
            refined.load_state_dict(trained.state_dict())
            return figures
        described = {**bundle.config, "policy": bundle.config["policy"]["base"]}
        refined.base, figures = self._train(number, replace(bundle, policy=refined.base, config=described), folder)
        return figures

    def _train(self, number: int, bundle: Any, folder: Path) -> tuple["Policy", dict[str, Any]]:
        """The policy of the round before, trained on demonstrations and all that was watched, half and half."""
        import torch

        from praxon.datasets.joined import JoinedWindows, joined_statistics
        from praxon.learning.fitting import fit_normalizer
        from praxon.learning.sampling import mixture
        from praxon.learning.trainer import StepReport
        from praxon.learning.weighting import Sources
        from praxon.policies.build import build_policy_for

        config, policy, lessons = self.config, bundle.policy, self.lessons
        assert lessons is not None
        if config.fresh:
            torch.manual_seed(config.seed + number)
            policy = build_policy_for(bundle.config["policy"], bundle.contract)
            policy.configure_engine({k: v for k, v in bundle.policy.engine_settings().items() if k != "cache"})
        given, watched = self._windows(policy, number, folder)
        if not watched and not given and self.method.online is not None:
            return bundle.policy, {}  # what was learned while acting stands
        require(
            bool(given or watched),
            "There is nothing to learn from: nobody took over, and no demonstrations were given (dataset=<folder>). A gate that "
            "takes over sooner would do.",
        )
        padding = getattr(policy, "mask_padding", None)
        if padding is not None and lessons.cut:
            policy.mask_padding = True
        parts = {**given, **watched}
        windows = JoinedWindows(list(parts.values()))
        if config.fresh:
            fit_normalizer(policy, joined_statistics(list(parts.values())), windows)
        trainer = self._trainer(number)
        sizes = [len(each) for each in watched.values()]
        shares = [1.0] * len(given) + [size / sum(sizes) for size in sizes]  # all that is new, as much as what is old
        with progress_bar(f"round {number}: train", config.steps) as advance:

            def show(report: StepReport) -> None:
                advance(completed=report.step, note=f"loss {report.loss:.4f}")

            trainer.fit(
                policy,
                windows,
                folder,
                config={"improve": self.method.name, "round": number},
                sampler=mixture(windows, trainer.batch_size, config.seed + number, shares),
                weighting=lessons.weighting,
                sources=Sources(tuple(parts), [part.dataset for part in parts.values()], windows.frames),
                on_step=show,
            )
        if padding is not None:
            policy.mask_padding = padding
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        return policy, {"loss": last["loss"], "samples": sum(sizes)}

    def _windows(self, policy: "Policy", number: int, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Samples of the demonstrations, and of each round up to this one that has some, by name."""
        from praxon.datasets.lerobot_reader import LeRobotDataset

        future, seed, lessons = policy.needs().future, self.config.seed, self.lessons
        assert lessons is not None
        given, watched = {}, {}
        if self.demonstrations:
            whole = [range(dataset.num_episodes) for dataset in self.demonstrations]
            parts = joined_windows(policy, self.demonstrations, whole, future, seed=seed).parts
            given = {"demonstrations": parts[0]}
        rounds = range(1, number + 1)
        datasets = [LeRobotDataset(folder.with_name(f"{earlier:02d}") / "rollouts") for earlier in rounds]
        every, keep = [range(each.num_episodes) for each in datasets], [lessons.keep(each) for each in datasets]
        labels = self.method.labels
        parts = joined_windows(policy, datasets, every, future, seed=seed, labels=labels, keep=keep).parts
        watched = {f"round {earlier}": part for earlier, part in zip(rounds, parts, strict=True) if len(part)}
        return given, watched

    def _trainer(self, number: int) -> "Trainer":
        """Who trains in a round."""
        from praxon.learning.trainer import Trainer

        config = self.config
        return Trainer(**plain(config.training), steps=config.steps, seed=config.seed + number)

    def _evaluate(self, folder: Path) -> dict[str, Any]:
        from praxon.commands.eval import run as evaluate

        described = compose_config(
            "eval",
            [
                f"episodes={self.config.eval_episodes}",
                f"seed={self.config.seed}",
                f"workers={self.config.workers}",
                f"threads={self.config.threads}",
            ],
        )
        with open_dict(described):
            described.task, described.robot = self.config.get("task"), self.config.robot
            described.bundle, described.run_dir = str(folder / "bundle"), str(folder / "evaluation")
        return evaluate(described)


def _tidy(folder: Path) -> None:
    """Leave of a finished round what is read again."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if (folder / "loop").exists():
        from praxon.learning.rl.rounds import tidy

        tidy(folder / "loop")


def _save(path: Path, bundle: Any, policy: Any, improved: str = "") -> None:
    """A bundle like this one with the policy's weights, whole or not at all; what was measured or calibrated is of others."""
    from praxon.policies.bundle import save_bundle

    engine = {name: value for name, value in bundle.engine.items() if name != "measured"}
    card = bundle.card.partition(IMPROVED)[0] + (f"{IMPROVED}{improved}\n" if improved else "")
    save_bundle(path, policy, bundle.config, engine | ({"cache": None} if "cache" in engine else {}), card)
