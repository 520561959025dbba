// Backoff arithmetic. A policy is what a user wrote, so every number is taken as it comes: what is out of
// range is brought into it, nothing overflows, and a random number that is none adds no jitter.
#include "domain/retry_policy.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

namespace saga::domain {

namespace {

constexpr std::array kConflictDelays{Millis{100}, Millis{200}, Millis{400}};
constexpr Millis kConflictDelayMax{2000};
static_assert(*std::max_element(kConflictDelays.begin(), kConflictDelays.end()) <= kConflictDelayMax);

/// base * 2^doublings, at most ceiling.
constexpr Millis doubled(Millis base, unsigned doublings, Millis ceiling) noexcept {
  if (base <= Millis::zero() || ceiling <= Millis::zero()) return Millis::zero();
  // The product is above the ceiling exactly if base is above the ceiling halved as often.
  if (doublings >= std::numeric_limits<Millis::rep>::digits) return ceiling;
  if (base.count() > ceiling.count() >> doublings) return ceiling;
  return Millis{base.count() << doublings};
}

static_assert(doubled(Millis{1000}, 2, Millis{3'600'000}) == Millis{4000});
static_assert(doubled(Millis{1000}, 65534, Millis{3'600'000}) == Millis{3'600'000});
static_assert(doubled(Millis::max(), 1, Millis::max()) == Millis::max());

/// delay and this share of it, at most the longest duration there is.
constexpr Millis lengthened(Millis delay, double share) noexcept {
  const double extra = static_cast<double>(delay.count()) * share;
  const Millis room = Millis::max() - delay;
  if (!(extra > 0.0)) return delay;  // in this form it holds for NaN too
  if (extra >= static_cast<double>(room.count())) return Millis::max();
  return delay + Millis{static_cast<Millis::rep>(extra)};
}

}  // namespace

std::optional<Millis> RetryPolicy::delay_after(std::uint16_t attempts, double random) const noexcept {
  if (attempts >= attempts_max) return std::nullopt;
  const unsigned doublings = std::max<unsigned>(attempts, 1) - 1;
  // The order of the arguments matters: std::max answers the first where the second is NaN. A jitter below
  // zero needs no care, as its share is not above zero.
  const double share = jitter * std::min(std::max(0.0, random), 1.0);
  return lengthened(doubled(backoff_base, doublings, backoff_max), share);
}

std::optional<Millis> conflict_delay(std::uint16_t conflicts) noexcept {
  const std::size_t index = std::max<std::size_t>(conflicts, 1) - 1;
  if (index >= kConflictDelays.size()) return std::nullopt;
  return kConflictDelays[index];
}

}  // namespace saga::domain
