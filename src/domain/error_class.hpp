// What an error means for the event whose handler raised it: one constexpr table over SQLSTATEs, and the
// message patterns of drivers that report a transaction conflict without its SQLSTATE.
#pragma once

#include <cstdint>
#include <string_view>

#include "domain/base.hpp"

namespace saga::domain {

enum class ErrorClass : std::uint8_t {
  Conflict,        // the whole transaction again, in a fresh one: 40001, 40P01
  Failure,         // counts as an attempt, then backoff: everything not named here
  ConnectionLost,  // as Failure, but with max_age set it spends no attempt until that age: 08, 57P03, 53300
  Invalid,         // never retried: SG001 (reject)
  Snoozed,         // SG002 (snooze)
  Skipped,         // SG003 (skip)
  Interruption,    // not the event's fault and no attempt: class 57P (but 57P03), 53100 (disk full)
};

/// sqlstate: five characters. The message decides only where the SQLSTATE says nothing (it is XX000, P0001
/// or no SQLSTATE at all): messages are translated, codes are not.
[[nodiscard]] ErrorClass classify(std::string_view sqlstate, std::string_view message) noexcept;

/// The code under which a conflict is logged and counted: the SQLSTATE, or OC000 where the message told;
/// empty if it is no conflict. The text lives for ever.
[[nodiscard]] std::string_view conflict_code(std::string_view sqlstate, std::string_view message) noexcept;

}  // namespace saga::domain
