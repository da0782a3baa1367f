"""Sections of the page of figures on learning loops: weights, what labels are worth, what critics learn, what a learner costs."""

from typing import Any

from _tables import interval, machine

METHODS = {
    "bc": "demonstrations (`bc`)",
    "dagger": "DAgger",
    "hg_dagger": "HG-DAgger, `gate=value`",
    "thrifty_dagger": "ThriftyDAgger",
}


def points(row: dict[str, Any] | None) -> str:
    """A difference of success on the same starts, in points, with its interval; nothing where there is none."""
    if row is None or "difference" not in row:
        return ""
    low, high = (100 * side for side in row["difference_interval_95"])
    return f"{100 * row['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


def ptr(result: dict[str, Any]) -> str:
    """Ways of weighting on bad and on sound demonstrations."""

    def body(kind: str) -> str:
        rows = [row for row in result["rows"].values() if row["data"] == kind]
        return "\n".join(
            f"| {row['way']} | {' / '.join(map(str, row['by_seed']))} | {row['successes']} of {row['episodes']} "
            f"({interval(row)}) | {points(row) if row['way'] != 'uniform' else ''} | {mean(row, 'effective_share')} | "
            f"{mean(row, 'saturated')} |"
            for row in rows
        )

    def mean(row: dict[str, Any], name: str) -> str:
        found = [each[name] for each in row["weights"] if name in each]
        return f"{sum(found) / len(found):.2f}" if found else ""

    tables = "\n\n".join(
        f"| {kind} | by seed | solved | over uniform | left | saturated |\n"
        f"| --- | --- | --- | --- | --- | --- |\n{body(kind)}"
        for kind in dict.fromkeys(row["data"] for row in result["rows"].values())
    )
    task = result["task"].split("=")[-1]
    return f"""## Weights where demonstrations are bad: `{task}`

`benchmarks/ptr.py --task "{result["task"]}"`: 80 demonstrations, 30 % of them with noise on the actions and 25 %
ending early, and 20 episodes of an expert of skill 0.6, failures included; or 100 sound ones. {result["steps"]} steps of
the flow policy, {len(result["seeds"])} seeds of data, training and starts, {result["episodes"]} starts a seed; differences
on the same starts, in points. Left: share of the samples that the weights leave in the last tenth of training; saturated:
share of those with the largest weight.

{tables}

{machine(result)}
"""


def rlif(result: dict[str, Any]) -> str:
    """Methods with the same budget of labels, by the expert's skill."""

    def body(cell: dict[str, Any]) -> str:
        return "\n".join(
            f"| {name} | {' / '.join(map(str, row['by_seed']))} | {row['successes']} of {row['episodes']} ({interval(row)}) | "
            f"{points(row.get('over HG-DAgger'))} | {points(row.get('over expert'))} | {spent(row)} |"
            for name, row in cell.items()
        )

    def spent(row: dict[str, Any]) -> str:
        runs = row.get("runs", [])
        counts = " / ".join(str(run["rounds"][-1]["labels_so_far"]) for run in runs)
        minutes = " / ".join(f"{run['seconds'] / 60:.0f}" for run in runs)
        return f"{counts} | {minutes}"

    tables = "\n\n".join(
        f"| {name} | by seed | solved | over HG-DAgger | over the expert | labels | minutes |\n"
        f"| --- | --- | --- | --- | --- | --- | --- |\n{body(cell)}"
        for name, cell in result["cells"].items()
    )
    return f"""## An expert who is no better

`benchmarks/rlif.py`: `{result["task"]}`; ten demonstrations and the policy trained on them, the same for both skills;
then {result["rounds"]} rounds of {result["labels"]} labels, with {result["steps"]} steps of training each. RLIF and HIL-SERL
with `{result["more"]}`.
{result["episodes"]} starts a seed, {len(result["seeds"])} seeds; differences on the same starts, in points.

{tables}

{machine(result)}
"""


def dagger(result: dict[str, Any]) -> str:
    """Success over labels."""
    rows = result["rows"]

    def curves(row: dict[str, Any]) -> str:
        return "; ".join(
            ", ".join(f"{each['successes']} ({each['labels_so_far']})" for each in curve) for curve in row["curves"]
        )

    body = "\n".join(
        f"| {METHODS[name]} | {curves(row)} | {row['successes']} of {row['episodes']} ({interval(row)}) | {points(row)} |"
        for name, row in ((name, rows[name]) for name in METHODS if name in rows)
    )
    expert = rows["expert"]
    going_on = "begins anew" if result["fresh"] else "goes on with the weights of the one before"
    return f"""## What an expert's labels are worth

`benchmarks/dagger.py`: `{result["task"]}`, {len(result["seeds"])} seeds, each with its own ten demonstrations, first policy
and starts; {result["labels"]} labels and {result["steps"]} steps of training a round, which
{going_on}. In the second column, of {result["eval_episodes"]} starts after each round,
how many were solved, and in brackets the labels so far, seed by seed; then the last policies on
{result["episodes"]} starts a seed, and their difference to demonstrations on the same starts, in points. The expert solves
{expert["successes"]} of {expert["episodes"]}.

| method | solved (labels) | last | over demonstrations |
| --- | --- | --- | --- |
{body}

{machine(result)}
"""


def rlpd(result: dict[str, Any]) -> str:
    """Return over steps, beside what was published."""
    published = result["published"]

    def beside(steps: int) -> str:
        found = [each["curve"].get(str(steps), ("", "")) for each in published]
        return " | ".join(f"{mean} ± {deviation}" for mean, deviation in found)

    rows = "\n".join(
        f"| {each['steps']:,} | {each['return']:.0f} ({each['lowest']:.0f} to {each['highest']:.0f}) | {beside(each['steps'])} |"
        for each in result["curve"]
    )
    sources = "; ".join(f"{chr(ord('A') + number)}: {each['of']}" for number, each in enumerate(published))
    heads = " | ".join(chr(ord("A") + number) for number in range(len(published)))
    return f"""## The learner of RLPD on an environment that is not ours

`benchmarks/rlpd.py`: `{result["env"]}`, one seed, {result["critics"]} critics, {result["updates"]} update a step after
{result["random_steps"]} random steps, no given data; the mean, lowest and highest of five episodes by the actor's mean.
Beside it what was published at the same number of steps, mean and deviation of ten seeds. {sources}.

| steps | return | {heads} |
| --- | --- | {" | ".join("---" for _ in published)} |
{rows}

{machine(result)}
"""


def rl_actor_speed(result: dict[str, Any]) -> str:
    """What a learner beside it costs an actor."""
    pairs = zip(result["steps_per_s"]["alone"], result["steps_per_s"]["with a learner"], result["ratios"], strict=True)
    rows = "\n".join(f"| {alone} | {beside} | {ratio} |" for alone, beside, ratio in pairs)
    return f"""## An actor beside its learner

`benchmarks/rl_actor_speed.py`: steps per second of the actor, `gate={result["gate"]}`, {result["steps"]} steps a run, alone
and with a learner that learns, in turn; the median ratio is {result["ratio"]}.

| alone | with a learner | ratio |
| --- | --- | --- |
{rows}

{machine(result)}
"""
