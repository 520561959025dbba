// Any failure of any event under any policy. The input is, in this order and little-endian: cause (1
// byte), snooze (8), attempts, conflicts, crashes (2 each), age (8), attempts_max (2), backoff_base,
// backoff_max, jitter (8 each), whether there is an age limit (1), the limit (8), crash_limit (2), the
// random number (8), sqlstate (its length modulo 8 in one byte, then it), and the message.
#include <algorithm>
#include <limits>
#include <optional>

#include "domain/error_class.hpp"
#include "domain/outcome.hpp"
#include "input.hpp"

namespace {

using namespace saga::domain;
using saga::fuzz::require;

struct Case {
  Failure failure;
  EventState state;
  Policy policy;
  double random = 0;
};

Case read_case(saga::fuzz::Input input) {
  Case c;
  c.failure.cause = static_cast<Cause>(input.small() % 5);
  c.failure.snooze = Millis{input.integer()};
  c.state.attempts = input.count();
  c.state.conflicts = input.count();
  c.state.crashes = input.count();
  c.state.age = Millis{input.integer()};
  c.policy.retry.attempts_max = input.count();
  c.policy.retry.backoff_base = Millis{input.integer()};
  c.policy.retry.backoff_max = Millis{input.integer()};
  c.policy.retry.jitter = input.real();
  const bool limited = input.small() % 2 == 1;
  const Millis age_max{input.integer()};
  if (limited) c.policy.age_max = age_max;
  c.policy.crash_limit = input.count();
  c.random = input.real();
  c.failure.sqlstate = input.text(input.small() % 8);
  c.failure.message = input.rest();
  return c;
}

bool too_old(const Case &c) { return c.policy.age_max && c.state.age >= *c.policy.age_max; }

// What an error of the handler means; a time limit is a plain failure.
ErrorClass class_of(const Case &c) {
  return c.failure.cause == Cause::TimeLimit ? ErrorClass::Failure : classify(c.failure.sqlstate, c.failure.message);
}

bool by_cause_alone(Cause cause) { return cause != Cause::Error && cause != Cause::TimeLimit; }

// The delay that the rule asks for, by repeated doubling and without jitter.
Millis least_delay(const RetryPolicy &retry, unsigned attempts) {
  const Millis::rep ceiling = std::max<Millis::rep>(retry.backoff_max.count(), 0);
  Millis::rep delay = std::min(std::max<Millis::rep>(retry.backoff_base.count(), 0), ceiling);
  for (unsigned i = 1; i < attempts && delay > 0 && delay < ceiling; ++i)
    delay = delay > ceiling / 2 ? ceiling : delay * 2;
  return Millis{delay};
}

void check_classes(const Case &c) {
  const ErrorClass verdict = classify(c.failure.sqlstate, c.failure.message);
  require(conflict_code(c.failure.sqlstate, c.failure.message).empty() == (verdict != ErrorClass::Conflict));
  if (c.failure.sqlstate.size() != 5) require(verdict == ErrorClass::Failure || c.failure.sqlstate.empty());
  // A message can only turn a failure into a conflict.
  const ErrorClass by_code = classify(c.failure.sqlstate, "");
  require(verdict == by_code || (verdict == ErrorClass::Conflict && by_code == ErrorClass::Failure));
}

void check_form(const Decision &decision) {
  require(decision.outcome != Outcome::Processed);
  require(decision.delay >= Millis::zero());
  const bool lost = decision.outcome == Outcome::Dead || decision.outcome == Outcome::Invalid;
  require((decision.reason != DeadReason::None) == lost);
  require((decision.reason == DeadReason::Rejected) == (decision.outcome == Outcome::Invalid));
  if (lost || decision.outcome == Outcome::Skipped || decision.outcome == Outcome::Cancelled) {
    require(decision.delay == Millis::zero());
  }
}

void check_retry(const Case &c, const Decision &decision) {
  const unsigned attempts = c.state.attempts + 1U;
  require(!by_cause_alone(c.failure.cause) && !too_old(c));
  require(decision.delay >= least_delay(c.policy.retry, attempts));
  if (decision.spends_attempt) {
    require(attempts < c.policy.retry.attempts_max);
  } else {
    require(class_of(c) == ErrorClass::ConnectionLost && c.policy.age_max);
    require(decision.delay >= c.policy.retry.backoff_base);
  }
}

void check_dead(const Case &c, const Decision &decision) {
  if (decision.reason == DeadReason::Crashed) {
    require(c.failure.cause == Cause::Crash && c.state.crashes + 1U >= c.policy.crash_limit &&
            !decision.spends_attempt);
    return;
  }
  require(!by_cause_alone(c.failure.cause) && decision.spends_attempt);
  require((decision.reason == DeadReason::TooOld) == too_old(c));
  if (decision.reason == DeadReason::Exhausted) {
    require(c.state.attempts + 1U >= c.policy.retry.attempts_max);
    require(class_of(c) != ErrorClass::ConnectionLost || !c.policy.age_max);
  }
}

void check_free_outcome(const Case &c, const Decision &decision) {
  require(!decision.spends_attempt);
  const Cause cause = c.failure.cause;
  switch (decision.outcome) {
    case Outcome::Conflict:
      require(class_of(c) == ErrorClass::Conflict && c.state.conflicts < 3);
      require(decision.delay == Millis{Millis::rep{100} << c.state.conflicts});
      return;
    case Outcome::Invalid:
      return require(cause == Cause::Error && c.failure.sqlstate == "SG001");
    case Outcome::Skipped:
      return require(cause == Cause::Error && c.failure.sqlstate == "SG003");
    case Outcome::Cancelled:
      return require(cause == Cause::OperatorCancel);
    case Outcome::Snoozed:
      require(cause == Cause::Error && c.failure.sqlstate == "SG002");
      return require(decision.delay == std::max(c.failure.snooze, Millis::zero()));
    case Outcome::Interrupted:
      require(decision.delay == (cause == Cause::Error ? Millis{1000} : Millis::zero()));
      return require(cause == Cause::Interruption || cause == Cause::Crash || class_of(c) == ErrorClass::Interruption);
    default:
      return require(false);
  }
}

// The same the other way round: what must come out of a cause, whatever else is in the input.
void check_causes(const Case &c, const Decision &decision) {
  const Cause cause = c.failure.cause;
  require((cause == Cause::OperatorCancel) == (decision.outcome == Outcome::Cancelled));
  if (cause == Cause::Interruption) require(decision.outcome == Outcome::Interrupted);
  if (cause == Cause::Crash)
    require(decision.outcome == Outcome::Interrupted || decision.reason == DeadReason::Crashed);
  if (cause == Cause::TimeLimit) require(decision.spends_attempt);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  const Case c = read_case(saga::fuzz::Input(data, size));
  check_classes(c);
  const Decision decision = decide(c.failure, c.state, c.policy, c.random);
  check_form(decision);
  check_causes(c, decision);
  if (decision.outcome == Outcome::Retry) {
    check_retry(c, decision);
  } else if (decision.outcome == Outcome::Dead) {
    check_dead(c, decision);
  } else {
    check_free_outcome(c, decision);
  }
  return 0;
}
