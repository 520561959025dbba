// Decisions: every cause and every class of error, the budgets, and what must hold for any input.
#include "domain/outcome.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <ostream>
#include <set>
#include <string>
#include <string_view>

#include "random.hpp"

namespace saga::domain {

static bool operator==(const Decision &a, const Decision &b) {
  return a.outcome == b.outcome && a.delay == b.delay && a.spends_attempt == b.spends_attempt && a.reason == b.reason;
}

static void PrintTo(const Decision &decision, std::ostream *out) {
  *out << name(decision.outcome) << " after " << decision.delay.count() << " ms"
       << (decision.spends_attempt ? ", attempt spent, " : ", ") << name(decision.reason);
}

}  // namespace saga::domain

namespace {

using namespace saga::domain;
using saga::test::Random;

constexpr std::uint16_t kCountMax = std::numeric_limits<std::uint16_t>::max();

constexpr Decision kTooOld{Outcome::Dead, Millis{0}, true, DeadReason::TooOld};
constexpr Decision kExhausted{Outcome::Dead, Millis{0}, true, DeadReason::Exhausted};
constexpr Decision kCrashed{Outcome::Dead, Millis{0}, false, DeadReason::Crashed};
constexpr Decision kInterrupted{Outcome::Interrupted, Millis{0}, false, DeadReason::None};
constexpr Decision kCancelled{Outcome::Cancelled, Millis{0}, false, DeadReason::None};

Decision retry(int delay_ms) { return {Outcome::Retry, Millis{delay_ms}, true, DeadReason::None}; }
Decision patient_retry(int delay_ms) { return {Outcome::Retry, Millis{delay_ms}, false, DeadReason::None}; }
Decision conflict(int delay_ms) { return {Outcome::Conflict, Millis{delay_ms}, false, DeadReason::None}; }

Failure raised(std::string_view sqlstate, std::string_view message = "") {
  return {Cause::Error, sqlstate, message, Millis{0}};
}

Failure caused(Cause cause, std::string_view sqlstate = "") { return {cause, sqlstate, "", Millis{0}}; }

Decision decided(const Failure &failure, const EventState &state = {}, const Policy &policy = {}) {
  return decide(failure, state, policy, 0.0);
}

Policy with_age_max(Millis age_max) {
  Policy policy;
  policy.age_max = age_max;
  return policy;
}

EventState aged(Millis age, std::uint16_t attempts = 0) { return {.attempts = attempts, .age = age}; }

constexpr std::array kCauses{Cause::Error, Cause::TimeLimit, Cause::OperatorCancel, Cause::Interruption, Cause::Crash};
constexpr std::array<std::string_view, 14> kSqlstates{"",      "40001", "40P01", "22012", "08006", "57P03", "53300",
                                                      "SG001", "SG002", "SG003", "57P01", "53100", "57014", "XX000"};

TEST(Decide, a_failing_event_runs_at_0_1_and_2_seconds_and_is_dead) {
  EXPECT_EQ(decided(raised("22012"), {.attempts = 0}), retry(1000));
  EXPECT_EQ(decided(raised("22012"), {.attempts = 1}), retry(2000));
  EXPECT_EQ(decided(raised("22012"), {.attempts = 2}), kExhausted);
  EXPECT_EQ(decided(raised("22012"), {.attempts = 3}), kExhausted);
}

TEST(Decide, lock_timeouts_bad_values_and_cancels_raised_by_the_handler_are_failures) {
  for (const std::string_view sqlstate : {"55P03", "22P02", "57014", "23505", "P0001", "XX000", "", "53200"}) {
    EXPECT_EQ(decided(raised(sqlstate)), retry(1000)) << sqlstate;
  }
}

TEST(Decide, our_time_limit_is_a_failure_whatever_was_raised) {
  for (const std::string_view sqlstate : kSqlstates) {
    EXPECT_EQ(decided(caused(Cause::TimeLimit, sqlstate)), retry(1000)) << sqlstate;
    EXPECT_EQ(decided(caused(Cause::TimeLimit, sqlstate), {.attempts = 2}), kExhausted) << sqlstate;
  }
}

TEST(Decide, a_cause_from_a_later_version_is_a_failure) {
  EXPECT_EQ(decided(caused(static_cast<Cause>(200), "SG003")), retry(1000));
}

TEST(Decide, an_operator_cancels_whatever_was_raised) {
  for (const std::string_view sqlstate : kSqlstates) {
    EXPECT_EQ(decided(caused(Cause::OperatorCancel, sqlstate), {.attempts = 2, .conflicts = 3, .crashes = 9}),
              kCancelled)
        << sqlstate;
  }
}

TEST(Decide, an_interruption_costs_the_event_nothing_whatever_was_raised) {
  for (const std::string_view sqlstate : kSqlstates) {
    EXPECT_EQ(decided(caused(Cause::Interruption, sqlstate), {.attempts = 2, .crashes = 9}), kInterrupted) << sqlstate;
  }
}

TEST(Decide, a_full_disk_or_a_shutdown_pauses_for_a_second_and_costs_nothing) {
  constexpr Decision kPaused{Outcome::Interrupted, Millis{1000}, false, DeadReason::None};
  for (const std::string_view sqlstate : {"53100", "57P01", "57P02", "57P04"}) {
    EXPECT_EQ(decided(raised(sqlstate), {.attempts = 2}), kPaused) << sqlstate;
    EXPECT_EQ(decided(raised(sqlstate), aged(Millis{10}), with_age_max(Millis{5})), kPaused) << sqlstate;
  }
}

TEST(Decide, the_crash_limit_makes_a_dead_letter) {
  EXPECT_EQ(decided(caused(Cause::Crash), {.crashes = 0}), kInterrupted);
  EXPECT_EQ(decided(caused(Cause::Crash), {.crashes = 1}), kCrashed);
  EXPECT_EQ(decided(caused(Cause::Crash), {.crashes = 2}), kCrashed);
}

TEST(Decide, extreme_crash_limits_hold) {
  Policy policy;
  for (const bool once : {false, true}) {
    policy.crash_limit = once ? 1 : 0;
    EXPECT_EQ(decided(caused(Cause::Crash), {}, policy), kCrashed) << once;
  }
  policy.crash_limit = kCountMax;
  EXPECT_EQ(decided(caused(Cause::Crash), {.crashes = 65533}, policy), kInterrupted);
  EXPECT_EQ(decided(caused(Cause::Crash), {.crashes = 65534}, policy), kCrashed);
  EXPECT_EQ(decided(caused(Cause::Crash), {.crashes = kCountMax}, policy), kCrashed);
}

TEST(Decide, a_conflict_runs_again_three_times_and_then_is_one_failed_attempt) {
  for (const std::string_view sqlstate : {"40001", "40P01"}) {
    EXPECT_EQ(decided(raised(sqlstate), {.conflicts = 0}), conflict(100));
    EXPECT_EQ(decided(raised(sqlstate), {.conflicts = 1}), conflict(200));
    EXPECT_EQ(decided(raised(sqlstate), {.conflicts = 2}), conflict(400));
    EXPECT_EQ(decided(raised(sqlstate), {.conflicts = 3}), retry(1000));
    EXPECT_EQ(decided(raised(sqlstate), {.attempts = 1, .conflicts = 3}), retry(2000));
    EXPECT_EQ(decided(raised(sqlstate), {.attempts = 2, .conflicts = 3}), kExhausted);
    EXPECT_EQ(decided(raised(sqlstate), {.attempts = 0, .conflicts = kCountMax}), retry(1000));
  }
}

TEST(Decide, a_conflict_spends_no_attempt_even_on_the_last_one) {
  EXPECT_EQ(decided(raised("40001"), {.attempts = 2, .conflicts = 2}), conflict(400));
}

TEST(Decide, a_conflict_known_by_its_message_is_a_conflict) {
  EXPECT_EQ(decided(raised("XX000", "Transaction conflict (OC000)")), conflict(100));
  EXPECT_EQ(decided(raised("22012", "Transaction conflict (OC000)")), retry(1000));
}

TEST(Decide, a_conflict_out_of_retries_dies_of_age) {
  EXPECT_EQ(decided(raised("40001"), {.conflicts = 3, .age = Millis{60}}, with_age_max(Millis{60})), kTooOld);
  EXPECT_EQ(decided(raised("40001"), {.conflicts = 2, .age = Millis{60}}, with_age_max(Millis{60})), conflict(400));
}

TEST(Decide, reject_is_never_retried) {
  const Decision expected{Outcome::Invalid, Millis{0}, false, DeadReason::Rejected};
  EXPECT_EQ(decided(raised("SG001")), expected);
  EXPECT_EQ(decided(raised("SG001"), aged(Millis{10}, 2), with_age_max(Millis{5})), expected);
}

TEST(Decide, snooze_waits_as_long_as_the_handler_asked) {
  for (const Millis wish : {Millis{0}, Millis{1}, Millis{90'000}, Millis::max()}) {
    const Decision decision = decided({Cause::Error, "SG002", "", wish}, {.attempts = 2});
    EXPECT_EQ(decision, (Decision{Outcome::Snoozed, wish, false, DeadReason::None}));
  }
}

TEST(Decide, a_negative_snooze_is_none) {
  for (const Millis wish : {Millis{-1}, Millis::min()})
    EXPECT_EQ(decided({Cause::Error, "SG002", "", wish}).delay, Millis{0});
}

TEST(Decide, a_snooze_wish_without_a_snooze_changes_nothing) {
  EXPECT_EQ(decided({Cause::Error, "22012", "", Millis{77}}), retry(1000));
  EXPECT_EQ(decided({Cause::Interruption, "SG002", "", Millis{77}}), kInterrupted);
}

TEST(Decide, skip_is_final) {
  EXPECT_EQ(decided(raised("SG003"), {.attempts = 2}),
            (Decision{Outcome::Skipped, Millis{0}, false, DeadReason::None}));
}

TEST(Decide, a_failure_at_the_age_limit_is_dead) {
  const Policy policy = with_age_max(Millis{60'000});
  EXPECT_EQ(decided(raised("22012"), aged(Millis{59'999}), policy), retry(1000));
  EXPECT_EQ(decided(raised("22012"), aged(Millis{60'000}), policy), kTooOld);
  EXPECT_EQ(decided(raised("22012"), aged(Millis{60'001}), policy), kTooOld);
  EXPECT_EQ(decided(caused(Cause::TimeLimit), aged(Millis{60'000}), policy), kTooOld);
}

TEST(Decide, age_is_the_reason_where_attempts_are_used_up_too) {
  EXPECT_EQ(decided(raised("22012"), aged(Millis{60}, 2), with_age_max(Millis{60})), kTooOld);
  EXPECT_EQ(decided(raised("22012"), aged(Millis{59}, 2), with_age_max(Millis{60})), kExhausted);
}

TEST(Decide, extreme_ages_hold) {
  EXPECT_EQ(decided(raised("22012"), aged(Millis::max())), retry(1000));
  EXPECT_EQ(decided(raised("22012"), aged(Millis::max()), with_age_max(Millis::max())), kTooOld);
  EXPECT_EQ(decided(raised("22012"), aged(Millis::min()), with_age_max(Millis::max())), retry(1000));
  EXPECT_EQ(decided(raised("22012"), aged(Millis::min()), with_age_max(Millis::min())), kTooOld);
  EXPECT_EQ(decided(raised("22012"), aged(Millis{0}), with_age_max(Millis{0})), kTooOld);
  // An event that seems to come from the future is young.
  EXPECT_EQ(decided(raised("22012"), aged(Millis{-5}), with_age_max(Millis{0})), retry(1000));
}

TEST(Decide, a_lost_connection_without_an_age_limit_is_a_failure) {
  for (const std::string_view sqlstate : {"08006", "57P03", "53300"}) {
    EXPECT_EQ(decided(raised(sqlstate), {.attempts = 0}), retry(1000)) << sqlstate;
    EXPECT_EQ(decided(raised(sqlstate), {.attempts = 2}), kExhausted) << sqlstate;
  }
}

TEST(Decide, a_lost_connection_spends_no_attempt_until_the_age_limit) {
  const Policy policy = with_age_max(Millis{60'000});
  for (const std::string_view sqlstate : {"08006", "57P03", "53300"}) {
    EXPECT_EQ(decided(raised(sqlstate), aged(Millis{0}, 0), policy), patient_retry(1000)) << sqlstate;
    EXPECT_EQ(decided(raised(sqlstate), aged(Millis{59'999}, 2), policy), patient_retry(4000)) << sqlstate;
    EXPECT_EQ(decided(raised(sqlstate), aged(Millis{0}, kCountMax), policy), patient_retry(3'600'000)) << sqlstate;
    EXPECT_EQ(decided(raised(sqlstate), aged(Millis{60'000}, 0), policy), kTooOld) << sqlstate;
  }
}

TEST(Decide, a_lost_connection_waits_at_least_the_base) {
  Policy policy = with_age_max(Millis{60'000});
  policy.retry = {.attempts_max = 0, .backoff_base = Millis{5000}, .backoff_max = Millis{100}, .jitter = 0.0};
  EXPECT_EQ(decided(raised("08006"), {}, policy), patient_retry(5000));
  policy.retry.backoff_base = Millis::min();
  EXPECT_EQ(decided(raised("08006"), {}, policy), patient_retry(0));
}

TEST(Decide, jitter_lengthens_retries_and_nothing_else) {
  EXPECT_EQ(decide(raised("22012"), {}, {}, 0.5), retry(1100));
  EXPECT_EQ(decide(raised("08006"), {}, with_age_max(Millis{60}), 0.5), patient_retry(1100));
  EXPECT_EQ(decide(raised("40001"), {}, {}, 0.5), conflict(100));
  EXPECT_EQ(decide({Cause::Error, "SG002", "", Millis{50}}, {}, {}, 0.5).delay, Millis{50});
  EXPECT_EQ(decide(raised("53100"), {}, {}, 0.5).delay, Millis{1000});
}

TEST(Decide, the_last_attempt_there_can_be_is_the_last) {
  Policy policy;
  policy.retry.attempts_max = kCountMax;
  EXPECT_EQ(decided(raised("22012"), {.attempts = 65533}, policy), retry(3'600'000));
  EXPECT_EQ(decided(raised("22012"), {.attempts = 65534}, policy), kExhausted);
  EXPECT_EQ(decided(raised("22012"), {.attempts = kCountMax}, policy), kExhausted);
}

TEST(Decide, without_a_budget_the_first_failure_is_the_last) {
  Policy policy;
  for (const bool once : {false, true}) {
    policy.retry.attempts_max = once ? 1 : 0;
    EXPECT_EQ(decided(raised("22012"), {}, policy), kExhausted);
  }
}

// What the next run of the same event would start from, as the caller keeps it.
EventState next_state(EventState state, const Decision &decision) {
  if (decision.spends_attempt) ++state.attempts;
  state.conflicts = static_cast<std::uint16_t>(decision.outcome == Outcome::Conflict ? state.conflicts + 1 : 0);
  state.age += decision.delay;
  return state;
}

TEST(Decide, an_event_that_always_fails_dies_after_exactly_its_attempts) {
  for (std::uint16_t attempts_max = 1; attempts_max < 40; ++attempts_max) {
    Policy policy;
    policy.retry.attempts_max = attempts_max;
    EventState state;
    int runs = 1;
    for (Decision decision = decided(raised("22012"), state, policy); decision.outcome != Outcome::Dead; ++runs) {
      state = next_state(state, decision);
      decision = decided(raised("22012"), state, policy);
    }
    ASSERT_EQ(runs, attempts_max);
  }
}

TEST(Decide, an_event_that_always_conflicts_dies_after_four_runs_per_attempt) {
  EventState state;
  int runs = 1;
  for (Decision decision = decided(raised("40001"), state); decision.outcome != Outcome::Dead; ++runs) {
    state = next_state(state, decision);
    decision = decided(raised("40001"), state);
  }
  EXPECT_EQ(runs, 12);
  EXPECT_EQ(state.age, Millis{3 * 700 + 1000 + 2000});
}

TEST(Decide, a_connection_that_never_comes_back_ends_at_the_age_limit) {
  const Policy policy = with_age_max(Millis{10'000});
  EventState state;
  Decision decision = decided(raised("08006"), state, policy);
  while (decision.outcome == Outcome::Retry) {
    state = next_state(state, decision);
    decision = decided(raised("08006"), state, policy);
  }
  EXPECT_EQ(decision, kTooOld);
  EXPECT_EQ(state.attempts, 0);
  EXPECT_EQ(state.age, Millis{10'000});
}

TEST(Decide, decisions_on_any_input_are_consistent) {
  Random random(13);
  for (int i = 0; i < 200'000; ++i) {
    const Failure failure{kCauses.at(random.below(kCauses.size())), kSqlstates.at(random.below(kSqlstates.size())), "",
                          Millis{random.integer()}};
    const EventState state{random.count(), random.count(), random.count(), Millis{random.integer()}};
    Policy policy;
    policy.retry = {random.count(), Millis{random.integer()}, Millis{random.integer()}, random.share() * 4 - 1};
    if (random.below(2) == 0) policy.age_max = Millis{random.integer()};
    policy.crash_limit = random.count();

    const double share = random.share();
    const Decision decision = decide(failure, state, policy, share);
    ASSERT_EQ(decision, decide(failure, state, policy, share));
    ASSERT_NE(decision.outcome, Outcome::Processed);
    ASSERT_GE(decision.delay, Millis{0});
    const bool dead_or_invalid = decision.outcome == Outcome::Dead || decision.outcome == Outcome::Invalid;
    ASSERT_EQ(decision.reason != DeadReason::None, dead_or_invalid);
    const bool is_final =
        dead_or_invalid || decision.outcome == Outcome::Skipped || decision.outcome == Outcome::Cancelled;
    if (is_final) {
      ASSERT_EQ(decision.delay, Millis{0});
    }
    if (decision.spends_attempt) {
      ASSERT_TRUE(decision.outcome == Outcome::Retry || decision.outcome == Outcome::Dead);
    }
  }
}

TEST(Decide, every_outcome_and_reason_has_its_own_name) {
  std::set<std::string_view> outcomes;
  for (int i = 0; i <= static_cast<int>(Outcome::Dead); ++i) outcomes.insert(name(static_cast<Outcome>(i)));
  EXPECT_EQ(outcomes, (std::set<std::string_view>{"processed", "conflict", "retry", "invalid", "snoozed", "skipped",
                                                  "cancelled", "interrupted", "dead"}));
  std::set<std::string_view> reasons;
  for (int i = 0; i <= static_cast<int>(DeadReason::Rejected); ++i) reasons.insert(name(static_cast<DeadReason>(i)));
  EXPECT_EQ(reasons, (std::set<std::string_view>{"none", "exhausted", "too_old", "crashed", "rejected"}));
}

TEST(Decide, names_stand_for_the_right_outcome) {
  EXPECT_EQ(name(Outcome::Processed), "processed");
  EXPECT_EQ(name(Outcome::Conflict), "conflict");
  EXPECT_EQ(name(Outcome::Retry), "retry");
  EXPECT_EQ(name(Outcome::Invalid), "invalid");
  EXPECT_EQ(name(Outcome::Snoozed), "snoozed");
  EXPECT_EQ(name(Outcome::Skipped), "skipped");
  EXPECT_EQ(name(Outcome::Cancelled), "cancelled");
  EXPECT_EQ(name(Outcome::Interrupted), "interrupted");
  EXPECT_EQ(name(Outcome::Dead), "dead");
  EXPECT_EQ(name(DeadReason::None), "none");
  EXPECT_EQ(name(DeadReason::Exhausted), "exhausted");
  EXPECT_EQ(name(DeadReason::TooOld), "too_old");
  EXPECT_EQ(name(DeadReason::Crashed), "crashed");
  EXPECT_EQ(name(DeadReason::Rejected), "rejected");
}

}  // namespace
