// How many cores this process may really use.
#include <algorithm>
#include <cmath>
#include <cstdlib>
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

// quota / period, rounded up, of one cgroup; 0 where it sets no limit.
int quota_of(const std::string& folder, bool unified) {
  double quota = -1;
  double period = 0;
  if (unified) {  // "max 100000" or "50000 100000"
    std::string first;
    std::ifstream file(folder + "/cpu.max");
    if (!(file >> first >> period) || first == "max") return 0;
    quota = std::strtod(first.c_str(), nullptr);
  } else {
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
    std::ifstream period_file(folder + "/cpu.cfs_period_us");
    if (!(quota_file >> quota && period_file >> period)) return 0;
  }
  if (!(quota > 0 && period > 0)) return 0;
  return static_cast<int>(std::clamp(std::ceil(quota / period), 1.0, 1e9));
}

// Whether a list like "cpu,cpuacct" names the controller "cpu".
bool has_cpu(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

#endif

}  // namespace

int cgroup_cores(const std::string& proc_self_cgroup, const std::string& sys_fs_cgroup) {
  int cores = 0;
#if defined(__linux__)
  std::ifstream groups(proc_self_cgroup);  // "0::/path" (version 2), "3:cpu,cpuacct:/path" (1)
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    if (!unified && !has_cpu(controllers)) continue;
    // Where version 1 mounts several controllers together, "cpu" is a link that may be missing.
    const std::string roots[] = {sys_fs_cgroup + (unified ? "" : "/cpu"),
                                 sys_fs_cgroup + "/" + controllers};
    for (const std::string& root : roots) {
      std::string path = line.substr(second + 1);
      while (true) {
        const int quota = quota_of(root + (path == "/" ? "" : path), unified);
        if (quota > 0) cores = cores > 0 ? std::min(cores, quota) : quota;
        const std::size_t slash = path.rfind('/');
        if (path == "/" || slash == std::string::npos) break;
        path.erase(slash);
      }
    }
  }
#else
  static_cast<void>(proc_self_cgroup);
  static_cast<void>(sys_fs_cgroup);
#endif
  return cores;
}

int usable_cores() {
  int cores = 0;
#if defined(__linux__)
  cores = physical_cores();
  if (const int quota = cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup"); quota > 0)
    cores = cores > 0 ? std::min(cores, quota) : quota;
#endif
  if (cores == 0) cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(cores, 1);
}

}  // namespace chainrule
