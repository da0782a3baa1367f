"""Writes benchmarks/README.md, and the tables of docs/policies.md, engine.md, weighting.md and improve.md, from results/*.json.

No figure is typed by hand.

usage: python benchmarks/render.py
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

from _learning_tables import dagger, ptr, rl_actor_speed, rlif, rlpd
from _tables import interval, machine

from praxon.sim.statistics import wilson_interval

HERE = Path(__file__).parent
HEAD = """# Benchmarks

Each script measures, prints, and keeps its result as JSON in `results/`; this page is written from those by
`python benchmarks/render.py`. `make benchmark` runs everything below again.
"""


def main() -> None:
    """Render the page."""
    results = {path.stem: json.loads(path.read_text()) for path in sorted((HERE / "results").glob("*.json"))}
    parts = [HEAD]
    if "environment_speed" in results:
        parts.append(environment_speed(results["environment_speed"]))
    experts = [value for name, value in results.items() if name.startswith("expert_")]
    if experts:
        parts.append(expert_table(experts))
    if "pick_place" in results:
        parts.append(policy_table(results["pick_place"]))
    for name, section in SECTIONS.items():
        if name in results:
            parts.append(section(results[name]))
    (HERE / "README.md").write_text("\n".join(parts))
    print(HERE / "README.md")
    sections = {name: section(results[name]) for name, section in SECTIONS.items() if name in results}
    for page in ("policies.md", "engine.md", "weighting.md", "improve.md"):
        fill(HERE.parent / "docs" / page, sections)


def fill(page: Path, sections: dict[str, str]) -> None:
    """Put sections, without their headings, between the page's marks ``<!-- name -->`` and ``<!-- end -->``."""

    def filled(match: re.Match) -> str:
        text = sections.get(match[1])
        if text is None:
            return match[0]
        body = text.partition("\n\n")[2].strip()
        return f"<!-- {match[1]} -->\n\n{body}\n\n<!-- end -->"

    page.write_text(re.sub(r"<!-- ([\w-]+) -->.*?<!-- end -->", filled, page.read_text(), flags=re.DOTALL))
    print(page)


def environment_speed(result: dict) -> str:
    """The environment beside bare physics."""

    def row(name: str, figures: dict) -> str:
        low, high = figures["ratio_quartiles"]
        return (
            f"| {name} | {100 * figures['steps_changed_by_safety']:.0f} % | {figures['environment_steps_per_s']} steps/s | "
            f"{figures['bare_steps_per_s']} steps/s | {figures['ratio']} ({low} to {high}) |"
        )

    return f"""## Environment speed

`benchmarks/environment_speed.py`: steps per second of `praxon/PickPlace-v0` (safety filter, observation, reward and all)
beside bare `mj_step` at the same {result["substeps"]} substeps in the same run.

| targets | changed by the safety filter | environment | bare physics | ratio (quartiles) |
| --- | --- | --- | --- | --- |
{row("inside every limit", result)}
{row("gripper told to open or close at once", result["beyond_limits"])}

{machine(result)}
"""


def expert_table(results: list[dict]) -> str:
    """Every task's expert."""
    rows = "\n".join(
        f"| {r['task']} | {r['successes']} of {r['episodes']} | {interval(r)} | {r['mean_seconds_simulated']} s | "
        f"{r['mean_seconds_wall']} s | {', '.join(f'{k} {v}' for k, v in r['metrics'].items() if 'max_coverage' in k) or ''} |"
        for r in results
    )
    return f"""## Scripted experts

`benchmarks/experts.py`: 100 starts each, evaluation seed 0.

| task | solved | 95 % interval | mean length | wall time | |
| --- | --- | --- | --- | --- | --- |
{rows}

{machine(results[0])}
"""


