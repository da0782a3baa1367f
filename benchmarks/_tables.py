"""What tables of several pages share: intervals, where and when."""

from typing import Any


def interval(result: dict[str, Any]) -> str:
    """'95.2 to 99.1 %'."""
    low, high = result["interval_95"]
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def machine(result: dict[str, Any]) -> str:
    """Where and when."""
    m = result["machine"]
    return f"{result['date']}; {m['processor']}, {m['cores']} cores, Python {m['python']}, MuJoCo {m['mujoco']}."
