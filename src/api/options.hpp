// Checking of what administrative functions are given. Every message names the valid values.
#pragma once

#include <span>

#include "api/function.hpp"

namespace saga::api {

/// Throws SG030 where the library is not preloaded (nothing would act on the change), 25006 where nothing can be
/// written.
void begin_change(const char *what);

[[noreturn]] void invalid_option(const std::string &message, const std::string &hint);

/// A name that users choose: not empty, at most 255 bytes.
void check_name(const char *what, const std::string &name);

/// One of a few words.
void check_choice(const char *option, const std::string &value, std::span<const char *const> choices);

struct IntRange {
  std::int32_t min;
  std::int32_t max;
};
void check_range(const char *option, std::int32_t value, IntRange range);

/// min and max as they are shown and as microseconds.
struct IntervalRange {
  std::int64_t min_us;
  const char *min_shown;
  std::int64_t max_us;
  const char *max_shown;
};
void check_range(const char *option, const Interval &value, const IntervalRange &range);

inline constexpr std::int64_t kHourUs = 3'600'000'000;
inline constexpr std::int64_t kDayUs = 24 * kHourUs;

}  // namespace saga::api
