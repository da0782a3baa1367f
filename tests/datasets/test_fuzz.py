"""500 broken or hostile datasets: opening, reading, checking and repairing each ends in data or in one sentence.

No other exception, no crash, no hanging, bounded memory, and nothing outside the folder is created or changed. The cases
run in a process of their own, so that a crash is one case's failure and not the end of all tests.
"""

import hashlib
import json
import os
import random
import resource
import select
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.check import check_dataset
from praxon.datasets.formats import diffusion_policy, robomimic
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.packing import pack
from praxon.datasets.repair import repair_dataset
from praxon.errors import DatasetError

CASES = 500
LONGEST_S = 30
MEMORY = 700 * 2**20
"""That one case may add [bytes]; the bombs would add gigabytes."""
ADDRESSES = 12 * 2**30
FRONT = "observation.images.front"
Mutation = Callable[[random.Random, Path], object]


# -- what is broken ---------------------------------------------------------------------------------------


def build(folder):
    """Small sound recordings: ours, packed, PNG, version 2.1, and other formats."""
    pictures = np.zeros((2, 8, 32, 48, 3), np.uint8)
    pictures[:] = np.arange(8, dtype=np.uint8)[None, :, None, None, None] * 20 + 30
    contract = PolicyContract(
        "arm",
        "fuzz",
        (
            Feature("observation.state", "vector", (3,), ("x", "y", "z")),
            Feature(FRONT, "image", (32, 48, 3), dtype="uint8"),
        ),
        Feature("action", "vector", (3,), ("x", "y", "z")),
        Chunk(control_period_s=0.1),
    )
    for name in ("ours", "png"):
        codec = "png" if name == "png" else "h264"
        with LeRobotWriter(folder / name, contract, "fuzz", codec=codec, metadata={"seed": 1}) as writer:
            for episode in range(2):
                values = np.random.default_rng(episode).normal(size=(8, 3)).astype(np.float32)
                writer.add_episode({"observation.state": values, FRONT: pictures[episode], "action": values})
    pack(LeRobotDataset(folder / "ours"), folder / "packed")
    version_2(folder / "ours", folder / "v21")
    robomimic_file(folder / "robomimic/demo.hdf5")
    replay_buffer(folder / "zarr/buffer.zarr")
    bombs(folder / "bombs")


def version_2(source, root):
    (root / "meta").mkdir(parents=True)
    for kind, suffix, new in (
        ("data", "parquet", "data/chunk-000"),
        (f"videos/{FRONT}", "mp4", f"videos/chunk-000/{FRONT}"),
    ):
        (root / new).mkdir(parents=True)
        for episode in range(2):
            shutil.copy(
                source / kind / f"chunk-000/file-00{episode}.{suffix}", root / new / f"episode_00000{episode}.{suffix}"
            )
    rows = [{"episode_index": i, "tasks": ["fuzz"], "length": 8} for i in range(2)]
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "fuzz"}\n')
    info = json.loads((source / "meta/info.json").read_text()) | {
        "codebase_version": "v2.1",
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (root / "meta/info.json").write_text(json.dumps(info))


def robomimic_file(path):
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": {"control_freq": 20}})
        for demo in range(2):
            group = data.create_group(f"demo_{demo}")
            group.attrs["num_samples"] = 8
            group["actions"] = np.ones((8, 7))
            group.create_dataset("obs/eef", data=np.ones((8, 3)), compression="gzip")


def replay_buffer(path):
    zarr = pytest.importorskip("zarr")
    path.parent.mkdir()
    store = zarr.open_group(str(path), mode="w", zarr_format=2)
    for name, values in (("data/action", np.ones((8, 2), np.float32)), ("data/state", np.ones((8, 5), np.float32))):
        store.create_array(name, data=values)
    store.create_array("meta/episode_ends", data=np.array([3, 8]))


def bombs(folder):
    """Small files with names as those of a dataset, whose columns unpack to far more."""
    folder.mkdir()
    names = {
        "data": ["index", "timestamp", FRONT, "action"],
        "episodes": ["episode_index", "length"],
        "tasks": ["task", "task_index"],
    }
    kinds = {
        "many": (pa.array(np.zeros(60_000_000, np.int8)), {}),
        "binary": (pa.array([b"\0" * 120_000_000]), {}),
        "pictures": (pa.array([{"bytes": b"\0" * 40_000_000, "path": ""}] * 3), {}),
        "text": (
            pa.array(["y" * 5_000_000]).take(pa.array([0] * 200)),
            {"compression": "zstd", "use_dictionary": True},
        ),
        "list": (pa.array([np.zeros(80_000_000, np.int8)]), {}),
    }
    for kind, (values, settings) in kinds.items():
        for place, columns in names.items():
            if (kind, place) not in (("pictures", "tasks"), ("pictures", "episodes"), ("list", "tasks")):
                chosen = columns[2:3] if kind == "pictures" else columns[:2]
                settings = {"compression": "brotli", "use_dictionary": False, "data_page_size": 2**28} | settings
                table = pa.table(dict.fromkeys(chosen, values))
                pq.write_table(table, folder / f"{place}-{kind}.parquet", row_group_size=10**9, **settings)


# -- how ----------------------------------------------------------------------------------------------------


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def truncate(rng, root):
    path = rng.choice(files(root))
    path.write_bytes(path.read_bytes()[: int(rng.random() * path.stat().st_size)])


def flip_bytes(rng, root):
    path = rng.choice(files(root))
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 4, 40])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def flip_footer(rng, root):
    """The end of a Parquet file, where its metadata lie."""
    path = rng.choice([path for path in files(root) if path.suffix == ".parquet"] or files(root))
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 2, 8])):
        data[-1 - rng.randrange(min(len(data), 1200))] = rng.randrange(256)
    path.write_bytes(data)


