#include "worker/fault_points.hpp"

#ifdef SAGA_FAULT_POINTS

#include <fcntl.h>
#include <unistd.h>
#include <csignal>
#include <cstdio>

namespace saga::worker {

namespace {

void wait_for_release(const std::string &file) {
  while (unlink(file.c_str()) != 0) {
    pg::call([] {
      (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10, PG_WAIT_EXTENSION);
      ResetLatch(MyLatch);
      CHECK_FOR_INTERRUPTS();
    });
  }
}

}  // namespace

void reach_fault_point(const char *name) {
  // The working directory of every server process is the data directory.
  const std::string file = std::string("saga_fault_") + name;
  const int descriptor = open(file.c_str(), O_RDONLY);
  if (descriptor < 0) return;
  std::array<char, 16> action{};
  const ssize_t length = read(descriptor, action.data(), action.size() - 1);
  close(descriptor);
  if (length <= 0 || unlink(file.c_str()) != 0) return;  // somebody else took it
  const std::string_view word{action.data()};
  if (word.starts_with("kill")) kill(getpid(), SIGKILL);
  if (word.starts_with("error")) throw pg::Error{ERRCODE_INTERNAL_ERROR, std::string("fault point ") + name};
  if (word.starts_with("wait")) wait_for_release(std::string("saga_release_") + name);
}

}  // namespace saga::worker

#endif
