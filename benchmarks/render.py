"""Writes benchmarks/README.md from results/*.json, so that no figure is typed by hand.

usage: python benchmarks/render.py
"""

import json
from pathlib import Path

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
    (HERE / "README.md").write_text("\n".join(parts))
    print(HERE / "README.md")


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


def interval(result: dict) -> str:
    """'95.2 to 99.1 %'."""
    low, high = result["interval_95"]
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def machine(result: dict) -> str:
    """Where and when."""
    m = result["machine"]
    return f"{result['date']}; {m['processor']}, {m['cores']} cores, Python {m['python']}, MuJoCo {m['mujoco']}."


if __name__ == "__main__":
    main()
