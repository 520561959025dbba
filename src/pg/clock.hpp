// The two clocks. Durations and limits run on the monotonic one; a step of the wall clock moves neither.
#pragma once

#include <ctime>

#include "pg/postgres.hpp"

namespace saga::pg {

/// Microseconds since an arbitrary start, the same for all processes of the machine.
[[nodiscard]] inline std::int64_t monotonic_us() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

}  // namespace saga::pg