def policy_table(result: dict) -> str:
    """The demo's policy on many starts."""
    rows = "\n".join(
        f"| {r['seed']} | {r['successes']} of {r['episodes']} | {interval(r)} | "
        f"{r['latency_ms']['p50']} / {r['latency_ms']['p99']} ms |"
        for r in result["evaluations"]
    )
    train = result["train"]
    return f"""## The demo's policy

`make demo`, then `praxon eval bundle=runs/demo/bundle task=pick_place episodes=200 seed=...`. Trained for
{train["training_seconds"]:.0f} s ({train["steps"]} steps) on {train["episodes"]} demonstrations.

| evaluation seed | solved | 95 % interval | inference p50 / p99 |
| --- | --- | --- | --- |
{rows}

{machine(result)}
"""


def exchange(result: dict) -> str:
    """Ours and LeRobot's datasets in each other's hands."""

    def row(name: str, case: dict) -> str:
        worst = max(each["max_difference"] for each in case["pictures"].values())
        files = f"{case['files']['data']} data, {case['files']['videos']} video"
        equal = "all equal" if not case["differing"] else f"differ: {', '.join(case['differing'])}"
        return f"| {name} | {case['episodes']} | {files} | {equal} | {worst} |"

    rows = "\n".join(row(name, case) for name, case in result["cases"].items())
    theirs, old = result["lerobot"], result["lerobot_v21"]
    return f"""## Datasets across LeRobot

`benchmarks/lerobot_exchange.py`: "ours" were written by us and loaded by LeRobot's own classes, "theirs" the other way round;
every tensor of every frame is compared, with and without `delta_timestamps`. LeRobot {theirs["lerobot"]} (torch {theirs["torch"]},
torchcodec {theirs["torchcodec"]}, PyAV {theirs["av"]}), for v2.1 LeRobot {old["lerobot"]}.

| dataset | episodes | files | tensors | largest difference of a pixel |
| --- | --- | --- | --- | --- |
{rows}

{machine(result)}
"""


def throughput(result: dict) -> str:
    """Random windows beside LeRobot's dataset on the same files."""

    def row(name: str, case: dict) -> str:
        rest = case.get("decoding") or case["ours"]
        low, high = rest["ratio"]["quartiles"]
        memory = case["memory_mb_after_each_pass"]
        return (
            f"| {name} | {case['lerobot']['samples_per_s']['median']:,.0f} ({case['lerobot']['settings']}) | "
            f"{rest['samples_per_s']['median']:,.0f} | {rest['ratio']['median']:,.1f} ({low:,.1f} to {high:,.1f}) | "
            f"{case['first_pass']['ratio']:,.1f} | {case['later_passes']['ratio']['median']:,.1f} | "
            f"{memory[0]} to {memory[-1]} MB | {case['goal']} |"
        )

    rows = "\n".join(row(name, case) for name, case in result["cases"].items())
    return f"""## Random windows beside LeRobot's dataset

`benchmarks/dataset_throughput.py`: {result["frames"]} frames, batches of {result["batch"]},
{result["observations"]} observation steps, {result["actions"]} actions; video has two cameras of 96x96. Samples per second of
LeRobot {result["lerobot"]["lerobot"]} at its fastest settings and of `Windows.batch`, turn by turn
in one run. "Nothing kept" decodes every picture anew; a first pass fills our
cache of pictures, later passes use it.

| data | LeRobot | ours, nothing kept | ratio (quartiles) | first pass | later passes | memory over 10 passes | goal |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

{machine(result)}
"""


def crash(result: dict) -> str:
    """kill -9 while recording."""
    moments = ", ".join(f"{count} while {what}" for what, count in result["while"].items())
    return f"""## Killed while recording

`benchmarks/dataset_crash.py`: `kill -9` at {result["kills"]} random moments of processes that record two cameras ({moments});
recording goes on in the same folder. Finished episodes {result["episodes_finished"]}, of them lost {result["lost"]},
not whole {result["not_whole"]}, pictures not aligned with the state {result["misaligned"]}; folders that would not go on
{result["resume_refused"]}.

{machine(result)}
"""


