"""Sections of the page of figures on learning loops: what labels are worth, what critics learn, what a learner costs its actor."""

from typing import Any

from _tables import interval, machine

METHODS = {
    "bc": "demonstrations (`bc`)",
    "dagger": "DAgger",
    "hg_dagger": "HG-DAgger, `gate=value`",
    "thrifty_dagger": "ThriftyDAgger",
}


def dagger(result: dict[str, Any]) -> str:
    """Success over labels."""
    rows = result["rows"]

    def curves(row: dict[str, Any]) -> str:
        return "; ".join(
            ", ".join(f"{each['successes']} ({each['labels_so_far']})" for each in curve) for curve in row["curves"]
        )

    def last(row: dict[str, Any]) -> str:
        if "difference" not in row:
            return ""
        low, high = (100 * side for side in row["difference_interval_95"])
        return f"{100 * row['difference']:+.1f} ({low:+.1f} to {high:+.1f})"

    body = "\n".join(
        f"| {METHODS[name]} | {curves(row)} | {row['successes']} of {row['episodes']} ({interval(row)}) | {last(row)} |"
        for name, row in ((name, rows[name]) for name in METHODS if name in rows)
    )
    expert = rows["expert"]
    return f"""## What an expert's labels are worth

`benchmarks/dagger.py`: `{result["task"]}`, {len(result["seeds"])} seeds, each with its own ten demonstrations, first policy
and starts; {result["labels"]} labels and {result["steps"]} steps of training a round, which
goes on with the weights of the one before. In the second column, of 100 starts after each round,
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
