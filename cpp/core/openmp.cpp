// Threads from OpenMP, for programs that have it at work anyway: the only file that names it.
#include <omp.h>

#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#include "core/threads.h"

namespace chainrule {
namespace {

// The size of the team that libgomp keeps for this thread.
thread_local int t_team = 1;

// libgomp ends the process where it cannot create a thread: before it does for the first time, as
// many are tried, and as many again for those that the system has not quite forgotten.
bool threads_can_be_had(int threads) {
  if (threads <= t_team) return true;
  std::atomic<bool> over{false};
  std::vector<std::thread> tried;
  try {
    for (int i = 1; i < 2 * threads; ++i) tried.emplace_back([&] { over.wait(false); });
  } catch (const std::exception&) {
    threads = 0;
  }
  over = true;
  over.notify_all();
  for (std::thread& thread : tried) thread.join();
  return threads > 0;
}

// In the child of a fork that could not leave its team behind.
std::atomic<bool> g_no_team{false};
thread_local bool t_no_team_in_child = false;

}  // namespace

const bool kThreadsOfOpenmp = true;

bool run_on_threads(int threads, std::size_t parts, Part part, void* context) {
  if (g_no_team || omp_in_parallel() || !threads_can_be_had(threads)) return false;
  t_team = threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (std::size_t i = 0; i < parts; ++i) part(context, i, omp_get_thread_num());
  return true;
}

// A child has one thread, and libgomp would wait for the others for ever: before a fork the team of
// the forking thread is dissolved, so that parent and child each start a new one when they need it.
void before_fork(bool) {
  t_no_team_in_child = omp_pause_resource_all(omp_pause_hard) != 0;
  t_team = 1;
}

void in_child() { g_no_team = t_no_team_in_child; }

}  // namespace chainrule
