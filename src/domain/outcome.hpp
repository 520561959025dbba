// The one place that decides what an attempt came to: (failure, state of the event, policy) -> decision.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "domain/base.hpp"
#include "domain/retry_policy.hpp"

namespace saga::domain {

/// Next states: Processed, Invalid, Skipped, Cancelled, Dead are final (a replay is a new delivery);
/// Conflict, Retry, Snoozed, Interrupted lead to another run of the same event.
enum class Outcome : std::uint8_t {
  Processed,
  Conflict,
  Retry,
  Invalid,
  Snoozed,
  Skipped,
  Cancelled,
  Interrupted,
  Dead
};

enum class DeadReason : std::uint8_t { None, Exhausted, TooOld, Crashed, Rejected };

/// Lower-case names as the relations show them.
[[nodiscard]] std::string_view name(Outcome outcome) noexcept;
[[nodiscard]] std::string_view name(DeadReason reason) noexcept;

/// Who ended the run.
enum class Cause : std::uint8_t {
  Error,           // the handler raised
  TimeLimit,       // our own limit, soft or hard
  OperatorCancel,  // cancel_event while it ran
  Interruption,    // shutdown, pg_cancel_backend, a lost worker
  Crash,           // the process died while the event ran alone and marked
};

struct Failure {
  Cause cause = Cause::Error;
  std::string_view sqlstate;
  std::string_view message;
  Millis snooze{0};  // what the handler asked for, with SG002
};

struct EventState {
  std::uint16_t attempts = 0;   // recorded failures before this one
  std::uint16_t conflicts = 0;  // conflicts in a row before this one, alone in its transaction
  std::uint16_t crashes = 0;    // crashes before this one
  Millis age{0};                // since it was published
};

struct Policy {
  RetryPolicy retry;
  std::optional<Millis> age_max;
  std::uint16_t crash_limit = 2;
};

struct Decision {
  Outcome outcome = Outcome::Processed;
  Millis delay{0};  // before the next run; 0 when final
  bool spends_attempt = false;
  DeadReason reason = DeadReason::None;
};

/// random: 0 <= random < 1, for the jitter.
[[nodiscard]] Decision decide(const Failure &failure, const EventState &state, const Policy &policy,
                              double random) noexcept;

}  // namespace saga::domain