def garbage(rng, root):
    path = rng.choice(files(root))
    path.write_bytes(rng.choice([b"", b"\0", b"PAR1PAR1", b"{", rng.randbytes(200), b"\x80\x04K\x01.", b"PK\x03\x04"]))


def exchange(rng, root):
    """Two files, of the same kind or not."""
    first, second = rng.sample(files(root), 2)
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def remove(rng, root):
    path = rng.choice(files(root))
    path.unlink()
    if rng.random() < 0.3:
        path.mkdir()


COLUMN_KINDS = [
    lambda n: pa.array(["x"] * n),
    lambda n: pa.array([None] * n, pa.int64()),
    lambda n: pa.array([2**62] * n, pa.int64()),
    lambda n: pa.array([-1] * n, pa.int64()),
    lambda n: pa.array([float("nan")] * n),
    lambda n: pa.array([1e300] * n),
    lambda n: pa.array([[1.0, 2.0]] * n),
    lambda n: pa.array([[[1.0]] * 3] * n),
    lambda n: pa.array([{"bytes": b"not a picture", "path": "/etc/passwd"}] * n),
    lambda n: pa.array([{"bytes": None, "path": "../../secret"}] * n),
    lambda n: pa.array([b"\xff"] * n),
    lambda n: pa.array([True] * n),
    lambda n: pa.array([2**63] * n, pa.uint64()),
    lambda n: pa.array([10**30] * n, pa.decimal128(38)),
    lambda n: pa.array([0] * n, pa.timestamp("ns")),
    lambda n: pa.array(["a"] * n).dictionary_encode(),
]


def wrong_column(rng, root):
    path = rng.choice([path for path in files(root) if path.suffix == ".parquet"])
    table = pq.ParquetFile(path).read()
    place = rng.randrange(table.num_columns)
    table = table.set_column(place, table.column_names[place], rng.choice(COLUMN_KINDS)(table.num_rows))
    pq.write_table(table, path)


def wrong_rows(rng, root):
    path = rng.choice([path for path in files(root) if path.suffix == ".parquet"])
    table = pq.ParquetFile(path).read()
    place = rng.randrange(table.num_columns)
    change = rng.randrange(5)
    if change == 0:
        table = table.slice(0, 0)
    elif change == 1:
        table = pa.concat_tables([table, table])
    elif change == 2:
        table = table.remove_column(place)
    elif change == 3:
        table = table.append_column(table.column_names[place], table.column(place))
    else:
        table = table.take(list(reversed(range(table.num_rows))))
    pq.write_table(table, path)


def deep(levels=100_000):
    return "[" * levels + "]" * levels


ODD = [
    None, [], {}, "", "x", -1, 0, 1, 0.5, 1e308, 10**30, True, float("nan"), float("inf"), [None], {"a": {}}, "1", ["a"] * 3,
    10**18, -(10**18), 2**53, "\0", "../..", [10**9], [2**31 - 1] * 5, [0], [-1], [[1]], "float128", "object", "O",
]  # fmt: skip


