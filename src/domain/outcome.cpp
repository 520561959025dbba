// The decision after an attempt that did not return. First who ended the run, then what the error means;
// each rule is one small function, and every road to a lost attempt leads through fail().
#include "domain/outcome.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

#include "domain/error_class.hpp"

namespace saga::domain {

namespace {

constexpr std::array<std::string_view, 9> kOutcomeNames{"processed", "conflict",  "retry",       "invalid", "snoozed",
                                                        "skipped",   "cancelled", "interrupted", "dead"};
static_assert(kOutcomeNames.size() == static_cast<std::size_t>(Outcome::Dead) + 1);
static_assert(kOutcomeNames[static_cast<std::size_t>(Outcome::Invalid)] == "invalid");
static_assert(kOutcomeNames[static_cast<std::size_t>(Outcome::Cancelled)] == "cancelled");
static_assert(kOutcomeNames[static_cast<std::size_t>(Outcome::Dead)] == "dead");

constexpr std::array<std::string_view, 5> kDeadReasonNames{"none", "exhausted", "too_old", "crashed", "rejected"};
static_assert(kDeadReasonNames.size() == static_cast<std::size_t>(DeadReason::Rejected) + 1);
static_assert(kDeadReasonNames[static_cast<std::size_t>(DeadReason::TooOld)] == "too_old");
static_assert(kDeadReasonNames[static_cast<std::size_t>(DeadReason::Rejected)] == "rejected");

// A full disk is nobody's attempt, but without a pause the event would run into it again at once.
constexpr Millis kInterruptionPause{1000};

constexpr std::uint16_t kCountMax = std::numeric_limits<std::uint16_t>::max();

constexpr std::uint16_t one_more(std::uint16_t count) noexcept {
  return count == kCountMax ? count : static_cast<std::uint16_t>(count + 1);
}

struct Situation {
  const Failure &failure;
  const EventState &state;
  const Policy &policy;
  double random;
};

Decision settled(Outcome outcome) noexcept { return {.outcome = outcome}; }

Decision again(Outcome outcome, Millis delay) noexcept { return {.outcome = outcome, .delay = delay}; }

Decision dead_after_attempt(DeadReason reason) noexcept {
  return {.outcome = Outcome::Dead, .spends_attempt = true, .reason = reason};
}

bool too_old(const Situation &at) noexcept { return at.policy.age_max && at.state.age >= *at.policy.age_max; }

// Age is asked first: of an event that is both too old and out of attempts, the age is the news.
Decision fail(const Situation &at) noexcept {
  if (too_old(at)) return dead_after_attempt(DeadReason::TooOld);
  const std::optional<Millis> delay = at.policy.retry.delay_after(one_more(at.state.attempts), at.random);
  if (!delay) return dead_after_attempt(DeadReason::Exhausted);
  return {.outcome = Outcome::Retry, .delay = *delay, .spends_attempt = true};
}

Decision conflict(const Situation &at) noexcept {
  const std::optional<Millis> delay = conflict_delay(one_more(at.state.conflicts));
  return delay ? again(Outcome::Conflict, *delay) : fail(at);
}

// With an age limit the other side has until then to come back; the limit replaces the budget.
Decision connection_lost(const Situation &at) noexcept {
  if (!at.policy.age_max || too_old(at)) return fail(at);
  RetryPolicy patient = at.policy.retry;
  patient.attempts_max = kCountMax;
  const std::uint16_t attempts = std::min<std::uint16_t>(one_more(at.state.attempts), kCountMax - 1);
  const Millis delay = patient.delay_after(attempts, at.random).value_or(patient.backoff_max);
  return again(Outcome::Retry, std::max({delay, patient.backoff_base, Millis::zero()}));
}

Decision crashed(const Situation &at) noexcept {
  if (one_more(at.state.crashes) < at.policy.crash_limit) return settled(Outcome::Interrupted);
  return {.outcome = Outcome::Dead, .reason = DeadReason::Crashed};
}

Decision raised(const Situation &at) noexcept {
  switch (classify(at.failure.sqlstate, at.failure.message)) {
    case ErrorClass::Conflict:
      return conflict(at);
    case ErrorClass::Failure:
      return fail(at);
    case ErrorClass::ConnectionLost:
      return connection_lost(at);
    case ErrorClass::Invalid:
      return {.outcome = Outcome::Invalid, .reason = DeadReason::Rejected};
    case ErrorClass::Snoozed:
      return again(Outcome::Snoozed, std::max(at.failure.snooze, Millis::zero()));
    case ErrorClass::Skipped:
      return settled(Outcome::Skipped);
    case ErrorClass::Interruption:
      return again(Outcome::Interrupted, kInterruptionPause);
  }
  return fail(at);
}

}  // namespace

std::string_view name(Outcome outcome) noexcept { return kOutcomeNames[static_cast<std::size_t>(outcome)]; }

std::string_view name(DeadReason reason) noexcept { return kDeadReasonNames[static_cast<std::size_t>(reason)]; }

Decision decide(const Failure &failure, const EventState &state, const Policy &policy, double random) noexcept {
  const Situation at{failure, state, policy, random};
  switch (failure.cause) {
    case Cause::Error:
      return raised(at);
    case Cause::TimeLimit:
      return fail(at);
    case Cause::OperatorCancel:
      return settled(Outcome::Cancelled);
    case Cause::Interruption:
      return settled(Outcome::Interrupted);
    case Cause::Crash:
      return crashed(at);
  }
  return fail(at);
}

}  // namespace saga::domain
