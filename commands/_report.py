"""report.html: one self-contained page about a demo run, with its curves, intervals, latencies and video inside."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #d9dee6}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
img,video{max-width:100%;border-radius:6px}figcaption,footer{color:#5a6676;font-size:.9rem}figure{margin:1rem 0}
</style></head><body>
<h1>$title</h1><p>$summary</p>
<h2>Success</h2>$success_table<figure><img alt="success rates with intervals" src="$success_plot"></figure>
<h2>Training</h2><figure><img alt="loss curve" src="$loss_plot"><figcaption>$training</figcaption></figure>
<h2>Latency</h2><figure><img alt="latency distribution" src="$latency_plot"><figcaption>$latency</figcaption></figure>
<h2>Episodes on film</h2>$film
<h2>Where the time went</h2>$stage_table
<footer>$footer</footer>
</body></html>
""")


def write_report(
    path: Path, result: Mapping[str, Any], metrics: Path, video: Path, latencies: Mapping[str, Sequence[float]]
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        result: the demo's result.json.
        metrics: metrics.jsonl of the training.
        video: MP4, may be absent.
        latencies: milliseconds by where they were measured.
    """
    evaluations = {name: result[name] for name in ("sim", "ros", "expert", "hold") if result.get(name)}
    page = PAGE.substitute(
        title=f"Praxon demo: {html.escape(result['task'])} on {html.escape(result['robot'])}",
        summary=_summary(result),
        success_table=success_table(evaluations),
        success_plot=_plot(lambda axes: _plot_success(axes, evaluations), height=2.2),
        loss_plot=_plot(lambda axes: _plot_loss(axes, metrics)),
        training=f"{result['train']['steps']} steps in {result['train']['training_seconds']:.0f} s, "
        f"{result['train']['parameters']:,} parameters, {result['train']['frames']} frames.",
        latency_plot=_plot(lambda axes: _plot_latency(axes, latencies)),
        latency=html.escape(
            "; ".join(_latency_line(name, values) for name, values in latencies.items() if len(values))
        ),
        film=_film(video, result.get("video", [])),
        stage_table=_table(["stage", "seconds"], [[name, f"{value:.1f}"] for name, value in result["seconds"].items()]),
        footer=html.escape(f"seed {result['seed']}; {result['machine']}"),
    )
    path.write_text(page)


def success_table(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """The evaluations as an HTML table."""
    rows = []
    for name, value in evaluations.items():
        low, high = value["interval_95"]
        rate, interval = f"{100 * value['success_rate']:.1f} %", f"{100 * low:.1f} to {100 * high:.1f} %"
        rows.append([LABELS[name], str(value["episodes"]), str(value["successes"]), rate, interval])
    return _table(["who", "episodes", "successes", "rate", "95 % interval"], rows)


LABELS = {
    "sim": "policy in simulation",
    "ros": "policy over ROS 2",
    "expert": "scripted expert",
    "hold": "doing nothing",
}


def _summary(result: Mapping[str, Any]) -> str:
    sim, ros = result["sim"], result.get("ros")
    text = (
        f"A policy ({result['train']['policy']}) was trained on {result['collect']['episodes']} demonstrations and solved "
        f"<b>{sim['successes']} of {sim['episodes']}</b> unseen starts in simulation"
    )
    if ros:
        text += f" and <b>{ros['successes']} of {ros['episodes']}</b> through the ROS 2 graph"
    return text + "."


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return (
            "<tr>"
            + "".join(f"<{tag}{' class=n' * (i > 0)}>{html.escape(c)}</{tag}>" for i, c in enumerate(cells))
            + "</tr>"
        )

    return "<table>" + line(header, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def _plot(draw: Any, height: float = 3.0) -> str:
    """A PNG as a data URL."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return _data_url(buffer.getvalue(), "image/png")


def _plot_success(axes: Any, evaluations: Mapping[str, Mapping[str, Any]]) -> None:
    names = list(evaluations)[::-1]
    rates = np.array([evaluations[name]["success_rate"] for name in names])
    bounds = np.array([evaluations[name]["interval_95"] for name in names])
    errors = np.clip(np.stack([rates - bounds[:, 0], bounds[:, 1] - rates]), 0, None)
    axes.barh(
        [LABELS[name] for name in names], 100 * rates, xerr=100 * errors, color="#2f7d5b", ecolor="#1c2430", capsize=3
    )
    axes.set_xlim(0, 100)
    axes.set_xlabel("success [%], Wilson 95 % interval")


def _plot_loss(axes: Any, metrics: Path) -> None:
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    steps, losses = np.array([line["step"] for line in lines]), np.array([line["loss"] for line in lines])
    axes.semilogy(steps, losses, color="#b9c4d2", linewidth=0.7)
    window = max(1, len(losses) // 60)
    if len(losses) >= 2 * window:
        smooth = np.convolve(losses, np.ones(window) / window, "valid")
        axes.semilogy(steps[window - 1 :], smooth, color="#20507a", label=f"mean of {window} steps")
        axes.legend(frameon=False)
    axes.set_xlabel("step")
    axes.set_ylabel("flow matching loss")


def _plot_latency(axes: Any, latencies: Mapping[str, Sequence[float]]) -> None:
    for (name, values), color in zip(latencies.items(), ("#20507a", "#c46a2b", "#2f7d5b"), strict=False):
        if len(values):
            upper = np.percentile(values, 99.5)
            axes.hist(np.clip(values, None, upper), bins=50, alpha=0.65, density=True, label=name, color=color)
    axes.set_xlabel("latency [ms]")
    axes.set_yticks([])
    axes.legend(frameon=False)


def _latency_line(name: str, values: Sequence[float]) -> str:
    p50, p99 = np.percentile(values, [50, 99])
    return f"{name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms over {len(values)}"


def _film(video: Path, shown: Sequence[Mapping[str, Any]]) -> str:
    if not video.exists():
        return "<p>No pictures could be rendered on this machine.</p>"
    source = _data_url(video.read_bytes(), "video/mp4")
    parts = ", then ".join(f"a {'success' if each['success'] else 'failure'} (start {each['seed']})" for each in shown)
    if all(each["success"] for each in shown):
        parts += "; no episode failed"
    return f'<figure><video controls muted loop src="{source}"></video><figcaption>{html.escape(parts)}</figcaption></figure>'


def _data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