def places(value, path=()):
    """Every place in nested containers."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


def put(container, path, value):
    for key in path[:-1]:
        container = container[key]
    container[path[-1]] = value


def wrong_json(rng, root):
    names = ["meta/info.json"] * 4 + ["meta/stats.json", "meta/praxon.json", "meta/episodes.jsonl", "meta/tasks.jsonl"]
    path = rng.choice([root / name for name in names if (root / name).is_file()])
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = rng.randrange(len(lines))
    data = json.loads(lines[number])
    put(data, rng.choice(list(places(data))), rng.choice(ODD))
    lines[number] = json.dumps(data)
    path.write_text("\n".join(lines))


def wrong_text(rng, root):
    """JSON and YAML that are hard on parsers."""
    names = [
        "meta/info.json",
        "meta/info.json",
        "meta/stats.json",
        "meta/praxon.json",
        "meta/episodes.jsonl",
        "meta/contract.yaml",
    ]
    path = rng.choice([root / name for name in names if (root / name).is_file()])
    text = path.read_text()
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    texts = [
        deep(),
        text.replace("{", '{"fps": 7, "fps": 8,', 1),
        text.replace("10", "1" + "0" * 5000, 1),
        "\ufeff" + text,
        text.replace("fuzz", "\ud800").encode("utf-8", "surrogatepass").decode("latin-1"),
        '{"features": ' + deep(900) + "}",
        text[: len(text) // 2] * 3,
        bomb,
        "!!python/object/apply:os.system ['true']",
        text.replace("robot: arm", f"robot: {deep(3000)}"),
        "NaN",
        text.replace("10", "NaN", 1),
        text.replace("observations:", bomb + "observations:"),
    ]
    data = rng.choice(
        [*(text.encode("utf-8", "replace") for text in texts), text.encode("utf-16"), b"\xff" + text.encode()]
    )
    path.write_bytes(data)


TEMPLATES = [
    "../outside/{chunk_index}-{file_index}.parquet", "/etc/passwd", "{x.__class__}", "{chunk_index.__class__.__mro__}", "{0}",
    "{video_key.__init__.__globals__}", "{chunk_index!r}", "{chunk_index:{file_index}}", "{chunk_index:>999999999}", "{", "}", "",
    "{}", "data", ".", "meta/info.json", "{chunk_index:0999d}", "a" * 5000, "{chunk_index:03d}/../../../outside/x", "~/x",
    "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet\0", "..", "{episode_index:06f}", "C:\\x", "file:///etc/passwd",
    "data\\..\\..\\x", "{chunk_index[0]}", "http://127.0.0.1:9/{chunk_index}", "{chunk_index:9999999999999999999d}",
    "s3://bucket/{chunk_index}", "concat:/etc/passwd|/etc/hosts", "{chunk_index:c}", "{chunk_index:n}", "/dev/zero", "/dev/stdin",
]  # fmt: skip


def wrong_template(rng, root):
    info = json.loads((root / "meta/info.json").read_text())
    info[rng.choice(["data_path", "video_path"])] = rng.choice(TEMPLATES)
    (root / "meta/info.json").write_text(json.dumps(info))


NAMES = [
    "../x",
    "/tmp/x",
    "a/b",
    "",
    ".",
    "..",
    "{x}",
    "{0.__class__}",
    "x\0y",
    "x" * 5000,
    "..\\x",
    "%s",
    "\ud800",
    "con",
    " ",
    "\n",
]


def wrong_name(rng, root):
    """A feature, a camera most of all, whose name is a path."""
    info = json.loads((root / "meta/info.json").read_text())
    old = rng.choice([FRONT, FRONT, "action", "observation.state", "timestamp"])
    info["features"][rng.choice(NAMES)] = info["features"].pop(old)
    (root / "meta/info.json").write_text(json.dumps(info))


def huge_counts(rng, root):
    big = rng.choice([10**6, 10**9, 10**12, 2**40, 2**53, 2**62, 10**20])
    info = json.loads((root / "meta/info.json").read_text())
    change = rng.randrange(4)
    if change == 0:
        info["total_episodes"] = info["total_frames"] = big
        info["splits"] = {"train": f"0:{big}"}
    elif change == 1:
        info["features"][rng.choice(["action", "observation.state", FRONT])]["shape"] = rng.choice(
            [[big], [big, big, 3], [1] * 6]
        )
    elif change == 2:
        info["chunks_size"] = rng.choice([0, -1, big, "1"])
    else:
        info["features"]["extra"] = {"dtype": "float64", "shape": [10**8], "names": None}
    (root / "meta/info.json").write_text(json.dumps(info))
    table = root / "meta/episodes/chunk-000/file-000.parquet"
    if table.is_file() and rng.random() < 0.6:
        rows = pq.ParquetFile(table).read()
        place = rng.choice([i for i, kind in enumerate(rows.schema.types) if kind in (pa.int64(), pa.float64())])
        values = pa.array([min(big, 2**62)] * rows.num_rows, pa.int64()).cast(rows.schema.types[place], safe=False)
        pq.write_table(rows.set_column(place, rows.schema.field(place), values), table)


def bomb(rng, root):
    """Files of a few kilobytes that unpack to gigabytes."""
    ready = root.parent.parent / "bases/bombs"
    places = {"data": "data", "episodes": "meta/episodes", "tasks": "meta"}
    place, where = rng.choice([(name, root / folder) for name, folder in places.items() if (root / folder).is_dir()])
    paths = sorted(where.rglob("tasks.parquet" if place == "tasks" else "*.parquet"))
    if paths:
        shutil.copy(rng.choice(sorted(ready.glob(f"{place}-*"))), rng.choice(paths))


def picture_bomb(rng, root):
    """A PNG that declares a size of gigabytes, in every row."""
    for path in files(root / "data"):
        table = pq.ParquetFile(path).read()
        place = table.schema.get_field_index(FRONT)
        values = table[FRONT].to_pylist()
        data = values[0]["bytes"]
        side = rng.choice([20_000, 65_000, 2**31 - 1, 0])
        wide = data[:16] + side.to_bytes(4, "big") * 2 + data[24:]
        jpeg = b"\xff\xd8\xff\xc0\x00\x11\x08" + (65_000).to_bytes(2, "big") * 2 + b"\x03" + bytes(40)
        values = [{"bytes": rng.choice([wide, jpeg]), "path": None}] * len(values)
        pq.write_table(
            table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type)), path
        )


def link(rng, root):
    """A file or folder that is a link: out of the folder, to itself, to a device."""
    outside = root.parent / "outside"
    path = rng.choice([*files(root), root / "data", root / "meta", root / "videos"])
    kind = rng.randrange(5)
    if kind == 0 or not path.exists():
        path = rng.choice(files(root))
        path.unlink()
        path.symlink_to(rng.choice(["/dev/zero", "/dev/null", "/dev/full", "/proc/self/mem", "/nowhere", "/"]))
    elif kind == 1:
        name = path.name
        shutil.move(path, outside / name)
        path.symlink_to(outside / name)
    elif kind == 2:
        shutil.move(path, root / "elsewhere")
        path.symlink_to(path)
    elif kind == 3:
        (root / ".recovered").symlink_to(outside)
        (root / "data/x.part").write_bytes(b"x")
    else:
        path = rng.choice(files(root))
        path.unlink()
        os.mkfifo(path)


def wrong_plan(rng, root):
    """The plan of a repair that pretends to have been cut off."""
    folder = root / ".recovered" / rng.choice(["1", "7", "x"])
    (folder / "staged").mkdir(parents=True)
    name = rng.choice(
        ["../outside/kept.txt", "/etc/passwd", "meta/info.json", "data", ".", "", "..", "\0", ".recovered", "a/../../b"]
    )
    other = rng.choice(["../outside/new", "meta/new", "data/chunk-000", name, "x" * 5000])
    plan = rng.choice(
        [{"aside": {name: other}, "place": {}}, {"aside": {}, "place": {other: name}}, {"aside": 3}, [], {}]
    )
    (folder / rng.choice(["plan.json", "placing.json"])).write_text(json.dumps(plan))


def wrong_version(rng, root):
    info = json.loads((root / "meta/info.json").read_text())
    info["codebase_version"] = rng.choice(
        ["v2.1", "v2.0", "v3.0", "v3.1", "v1.6", "3.0", 3.0, None, ["v3.0"], "v" * 9999]
    )
    (root / "meta/info.json").write_text(json.dumps(info))


FILES: dict[str, Mutation] = {
    "truncate": truncate,
    "flip": flip_bytes,
    "garbage": garbage,
    "exchange": exchange,
    "remove": remove,
}
TEXTS: dict[str, Mutation] = {"json": wrong_json, "text": wrong_text, "huge": huge_counts, "version": wrong_version}
PATHS: dict[str, Mutation] = {"template": wrong_template, "name": wrong_name, "link": link, "plan": wrong_plan}
TABLES: dict[str, Mutation] = {"footer": flip_footer, "column": wrong_column, "rows": wrong_rows, "bomb": bomb}
LEROBOT = FILES | TEXTS | PATHS | TABLES
KINDS: dict[str, dict[str, Mutation]] = {
    "ours": LEROBOT,
    "packed": LEROBOT,
    "v21": LEROBOT,
    "png": TABLES | {"pictures": picture_bomb},
    "robomimic": {"flip": flip_bytes, "truncate": truncate, "garbage": garbage},
    "zarr": FILES,
}


def cases():
    """(base, mutation) of every case; the case's number is its seed."""
    every = [(base, name) for base, mutations in KINDS.items() for name in mutations]
    return [every[number % len(every)] for number in range(CASES)]


