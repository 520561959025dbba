// How long to wait before the next attempt, and when there is none left.
#pragma once

#include <cstdint>
#include <optional>

#include "domain/base.hpp"

namespace saga::domain {

struct RetryPolicy {
  std::uint16_t attempts_max = 3;  // all attempts, the first included
  Millis backoff_base{1000};
  Millis backoff_max{3'600'000};
  double jitter = 0.2;  // adds 0 .. jitter of the delay, never shortens it

  /// base * 2^(attempts - 1), at most backoff_max, then lengthened by jitter * random of itself.
  /// attempts: failed attempts so far, at least 1. random: 0 <= random < 1.
  /// nullopt: no attempt is left, the event is dead.
  [[nodiscard]] std::optional<Millis> delay_after(std::uint16_t attempts, double random) const noexcept;
};

/// Pause before the transaction of a conflicting event runs again: 100, 200, 400 ms, at most 2 s.
/// conflicts: conflicts so far, at least 1. nullopt after the third retry: it counts as a failed attempt.
[[nodiscard]] std::optional<Millis> conflict_delay(std::uint16_t conflicts) noexcept;

}  // namespace saga::domain