def augmented(result: dict) -> str:
    """Training with and without copies."""
    rows = "\n".join(
        f"| {name} | {arm['dataset']['episodes']} | {arm['successes']} of {arm['episodes']} | {interval(arm)} |"
        for name, arm in result["arms"].items()
    )
    copies = result["augment"]
    return f"""## Augmentation by symmetries

`benchmarks/augmentation.py`: the {result["policy"]} policy on `{result["task"]}`, {result["steps"]} steps each, one training
seed, the same unseen starts. Kept were {copies["episodes"]} of {copies["replay_attempts"]} replays.

| data | episodes | solved | 95 % interval |
| --- | --- | --- | --- |
{rows}

{machine(result)}
"""


def lerobot_policies(result: dict) -> str:
    """Checkpoints of LeRobot, imported."""
    rows = "\n".join(
        f"| {name} | {case['parameters']:,} | {case['largest_difference']:.1e} |"
        for name, case in result["cases"].items()
    )
    theirs = result["lerobot"]
    return f"""## Policies of LeRobot

`benchmarks/lerobot_policies.py`: LeRobot {theirs["lerobot"]}'s own classes (torch {theirs["torch"]}) make checkpoints and answer
observations; `praxon import lerobot` reads the checkpoints and answers the same ones with the same noise (torch {result["torch"]}).
Largest absolute difference of an action; the goal is {result["goal"]:.0e}.

| policy | parameters | largest difference |
| --- | --- | --- |
{rows}

{machine(result)}
"""


def lerobot_denoising(result: dict) -> str:
    """Chunks of LeRobot's diffusion policy, by LeRobot and by our backends."""

    def row(name: str, backend: str, case: dict) -> str:
        each = case["backends"][backend]
        theirs, ours, (low, high) = each["lerobot_ms"], each["ours_ms"], each["ratio"]["quartiles"]
        return (
            f"| {name} | {backend} | {theirs['p50']:.0f} / {theirs['p99']:.0f} | {ours['p50']:.0f} / {ours['p99']:.0f} | "
            f"{each['ratio']['median']:.2f} ({low:.2f} to {high:.2f}) | {each['largest_difference']:.1e} | "
            f"{100 * each['floor_share']:.0f} % |"
        )

    def told(name: str, case: dict) -> str:
        parts = ", ".join(f"{part} {100 * share:.0f} %" for part, share in case["eager_shares"].items())
        return (
            f"{name} ({case['parameters']:,} parameters): {case['gflop']:.0f} GFLOP take at least {case['computing_ms']:.0f} ms, "
            f"reading {case['read_gb']:.1f} GB of weights {case['reading_ms']:.0f} ms; of the eager backend's time {parts}."
        )

    cases, theirs = result["cases"], result["lerobot"]
    rows = "\n".join(row(name, backend, case) for name, case in cases.items() for backend in case["backends"])
    left_out = " ".join(dict.fromkeys(problem for case in cases.values() for problem in case["left_out"]))
    return f"""## LeRobot's diffusion policy, a chunk

`benchmarks/lerobot_denoising.py`: LeRobot {theirs["lerobot"]}'s own policy (torch {theirs["torch"]}) with its default
U-Net, DDIM with {result["steps"]} steps, one chunk on {result["threads"]} threads, beside the same weights imported
and served by each backend (torch {result["torch"]}), in turn in one run, {result["rounds"]} chunks of each from observation
to physical actions. p50 / p99 [ms]; ratio of neighbouring chunks, median (quartiles), whose goal is {result["goal"]}; largest
difference of an action, in physical units, for the same noise; share of the floor in our p50.

| case | backend | LeRobot | ours | ratio | largest difference | floor |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

The floor is what the machine needs at the rates it was seen to reach in this run ({result["gflops"]:.0f} GFLOP/s,
{result["gigabytes_per_s"]:.0f} GB/s) to compute in float32, or to read the float32 weights once at every step, the
larger of the two; bfloat16 halves what is read, and may be under it.
{chr(10).join(told(name, case) for name, case in cases.items())}
torch rearranges the weights of a convolution at every call; here they are rearranged once.{" " + left_out if left_out else ""}

{machine(result)}
"""


