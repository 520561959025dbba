#include "api/options.hpp"

#include "worker/shared_state.hpp"

namespace saga::api {

namespace {

constexpr std::size_t kNameMax = 255;

std::string shown(const Interval &value) {
  const char *text = pg::call([&] {
    return DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(const_cast<Interval *>(&value))));
  });
  return text;
}

}  // namespace

void begin_change(const char *what) {
  (void)worker::shared_state();
  require_writable(what);
}

void invalid_option(const std::string &message, const std::string &hint) {
  throw pg::Error{pg::kInvalidOption, message, {}, hint};
}

void check_name(const char *what, const std::string &name) {
  if (name.empty()) invalid_option(std::string(what) + " must not be empty", "Pass a name of 1 to 255 bytes.");
  if (name.size() <= kNameMax) return;
  invalid_option(std::string(what) + " " + pg::quoted(name) + " has " + std::to_string(name.size()) + " bytes",
                 "Pass a name of 1 to 255 bytes.");
}

void check_choice(const char *option, const std::string &value, std::span<const char *const> choices) {
  std::string list;
  for (const char *choice : choices) {
    if (value == choice) return;
    list.append(list.empty() ? "'" : ", '").append(choice).append("'");
  }
  invalid_option(std::string("invalid ") + option + " " + pg::quoted(value), "Valid values are " + list + ".");
}

void check_range(const char *option, std::int32_t value, IntRange range) {
  if (value >= range.min && value <= range.max) return;
  invalid_option(std::string("invalid ") + option + " " + std::to_string(value),
                 "Pass a number from " + std::to_string(range.min) + " to " + std::to_string(range.max) + ".");
}

void check_range(const char *option, const Interval &value, const IntervalRange &range) {
  const std::int64_t micros = pg::interval_micros(value);
  if (micros >= range.min_us && micros <= range.max_us) return;
  invalid_option(std::string("invalid ") + option + " " + pg::quoted(shown(value)),
                 std::string("Pass an interval from ") + range.min_shown + " to " + range.max_shown + ".");
}

}  // namespace saga::api