# -- what is done with them ---------------------------------------------------------------------------------


def read(root):
    """Open, and read every column and the pictures."""
    dataset = LeRobotDataset(root)
    for values in dataset.columns.values():
        assert len(values) == dataset.num_frames
        np.asarray(values).sum()
    for feature in dataset.contract:
        if feature.kind == "image":
            pictures = dataset.frames(feature.name, np.arange(min(dataset.num_frames, 32)))
            assert pictures.shape[1:] == feature.shape
    assert dataset.statistics
    for episode in range(min(len(dataset), 3)):
        dataset.episode(episode)


def read_format(module, path, **settings):
    module.recognises(path)
    source = module.open_source(path, **settings)
    for number in range(len(source)):
        for values in source.episode(number).frames.values():
            np.asarray(values[0 : values.shape[0]])


def attempts(base, root):
    """Each thing that is done with a case."""
    if base == "robomimic":
        yield "read", lambda: read_format(robomimic, root / "demo.hdf5")
    elif base == "zarr":
        yield "read", lambda: read_format(diffusion_policy, root / "buffer.zarr", fps=10)
    else:
        yield "read", lambda: read(root)
        yield "check", lambda: check_dataset(root)
        yield "repair", lambda: repair_dataset(root)


def digest(folder, but):
    """Everything in a folder except one part of it."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path != but and but not in path.parents:
            total.update(str(path).encode("utf-8", "surrogateescape"))
            total.update(
                os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            )
    return total.hexdigest()


def run_case(number, work):
    """What went wrong in one case, by what was done."""
    base, name = cases()[number]
    around = work / "around"
    shutil.rmtree(around, ignore_errors=True)
    (around / "outside").mkdir(parents=True)
    (around / "outside/kept.txt").write_text("kept")
    root = Path(shutil.copytree(work / "bases" / base, around / "data"))
    KINDS[base][name](random.Random(number), root)
    before = digest(around, root)
    faults = []
    for what, attempt in attempts(base, root):
        try:
            attempt()
        except DatasetError as error:
            if len(str(error)) > 5000 or not str(error).strip():
                faults.append(f"{what}: a sentence of {len(str(error))} characters")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)
            ours = [
                f"{frame.filename.rpartition('praxon/')[2]}:{frame.lineno}"
                for frame in where
                if "praxon" in frame.filename
            ]
            faults.append(f"{what}: {type(error).__name__}: {str(error)[:200]} at {' < '.join(ours[:-5:-1])}")
        if digest(around, root) != before:
            faults.append(f"{what}: something outside the folder has changed")
            before = digest(around, root)
    return faults


def run_cases(work, first):
    """In the child: one line for each case."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    os.chdir(work)
    for number in range(first, CASES):
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest memory so far
        faults = run_case(number, work)
        grown = memory("VmHWM") - before
        if grown > MEMORY:
            faults.append(f"memory grew by {grown >> 20} MB")
        print(json.dumps({"done": number, "faults": faults}), flush=True)


