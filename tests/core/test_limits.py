"""What the system limits: threads, memory, cores. Work goes on, or says that it cannot."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

import chainrule as cr
from chainrule import _core
from support import TESTS, run_python

linux = pytest.mark.skipif(sys.platform != "linux", reason="these limits are those of Linux")

SCRIPT = str(TESTS / "processes" / "limits.py")


def skip_if_told(printed: str) -> None:
    if printed.startswith("skip: "):
        pytest.skip(printed.removeprefix("skip: ").strip())


def run_limited(*arguments: object) -> None:
    # Without one heap a thread and with large blocks mapped, a process grows by what it asks for.
    # The interpreter's own small blocks come from the same heap.
    tunables = "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=131072"
    environment = {"GLIBC_TUNABLES": tunables, "PYTHONMALLOC": "malloc"}
    printed = run_python(SCRIPT, *map(str, arguments), **environment)
    skip_if_told(printed)
    assert printed == "ok\n"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that users other than root can read too."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


# --- threads ----------------------------------------------------------------------------------


@linux
@pytest.mark.bits
@pytest.mark.parametrize("allowed", [0, 1, 3, 20])
def test_without_threads_everything_runs_serially(public_folder, allowed):
    run_limited("threads", public_folder, allowed)


# --- memory -----------------------------------------------------------------------------------


OFTEN = ["construct", "load", "save", "predict", "fit"]
SOMETIMES = [
    "unpickle",
    "freeze",
    "predict_with_a_conversion",
    "gradients",
    "vjp",
    "trace",
    "fit_with_adam",
    "train_step",
]


@linux
@pytest.mark.unsanitized
@pytest.mark.parametrize(
    "call", [*OFTEN, *(pytest.param(call, marks=pytest.mark.slow) for call in SOMETIMES)]
)
def test_little_memory_gives_the_right_result_or_an_exception(tmp_path, call):
    run_limited("memory", call, 8, tmp_path)


@linux
@pytest.mark.unsanitized
def test_a_process_with_threads_survives_little_memory(tmp_path):
    run_limited("memory_with_a_team", tmp_path)


@linux
@pytest.mark.unsanitized
def test_what_is_larger_than_memory_is_refused():
    run_limited("too_large")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "sizes",
    [
        [2**62, 1],
        [1, 2**62],
        [2**62 - 1, 1],
        [1, 2**62 - 1],
        [2**31, 2**31],
        [2**61, 2],
        [2, 2**61],
        [2**63 - 1, 1],
        [1, 2**63 - 1],
        [1, 2**60, 1, 2**60, 1, 2**60, 1, 2**60],
    ],
    ids=str,
)
def test_sizes_beyond_every_address_are_an_overflow(sizes, dtype):
    with pytest.raises(OverflowError):
        cr.Network(sizes, dtype=dtype, init="zeros")


# --- cores ------------------------------------------------------------------------------------


def threads_on(cpus: list[int]) -> int:
    """The default number of threads of a process that may use these."""
    code = (
        f"import os; os.sched_setaffinity(0, {cpus})\n"
        "import chainrule as cr; print(cr.get_num_threads())"
    )
    return int(run_python("-c", code, CHAINRULE_NUM_THREADS=""))


def siblings(cpu: int) -> str:
    file = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    return file.read_text() if file.exists() else str(cpu)


@linux
def test_one_cpu_gives_one_thread():
    for cpu in sorted(os.sched_getaffinity(0))[:2]:
        assert threads_on([cpu]) == 1


@linux
def test_two_cpus_give_as_many_threads_as_they_have_cores():
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("this process may use one CPU only")
    everywhere = threads_on(cpus)  # a quota of this machine's counts too
    for pair in (cpus[:2], [cpus[0], cpus[-1]]):
        assert threads_on(pair) == min(everywhere, len({siblings(cpu) for cpu in pair}))


@pytest.fixture
def cores(tmp_path):
    """A function: the text of /proc/self/cgroup, files below /sys/fs/cgroup -> cores, or 0."""

    def count(groups: str | bytes, files: dict[str, str]) -> int:
        for name, text in files.items():
            path = tmp_path / "sys" / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        file = tmp_path / "cgroup"
        file.write_bytes(groups.encode() if isinstance(groups, str) else groups)
        return _core.cgroup_cores(str(file), str(tmp_path / "sys"))

    return count


def version_1(folder: str, quota: object, period: object = 100_000) -> dict[str, str]:
    return {
        f"{folder}/cpu.cfs_quota_us": f"{quota}\n",
        f"{folder}/cpu.cfs_period_us": f"{period}\n",
    }


QUOTAS = [(10_000, 1), (100_000, 1), (100_001, 2), (150_000, 2), (200_000, 2), (1_600_000, 16)]


@linux
@pytest.mark.parametrize(("quota", "expected"), QUOTAS)
def test_a_quota_counts_as_whole_cores(cores, quota, expected):
    assert cores("0::/\n", {"cpu.max": f"{quota} 100000\n"}) == expected
    assert cores("4:cpu:/a\n", version_1("cpu/a", quota)) == expected
    assert cores("4:cpu:/b\n", version_1("cpu/b", 10 * quota, 1_000_000)) == expected


@linux
@pytest.mark.parametrize("text", ["max 100000\n", "max\n", ""])
def test_no_quota_in_version_2(cores, text):
    assert cores("0::/a\n", {"a/cpu.max": text}) == 0


@linux
def test_no_quota_in_version_1(cores):
    assert cores("4:cpu,cpuacct:/a\n", version_1("cpu/a", -1)) == 0
    assert cores("4:cpu,cpuacct:/\n", {}) == 0


@linux
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"": "max", "a": "200000", "a/b": "max", "a/b/c": "400000"}, 2),
        ({"": "300000", "a": "max", "a/b": "max", "a/b/c": "max"}, 3),
        ({"a": "max", "a/b": "400000", "a/b/c": "150000"}, 2),
        ({"a": "50000", "a/b/c": "400000"}, 1),
        ({"a/b/c/d": "100000", "b": "100000", "a/b/c": "500000"}, 5),
    ],
    ids=str,
)
def test_the_smallest_quota_on_the_way_up_counts(cores, limits, expected):
    unified = {f"{group}/cpu.max": f"{quota} 100000" for group, quota in limits.items()}
    assert cores("0::/a/b/c\n", unified) == expected
    old = [version_1(f"cpu/{g}", q.replace("max", "-1")) for g, q in limits.items()]
    merged = {name: text for files in old for name, text in files.items()}
    assert cores("7:memory:/\n4:cpu,cpuacct:/a/b/c\n", merged) == expected


@linux
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu", "rdma,cpu,misc"])
def test_the_controller_cpu_is_found_in_every_list(cores, controllers):
    assert cores(f"4:{controllers}:/a\n", version_1("cpu/a", 300_000)) == 3


@linux
@pytest.mark.parametrize("controllers", ["cpuset", "cpuacct", "name=cpu", "cpus,cpuset"])
def test_other_controllers_set_no_quota(cores, controllers):
    assert cores(f"4:{controllers}:/a\n", version_1("cpu/a", 300_000)) == 0


@linux
@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpuacct,cpu"])
def test_the_controller_may_be_mounted_under_its_whole_list(cores, folder):
    """As the kernel names it: the link "cpu" is a service of systemd."""
    assert cores(f"4:{folder}:/a\n", version_1(f"{folder}/a", 300_000)) == 3


@linux
@pytest.mark.parametrize("path", ["/docker/0123", "/../neighbour", "/gone (deleted)", "/../.."])
def test_a_group_that_is_not_mounted_here_has_the_quota_of_the_root(cores, path):
    assert cores(f"0::{path}\n", {"cpu.max": "200000 100000"}) == 2
    assert cores(f"3:cpu,cpuacct:{path}\n", version_1("cpu", 300_000)) == 3


@linux
@pytest.mark.parametrize("name", ["with space", "a:b", "cri-containerd:x:y", "0::", "ünïcode"])
def test_groups_may_have_any_name(cores, name):
    assert cores(f"0::/{name}\n", {f"{name}/cpu.max": "200000 100000"}) == 2


@linux
def test_a_hybrid_system_takes_the_quota_of_version_1(cores):
    groups = "5:cpu,cpuacct:/a\n1:name=systemd:/a\n0::/a\n"
    assert cores(groups, version_1("cpu/a", 200_000) | {"unified/a/cgroup.procs": "1\n"}) == 2


@linux
@pytest.mark.parametrize(
    "text",
    [
        "\n", "100000\n", "100000 \n", "0 100000\n", "-1 100000\n", "100000 0\n", "100000 -1\n",
        "nonsense 100000\n", "100000 nonsense\n", "nan 100000\n", "100000 nan\n", "100000 max\n",
    ],
    ids=repr,
)  # fmt: skip
def test_a_quota_that_makes_no_sense_is_none(cores, text):
    assert cores("0::/\n", {"cpu.max": text}) == 0
    quota, _, period = text.strip().partition(" ")
    assert cores("4:cpu:/\n", version_1("cpu", quota, period)) == 0


@linux
@pytest.mark.parametrize("quota", ["17592186044415 1000", "9" * 30 + " 1", "inf 100000"])
def test_a_quota_beyond_any_machine_limits_nothing(cores, quota):
    found = [
        cores("0::/\n", {"cpu.max": quota}),
        cores("4:cpu:/\n", version_1("cpu", *quota.split())),
    ]
    assert all(n == 0 or n > 10**6 for n in found)


@linux
@pytest.mark.parametrize(
    "groups",
    [
        "", "\n", "nonsense\n", "0\n", "0:\n", "0::", "0::\n", "0::relative\n", "4:cpu:relative\n",
        "::\n", ":cpu:\n", "4:cpu", "0::/a", b"\x00\xff\n", b"0::/\xff\xfe\n", "0::" + "/a" * 5000,
    ],
    ids=lambda groups: repr(groups[:20]),
)  # fmt: skip
def test_a_list_of_groups_that_makes_no_sense_is_none(cores, groups):
    assert cores(groups, {}) == 0


@linux
def test_files_that_are_missing_or_not_files_set_no_quota(cores, tmp_path):
    (tmp_path / "cgroup").mkdir()
    assert _core.cgroup_cores(str(tmp_path / "cgroup"), str(tmp_path)) == 0
    assert _core.cgroup_cores(str(tmp_path / "absent"), str(tmp_path / "absent")) == 0
    (tmp_path / "cpu.max").mkdir()
    (tmp_path / "groups").write_text("0::/\n")
    assert _core.cgroup_cores(str(tmp_path / "groups"), str(tmp_path)) == 0


@linux
def test_the_groups_of_this_process_are_read_without_trouble():
    assert _core.cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup") >= 0


@contextmanager
def half_a_cpu() -> Iterator[Path]:
    """A new cgroup of this machine with a quota of half a CPU; skips where there can be none."""
    root = Path("/sys/fs/cgroup")
    unified = (root / "cgroup.controllers").exists()
    folder = (root if unified else root / "cpu") / f"chainrule-test-{os.getpid()}"
    quota, text = ("cpu.max", "50000 100000") if unified else ("cpu.cfs_quota_us", "50000")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        if not (folder / quota).exists():
            pytest.skip("the cgroups of this system have no controller for CPUs")
        (folder / quota).write_text(text)
        yield folder
    finally:
        end = monotonic() + 10  # the kernel takes a moment to see a process off
        while folder.exists():
            try:
                folder.rmdir()
            except OSError:
                assert monotonic() < end, f"{folder} cannot be removed"
                sleep(0.05)


JOIN = """
import os, sys
for group in sys.argv[1:]:
    try:
        open(group, "w").write(str(os.getpid()))
    except OSError as error:
        sys.exit(print(f"skip: the cgroup cannot be joined: {error}"))
import chainrule as cr
print(cr.get_num_threads())
"""


@linux
def test_a_quota_of_this_machine_is_obeyed():
    if run_python("-c", JOIN, CHAINRULE_NUM_THREADS="").strip() == "1":
        pytest.skip("this process has one core anyway")
    with half_a_cpu() as folder:
        printed = run_python("-c", JOIN, str(folder / "cgroup.procs"), CHAINRULE_NUM_THREADS="")
    skip_if_told(printed)
    assert printed.strip() == "1"
