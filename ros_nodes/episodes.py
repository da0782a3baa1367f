"""The process that conducts a graph: starts robot_sim and policy, runs episodes, stops everything in the right order.

    python -m praxon.ros_nodes.episodes --bundle runs/demo/bundle --task pick_place --robot panda --seeds 1,2 --run-dir out

Prints one JSON object per line, with "event" being "active" (both nodes are ready), "episode" (one is over), "serving"
(the policy acts, and will until an interrupt: what happens without seeds) or "error". ``graph.py`` starts it, so that
the caller needs no rclpy in its process.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import praxon.ros_nodes.needs_ros  # noqa: F401  (one sentence where ROS 2 is missing)

# isort: split
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from praxon.errors import PraxonError, RobotError
from praxon.ros_nodes.client import NodeClient
from praxon.ros_nodes.domain import Domain
from praxon.ros_nodes.flag import Flag
from praxon.ros_nodes.parent import die_with_parent
from praxon.ros_nodes.processes import Child, stop_all
from praxon.sim.factory import make_robot, make_task

MARGIN_S = 15.0
"""How much longer than its time limit an episode may take on a busy machine [s]."""
STOP_S = 5.0
"""How long a transition may take while stopping [s]."""


class Interrupted(Exception):
    """We are asked to stop."""


class Graph:
    """robot_sim and policy as child processes, and clients of both.

    Args:
        node: ours, spun by an executor elsewhere.
        options: parsed command line.
        interrupted: set when we are to stop; every wait then raises ``Interrupted``.
    """

    def __init__(self, node: Node, options: argparse.Namespace, interrupted: Flag) -> None:
        environment = dict(os.environ)
        environment["OMP_NUM_THREADS"] = str(max(1, options.threads))
        chosen: dict[str, dict[str, Any]] = {
            "robot_sim": {"task": options.task, "robot": options.robot, "model": options.model},
            "policy": {"bundle": str(options.bundle), "robot": options.robot, "threads": options.threads},
        }
        # Quoted twice, so that ROS takes the settings as text.
        chosen["policy"] |= {
            name: json.dumps(text) for name in ("engine", "serving") if (text := getattr(options, name))
        }
        self._interrupted = interrupted
        self.children = {
            name: Child(
                f"praxon.ros_nodes.{name}_node",
                ["--ros-args", *(part for key, value in values.items() for part in ("-p", f"{key}:={value}"))],
                options.run_dir / f"{name}.log",
                environment,
            )
            for name, values in chosen.items()
        }
        self.robot_sim = NodeClient(node, "robot_sim", partial(self._check, "robot_sim"))
        self.policy = NodeClient(node, "policy", partial(self._check, "policy"))
        self.robot_sim.listen("episode", String, lambda message: json.loads(message.data))

    def start(self) -> None:
        """Configure both nodes at the same time, then let the simulation run."""
        both = (self.robot_sim, self.policy)
        in_parallel([partial(client.change_state, "configure") for client in both])
        self.robot_sim.change_state("activate")

    def begin(self, seed: int) -> dict[str, Any]:
        """Put the robot and the objects where the episode of this seed starts, and activate the policy."""
        self.robot_sim.set_parameters({"seed": seed})
        answer = self.robot_sim.call(Trigger, "reset", Trigger.Request())
        if not answer.success:
            raise RobotError(str(answer.message))
        self.policy.set_parameters({"seed": seed})
        self.policy.change_state("activate")
        return dict(json.loads(answer.message))

    def run(self, seed: int, timeout_s: float) -> dict[str, Any]:
        """One episode: from its start to success or time limit; how it went, with every latency."""
        number = self.begin(seed)["number"]

        def over(value: dict[str, Any]) -> bool:
            self.require_well()
            return bool(value["number"] == number and value["finished"])

        episode = self.robot_sim.wait_for("episode", over, timeout_s)
        self.policy.change_state("deactivate")
        status = self.policy.wait_for("status", lambda value: value["state"] == "inactive", STOP_S)
        if status["error"]:
            raise RobotError(str(status["error"]))
        kept = ("latencies_ms", "inference_ms", "overruns", "clamps", "drops", "refused_chunks")
        return {key: episode[key] for key in ("seed", "success", "seconds", "metrics")} | {
            key: status[key] for key in kept
        }

    def stop(self) -> None:
        """Policy first, so that its hold is followed by nothing; then the robot; then both processes, by their ids."""
        self._interrupted.clear()  # a second interrupt may still cut the polite part short
        try:
            for client in (self.policy, self.robot_sim):
                if self.children[client.name].returncode is None:
                    client.change_state("shutdown", STOP_S)
        except (PraxonError, Interrupted) as error:
            print(f"while stopping: {error}", file=sys.stderr)
        finally:
            stop_all(list(self.children.values()))

    def watch(self) -> None:
        """Return never: raise when a process ends, a node fails, or we are to stop."""
        while True:
            self.require_well()
            time.sleep(0.1)

    def require_well(self) -> None:
        """Raise unless both processes run, neither node has failed, and we are not to stop."""
        for client in (self.policy, self.robot_sim):
            self._check(client.name)
            client.require_no_failure()

    def _check(self, name: str) -> None:
        if self._interrupted.is_set():
            raise Interrupted("asked to stop")
        self.children[name].require_alive()


def in_parallel(actions: Sequence[Callable[[], None]]) -> None:
    """Run each in a thread; raises the first problem once all have ended."""
    problems: list[Exception] = []

    def attempt(action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=attempt, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def conduct(options: argparse.Namespace, interrupted: Flag) -> int:
    """Run the graph as told; returns the exit status."""
    began_s = time.monotonic()
    graph = node = None
    executor = spinning = None
    try:
        domain = Domain()
        os.environ.update(domain.environment())
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("conductor")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinning = threading.Thread(target=executor.spin, daemon=True)
        spinning.start()
        graph = Graph(node, options, interrupted)
        graph.start()
        processes = {name: child.pid for name, child in graph.children.items()}
        say("active", seconds=round(time.monotonic() - began_s, 3), domain_id=domain.id, processes=processes)
        limit_s = make_task(options.task, make_robot(options.robot)).time_limit_s
        for seed in options.seeds:
            say("episode", **graph.run(seed, limit_s + MARGIN_S))
        if not options.seeds:
            say("serving", **graph.begin(options.seed))
            graph.watch()
        return 0
    except Interrupted:
        return 130
    except PraxonError as error:
        say("error", message=str(error))
        return 1
    finally:
        if graph is not None:
            graph.stop()
        if node is not None and executor is not None and spinning is not None:
            executor.shutdown()
            spinning.join()
            node.destroy_node()
        rclpy.try_shutdown()


def say(event: str, **values: Any) -> None:
    """One line for whoever started us."""
    print(json.dumps({"event": event, **values}), flush=True)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--robot", default="panda")
    parser.add_argument("--model", default="own", help="source of the robot's model: own or menagerie")
    parser.add_argument(
        "--seeds", default="", help="of the episodes, separated by commas; none serves until interrupted"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the start when serving until interrupted")
    parser.add_argument("--threads", type=int, default=0, help="of inference; 0: as the bundle says")
    parser.add_argument("--engine", default="", help="how chunks are drawn, as JSON")
    parser.add_argument("--serving", default="", help="how they are computed, as JSON")
    parser.add_argument("--run-dir", type=Path, required=True, help="takes the logs")
    options = parser.parse_args()
    options.seeds = [int(seed) for seed in options.seeds.split(",") if seed]
    interrupted = Flag()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
    die_with_parent()
    return conduct(options, interrupted)


if __name__ == "__main__":
    sys.exit(main())