def memory(kind):
    """This process's memory now (VmRSS) or at its highest (VmHWM) [bytes]."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind)]
    return int(line.split()[1]) * 1024


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Case -> what went wrong. A child that dies or hangs is one case's fault; the next one goes on behind it."""
    work = tmp_path_factory.mktemp("fuzz")
    build(work / "bases")
    found = {}
    while len(found) < CASES:
        first = len(found)
        with open(work / "errors.txt", "w") as errors:
            command = [sys.executable, __file__, str(work), str(first)]
            child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
        found |= follow(child)
        if len(found) < CASES:
            found[len(found)] = [f"the process ended with {child.wait()}: {(work / 'errors.txt').read_text()[-800:]}"]
    return found


def follow(child):
    """Read a child's lines until it ends, or says nothing for too long."""
    found, rest = {}, b""
    while True:
        ready, _, _ = select.select([child.stdout], [], [], LONGEST_S)
        data = os.read(child.stdout.fileno(), 65536) if ready else b""
        if not data:
            child.kill()
            child.wait()
            child.stdout.close()
            return found
        *lines, rest = (rest + data).split(b"\n")
        for line in map(json.loads, lines):
            if "done" in line:
                found[line["done"]] = line["faults"]


@pytest.mark.parametrize(("number", "base", "name"), [(n, *case) for n, case in enumerate(cases())])
def test_a_broken_dataset_ends_in_data_or_in_a_sentence(number, base, name, outcomes):
    assert outcomes[number] == []


if __name__ == "__main__":
    run_cases(Path(sys.argv[1]), int(sys.argv[2]))
