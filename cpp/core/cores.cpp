// How many cores this process may really use.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "core/parallel.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace chainrule {
namespace {

#if defined(__linux__)

// The physical cores among the CPUs of the affinity mask: hyperthreads of one core
// name the same siblings.
int physical_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return 0;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    std::string siblings;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    if (!std::getline(file, siblings)) siblings = std::to_string(cpu);
    cores.insert(siblings);
  }
  return static_cast<int>(cores.size());
}

// quota / period of this process's cgroup, rounded up; 0 where there is no limit.
int quota_cores() {
  double quota = -1;
  double period = 0;
  std::string first;
  std::ifstream unified("/sys/fs/cgroup/cpu.max");  // version 2: "max 100000" or "50000 100000"
  if (unified >> first >> period) {
    if (first != "max") quota = std::strtod(first.c_str(), nullptr);
  } else {
    std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(quota_file >> quota && period_file >> period)) return 0;
  }
  if (quota <= 0 || period <= 0) return 0;
  return std::max(1, static_cast<int>(std::ceil(quota / period)));
}

#endif

}  // namespace

int usable_cores() {
  int cores = 0;
#if defined(__linux__)
  cores = physical_cores();
  if (const int quota = quota_cores(); quota > 0)
    cores = cores > 0 ? std::min(cores, quota) : quota;
#endif
  if (cores == 0) cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(cores, 1);
}

}  // namespace chainrule