def bench_denoise(result: dict) -> str:
    """Policies by backends, of praxon bench denoise."""
    m, conditions = result["machine"], result["conditions"]

    def row(each: dict) -> str:
        share = "" if each["floor_share"] is None else f"{100 * each['floor_share']:.0f} %"
        return (
            f"| {each['policy']} | {each['steps']} | {each['batch']} | {each['threads']} | {each['backend']} | "
            f"{each['precision']} | {each['p50_ms']:.2f} / {each['p99_ms']:.2f} | {each['reference_p50_ms']:.2f} | "
            f"**{each['ratio']:.2f}** | {each['max_deviation']:.0e} | {each['rms_deviation']:.0e} | {each['made_s']:.1f} | "
            f"{share} |"
        )

    rows = "\n".join(row(each) for each in result["rows"] if "error" not in each)
    refused = dict.fromkeys(f"{each['policy']}: {each['error']}" for each in result["rows"] if "error" in each)
    notes = "".join(f"\n- {text}" for text in [*dict.fromkeys(result["left_out"]), *refused])
    return f"""## Time of a chunk

`praxon bench denoise`: from observation to chunk [ms], p50 / p99 of {conditions["rounds"]}, in turn with the reference
on as many threads (the eager loop over a scheduler of diffusers, one network call a step, nothing hoisted), whose p50 comes
next; the ratio of the two; the largest and the root mean square deviation of an action from it,
in physical units with a spread of 1, for the same noise; seconds that making the backend took the first time; share of the
machine's floor.

| policy | steps | chunks | threads | backend | precision | p50 / p99 | reference | ratio | largest | rms | made [s] | share |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}
{notes}

{result["date"]}; {m["processor"]}, {m["cores"]} cores, {m["gflops"]:.0f} GFLOP/s and {m["gigabytes_per_s"]:.0f} GB/s
measured, Python {m["python"]}, torch {m["torch"]}.
"""


def engine_success(result: dict) -> str:
    """Success by backend and with cached blocks, on the same starts."""
    speed = result["speed"]
    full = next(iter(speed.values()))["full_ms"]

    def row(name: str, each: dict) -> str:
        low, high = each["interval_95"]
        less, more = each["difference_interval_95"]
        return (
            f"| {name} | {each['successes']} of {each['episodes']} | {100 * low:.1f} to {100 * high:.1f} % | "
            f"{100 * each['difference']:+.1f} ({100 * less:+.1f} to {100 * more:+.1f}) | {each['lost']} / {each['won']} |"
        )

    def time(name: str) -> str:
        if name not in speed:
            return f" {full:.0f} ms |"
        return f" {speed[name]['ms']:.0f} ms, **{speed[name]['ratio']:.2f}** times as fast |"

    backends = "\n".join(row(name, each) for name, each in result["backends"].items())
    cached = "\n".join(row(name, each) + time(name) for name, each in result["cache"].items())
    shares = ", ".join(
        f"with {name} {100 * each['blocks_run']:.0f} % of the blocks"
        for name, each in speed.items()
        if each["blocks_run"] < 1
    )
    tasks = [next(iter(result[part].values()))["task"] for part in ("backends", "cache")]
    return f"""## Success by backend, and with cached blocks

`benchmarks/engine_success.py`: the same weights on the same starts. The difference in points is the paired one to the first
row, with its 95 % interval; lost and won are the starts that only the first or only the other solves.

{tasks[0]} with a marker that drifts and jumps, flow matching, 10 steps:

| backend | solved | 95 % interval | difference | lost / won |
| --- | --- | --- | --- | --- |
{backends}

{tasks[1]}, diffusion with an 8-layer transformer, 256 wide, 100 steps of DDPM; time of a chunk on one thread, eager, in turn
with every block:

| blocks | solved | 95 % interval | difference | lost / won | chunk |
| --- | --- | --- | --- | --- | --- |
{cached}

Run are {shares}.

{machine(result)}
"""


