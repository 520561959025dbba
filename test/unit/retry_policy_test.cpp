// Backoff: the schedule of the seeds, its bounds, and arithmetic with whatever a user may have written.
#include "domain/retry_policy.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>

#include "random.hpp"

namespace {

using saga::domain::conflict_delay;
using saga::domain::Millis;
using saga::domain::RetryPolicy;
using saga::test::Random;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::uint16_t kManyAttempts = std::numeric_limits<std::uint16_t>::max();

// The rule in wide arithmetic: base * 2^(attempts - 1), at most the ceiling.
Millis rule(Millis base, std::uint16_t attempts, Millis ceiling) {
  long double delay = static_cast<long double>(std::max<Millis::rep>(base.count(), 0));
  delay = std::ldexp(delay, std::max<int>(attempts, 1) - 1);
  const auto highest = static_cast<long double>(std::max<Millis::rep>(ceiling.count(), 0));
  return Millis{static_cast<Millis::rep>(std::min(delay, highest))};
}

RetryPolicy random_policy(Random &random) {
  RetryPolicy policy;
  policy.attempts_max = random.count();
  policy.backoff_base = Millis{random.integer()};
  policy.backoff_max = Millis{random.integer()};
  policy.jitter = random.below(10) == 0 ? kNan : std::ldexp(random.share() - 0.2, static_cast<int>(random.below(40)));
  return policy;
}

TEST(RetryPolicy, default_schedule_is_one_second_two_seconds_dead) {
  const RetryPolicy policy;
  EXPECT_EQ(policy.delay_after(1, 0.0), Millis{1000});
  EXPECT_EQ(policy.delay_after(2, 0.0), Millis{2000});
  EXPECT_EQ(policy.delay_after(3, 0.0), std::nullopt);
  EXPECT_EQ(policy.delay_after(4, 0.0), std::nullopt);
}

TEST(RetryPolicy, default_jitter_adds_up_to_a_fifth) {
  const RetryPolicy policy;
  EXPECT_EQ(policy.delay_after(1, 0.5), Millis{1100});
  EXPECT_EQ(policy.delay_after(2, 0.25), Millis{2100});
  EXPECT_LE(policy.delay_after(1, std::nextafter(1.0, 0.0)).value(), Millis{1200});
}

TEST(RetryPolicy, retry_never_precedes_its_delay) {
  Random random(10);
  for (int i = 0; i < 100'000; ++i) {
    const RetryPolicy policy = random_policy(random);
    const std::uint16_t attempts = random.count();
    const auto delay = policy.delay_after(attempts, random.share());
    if (!delay) continue;
    ASSERT_GE(*delay, rule(policy.backoff_base, attempts, policy.backoff_max));
  }
}

TEST(RetryPolicy, jitter_never_adds_more_than_its_share) {
  Random random(11);
  for (int i = 0; i < 100'000; ++i) {
    RetryPolicy policy;
    policy.attempts_max = kManyAttempts;
    policy.backoff_base = Millis{static_cast<Millis::rep>(random.below(10'000'000))};
    policy.backoff_max = Millis{static_cast<Millis::rep>(random.below(10'000'000))};
    policy.jitter = random.share();
    const auto attempts = static_cast<std::uint16_t>(1 + random.below(100));
    const Millis least = rule(policy.backoff_base, attempts, policy.backoff_max);
    const Millis delay = policy.delay_after(attempts, random.share()).value();
    ASSERT_LE(static_cast<double>((delay - least).count()), policy.jitter * static_cast<double>(least.count()));
  }
}

TEST(RetryPolicy, delay_never_shrinks_from_one_attempt_to_the_next) {
  Random random(12);
  for (int i = 0; i < 2000; ++i) {
    RetryPolicy policy = random_policy(random);
    policy.attempts_max = kManyAttempts;
    const double share = random.share();
    Millis previous{0};
    for (std::uint16_t attempts = 1; attempts < 80; ++attempts) {
      const Millis delay = policy.delay_after(attempts, share).value();
      ASSERT_GE(delay, previous);
      previous = delay;
    }
  }
}

TEST(RetryPolicy, delay_grows_with_the_random_number) {
  const RetryPolicy policy;
  Millis previous{0};
  for (int step = 0; step < 1000; ++step) {
    const Millis delay = policy.delay_after(2, step / 1000.0).value();
    ASSERT_GE(delay, previous);
    previous = delay;
  }
}

TEST(RetryPolicy, there_is_a_delay_exactly_while_attempts_are_left) {
  for (const int attempts_max : {0, 1, 2, 3, 100, 65534, 65535}) {
    RetryPolicy policy;
    policy.attempts_max = static_cast<std::uint16_t>(attempts_max);
    for (const int attempts : {1, 2, 3, 99, 100, 101, 65533, 65534, 65535}) {
      EXPECT_EQ(policy.delay_after(static_cast<std::uint16_t>(attempts), 0.0).has_value(), attempts < attempts_max)
          << attempts << " of " << attempts_max;
    }
  }
}

TEST(RetryPolicy, the_ceiling_holds_however_many_attempts_there_were) {
  RetryPolicy policy;
  policy.attempts_max = kManyAttempts;
  for (std::uint16_t attempts = 13; attempts < kManyAttempts; ++attempts) {
    ASSERT_EQ(policy.delay_after(attempts, 0.0), Millis{3'600'000}) << attempts;
  }
  EXPECT_EQ(policy.delay_after(12, 0.0), Millis{2'048'000});
}

TEST(RetryPolicy, a_base_above_the_ceiling_gives_the_ceiling) {
  const RetryPolicy policy{.attempts_max = 9, .backoff_base = Millis{5000}, .backoff_max = Millis{3000}, .jitter = 0.0};
  EXPECT_EQ(policy.delay_after(1, 0.0), Millis{3000});
  EXPECT_EQ(policy.delay_after(8, 0.0), Millis{3000});
}

TEST(RetryPolicy, the_longest_durations_do_not_overflow) {
  RetryPolicy policy{
      .attempts_max = kManyAttempts, .backoff_base = Millis::max(), .backoff_max = Millis::max(), .jitter = 1.0};
  for (const int attempts : {1, 2, 62, 63, 64, 65534}) {
    EXPECT_EQ(policy.delay_after(static_cast<std::uint16_t>(attempts), 0.9), Millis::max()) << attempts;
  }
  policy.backoff_base = Millis{1};
  EXPECT_EQ(policy.delay_after(63, 0.0), Millis{Millis::rep{1} << 62});
  EXPECT_EQ(policy.delay_after(64, 0.0), Millis::max());
  policy.jitter = kInfinity;
  EXPECT_EQ(policy.delay_after(1, 0.5), Millis::max());
  EXPECT_EQ(policy.delay_after(1, 0.0), Millis{1});
}

TEST(RetryPolicy, zero_and_negative_durations_mean_at_once) {
  for (const Millis base : {Millis{0}, Millis{-1}, Millis::min()}) {
    const RetryPolicy policy{
        .attempts_max = kManyAttempts, .backoff_base = base, .backoff_max = Millis{1000}, .jitter = 1.0};
    EXPECT_EQ(policy.delay_after(1, 0.5), Millis{0});
    EXPECT_EQ(policy.delay_after(65534, 0.5), Millis{0});
  }
  const RetryPolicy policy{
      .attempts_max = 3, .backoff_base = Millis{1000}, .backoff_max = Millis::min(), .jitter = 1.0};
  EXPECT_EQ(policy.delay_after(1, 0.5), Millis{0});
}

TEST(RetryPolicy, jitter_and_random_numbers_that_are_none_add_nothing) {
  RetryPolicy policy;
  for (const double jitter : {kNan, -kInfinity, -0.5, -0.0, 0.0}) {
    policy.jitter = jitter;
    for (const double random : {0.0, 0.5, kNan, -1.0, -kInfinity, kInfinity})
      EXPECT_EQ(policy.delay_after(1, random), Millis{1000});
  }
  policy.jitter = 0.2;
  for (const double random : {kNan, -1.0, -kInfinity}) EXPECT_EQ(policy.delay_after(1, random), Millis{1000});
  for (const double random : {1.0, 2.0, kInfinity}) EXPECT_EQ(policy.delay_after(1, random), Millis{1200});
}

TEST(RetryPolicy, before_the_first_failure_counts_as_after_it) {
  EXPECT_EQ(RetryPolicy().delay_after(0, 0.0), Millis{1000});
}

TEST(ConflictDelay, three_retries_after_100_200_and_400_milliseconds) {
  EXPECT_EQ(conflict_delay(1), Millis{100});
  EXPECT_EQ(conflict_delay(2), Millis{200});
  EXPECT_EQ(conflict_delay(3), Millis{400});
  EXPECT_EQ(conflict_delay(4), std::nullopt);
}

TEST(ConflictDelay, is_at_most_two_seconds_and_ends) {
  for (std::uint32_t conflicts = 0; conflicts <= kManyAttempts; ++conflicts) {
    const auto delay = conflict_delay(static_cast<std::uint16_t>(conflicts));
    ASSERT_EQ(delay.has_value(), conflicts <= 3);
    ASSERT_LE(delay.value_or(Millis{0}), Millis{2000});
  }
}

}  // namespace