def real_time_chunking(result: dict) -> str:
    """Success and smoothness by delay and by how chunks continue."""
    rows, steps = result["rows"], result["training_steps"]
    moving = result["motions"]["drifts and jumps"]
    ways = list(dict.fromkeys(each["way"] for each in rows))
    delays = sorted({each["delay"] for each in rows})

    def table(motion: str, title: str, cell: Callable[[dict], str]) -> str:
        found = {(each["way"], each["delay"]): each for each in rows if each["motion"] == motion}
        lines = [
            f"| {way} | " + " | ".join(cell(found[way, d]) if (way, d) in found else "" for d in delays) + " |"
            for way in ways
        ]
        head = f"| {title} | " + " | ".join(map(str, delays)) + " |"
        return "\n".join([head, "| --- |" + " --- |" * len(delays), *lines])

    def success(each: dict) -> str:
        low, high = each["interval_95"]
        return f"{100 * each['success_rate']:.0f} ({100 * low:.0f} to {100 * high:.0f})"

    def jump(each: dict) -> str:
        found = each["seam_velocity_jump"]
        return f"{found['p95']:.2f} / {found['p100']:.2f}"

    cells: dict[str, Callable[[dict], str]] = {
        "success [%] (95 % interval)": success,
        "velocity jump at seams: p95 / largest, in velocity limits": jump,
        "seams asked faster than the limit": lambda e: f"{e['seams_over_the_velocity_limit']} of {e['seams']}",
        "commanded jerk, rms [rad/s³]": lambda e: f"{e['jerk_rms']:.0f}",
    }
    motions = list(dict.fromkeys(each["motion"] for each in rows))
    tables = [table(motion, f"marker {motion}: {title}", cell) for motion in motions for title, cell in cells.items()]
    return f"""## Inference delay

`benchmarks/real_time_chunking.py`: {result["task"]} whose marker jumps by {100 * moving["jump"]:.0f} cm after
{moving["jump_s"]:g} s, and in the second half of the tables drifts by {100 * moving["speed"]:.0f} cm/s besides; chunks of
16 rows, 8 executed, a row every {1e3 * result["control_period_s"]:.0f} ms; {rows[0]["episodes"]} starts, the same in every
cell; flow matching, {steps["flow"]} training steps, and {steps["prefix"]} with up to 8 given actions for training-time
chunking. Columns: how many control steps a chunk comes late.

{(chr(10) * 2).join(tables)}

What is asked beyond a limit is not commanded: the safety filter keeps every command within it.

{machine(result)}
"""


def study(result: dict) -> str:
    """Policies by tasks, of praxon bench policies."""
    conditions, tasks = result["conditions"], list(result["tasks"])
    seeds = sorted({cell["seed"] for cell in result["cells"]})

    def success(cells: list[dict]) -> str:
        if not cells:
            return ""
        low, high = wilson_interval(sum(c["successes"] for c in cells), sum(c["episodes"] for c in cells))
        rate = sum(c["successes"] for c in cells) / sum(c["episodes"] for c in cells)
        return f"{100 * rate:.0f} ({100 * low:.0f} to {100 * high:.0f})"

    def row(policy: str) -> str:
        cells = [cell for cell in result["cells"] if cell["policy"] == policy]
        each = [success([cell for cell in cells if cell["task"] == task]) for task in tasks]
        means = [[c["success_rate"] for c in cells if c["seed"] == seed] for seed in seeds]
        spread = " / ".join(f"{100 * sum(rates) / len(rates):.1f}" for rates in means if rates)
        times = [latency[policy] for latency in result["latency_ms"].values() if policy in latency]
        p50 = sorted(time["p50"] for time in times)[len(times) // 2] if times else None
        p99 = sorted(time["p99"] for time in times)[len(times) // 2] if times else None
        steps = sum(cell["steps"] for cell in cells) / len(cells)
        seconds = sum(cell["training_seconds"] for cell in cells) / len(cells)
        chunk = f"{p50:.1f} / {p99:.1f}" if p50 is not None else ""
        return (
            f"| {policy} | {' | '.join(each)} | {success(cells)} | {spread} | {cells[0]['parameters']:,} | "
            f"{seconds:.0f} s, {steps:.0f} steps | {chunk} |"
        )

    experts = " | ".join(success([result["experts"][task]]) for task in tasks)
    shown = [policy for policy in result["policies"] if any(cell["policy"] == policy for cell in result["cells"])]
    return f"""## Policies: {result["study"]}

`praxon bench policies study={result["study"]}`: {conditions["demonstrations"]} demonstrations,
{conditions["minutes"]:g} minutes of training on one core ({conditions["trainings_side_by_side"]} trainings side by side),
{conditions["episodes"]} unseen starts, training seeds {", ".join(map(str, seeds))}.
Success in percent with the 95 % Wilson interval over the starts of all seeds; time of a chunk [ms]: p50 / p99, batch of one,
one core.

| policy | {" | ".join(tasks)} | all | mean of each seed | parameters | training | chunk |
| --- | {" | ".join("---" for _ in tasks)} | --- | --- | --- | --- | --- |
| expert | {experts} | {success(list(result["experts"].values()))} | | | | |
{chr(10).join(row(policy) for policy in shown)}

{result["date"]}; {result["machine"]}.
"""


def act_execution(result: dict) -> str:
    """ACT's weights, executed in several ways."""
    tries = result["tries"]
    tasks = list(dict.fromkeys(each["task"] for each in tries))
    ways = [way for way in ("12", "8", "4", "2", "ensemble") if any(each["executed"] == way for each in tries)]

    def cell(way: str, chosen: list[str]) -> str:
        found = [each for each in tries if each["executed"] == way and each["task"] in chosen]
        if {each["task"] for each in found} != set(chosen):
            return ""
        solved, all_of = (sum(each[key] for each in found) for key in ("successes", "episodes"))
        low, high = wilson_interval(solved, all_of)
        return f"{100 * solved / all_of:.0f} ({100 * low:.0f} to {100 * high:.0f})"

    names = {"ensemble": "temporal ensembling"}
    rows = "\n".join(
        f"| {names.get(way, way)} | {' | '.join(cell(way, [task]) for task in tasks)} | {cell(way, tasks)} |"
        for way in ways
    )
    return f"""## How many actions ACT executes

`benchmarks/act_execution.py`: the weights of the study `meta_world` (chunks of 16, both seeds), executed in several ways on the
same starts; success in percent with the 95 % Wilson interval. The study itself executes 8.

| executed | {" | ".join(tasks)} | all |
| --- | {" | ".join("---" for _ in tasks)} | --- |
{rows}

{machine(result)}
"""


def images(result: dict) -> str:
    """The policy that sees."""
    train, evaluation = result["train"], result["evaluation"]
    return f"""## A policy that sees

`benchmarks/images.py`: `pick_place` from one 84x84 camera and the robot's joints, no object pose;
{train["episodes"]} demonstrations, {train["parameters"]:,} parameters, {train["steps"]} steps in
{train["training_seconds"] / 60:.0f} minutes.
Solved: {evaluation["successes"]} of {evaluation["episodes"]} unseen starts (95 % interval {interval(evaluation)}); a chunk takes
{result["latency_ms"]["p50"]:.1f} ms (p50). The expert of the demonstrations solved {result["expert"]["expert_successes"]} of
{result["expert"]["expert_attempts"]}.

{machine(result)}
"""


SECTIONS = {
    "policies_meta_world": study,
    "policies_every_policy": study,
    "act_execution": act_execution,
    "images": images,
    "lerobot_policies": lerobot_policies,
    "bench_denoise": bench_denoise,
    "engine_success": engine_success,
    "real_time_chunking": real_time_chunking,
    "lerobot_denoising": lerobot_denoising,
    "ptr_pick_place": ptr,
    "ptr_pick-place-v3": ptr,
    "dagger_lift": dagger,
    "rlif_lift": rlif,
    "rl_actor_speed": rl_actor_speed,
    "rlpd_HalfCheetah-v5": rlpd,
    "augmentation": augmented,
    "dataset_throughput": throughput,
    "lerobot_exchange": exchange,
    "dataset_crash": crash,
}
"""Of results with a page section of their own, in order."""


if __name__ == "__main__":
    main()
