// The table of SQLSTATEs, the message patterns, and the two questions asked of them. The compiler checks
// the table: no rule hides behind an earlier one, and the codes that matter get the verdict they must.
#include "domain/error_class.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace saga::domain {

namespace {

struct Rule {
  std::string_view prefix;  // a whole SQLSTATE or the start of one; the first rule that fits decides
  ErrorClass verdict;
};

constexpr std::array kRules{
    Rule{"40001", ErrorClass::Conflict},        // serialization_failure
    Rule{"40P01", ErrorClass::Conflict},        // deadlock_detected
    Rule{"SG001", ErrorClass::Invalid},         // reject()
    Rule{"SG002", ErrorClass::Snoozed},         // snooze()
    Rule{"SG003", ErrorClass::Skipped},         // skip()
    Rule{"57P03", ErrorClass::ConnectionLost},  // cannot_connect_now: the other server is starting
    Rule{"53300", ErrorClass::ConnectionLost},  // too_many_connections
    Rule{"08", ErrorClass::ConnectionLost},     // connection exceptions
    Rule{"57P", ErrorClass::Interruption},      // operator intervention
    Rule{"53100", ErrorClass::Interruption},    // disk_full
};

constexpr std::size_t kSqlstateLength = 5;

constexpr bool every_rule_can_fit() noexcept {
  for (std::size_t later = 0; later < kRules.size(); ++later) {
    for (std::size_t earlier = 0; earlier < later; ++earlier) {
      if (kRules[later].prefix.starts_with(kRules[earlier].prefix)) return false;
    }
    if (kRules[later].prefix.empty() || kRules[later].prefix.size() > kSqlstateLength) return false;
  }
  return true;
}

// conflict_code() answers with the rule's text, so that must be a SQLSTATE and no start of one.
constexpr bool every_conflict_rule_is_whole() noexcept {
  return std::all_of(kRules.begin(), kRules.end(), [](const Rule &rule) {
    return rule.verdict != ErrorClass::Conflict || rule.prefix.size() == kSqlstateLength;
  });
}

constexpr const Rule *rule_for(std::string_view sqlstate) noexcept {
  if (sqlstate.size() != kSqlstateLength) return nullptr;
  for (const Rule &rule : kRules) {
    if (sqlstate.starts_with(rule.prefix)) return &rule;
  }
  return nullptr;
}

// internal_error and raise_exception are what drivers and handlers raise when they know no better.
constexpr std::array<std::string_view, 3> kSayNothing{"", "XX000", "P0001"};

struct Pattern {
  std::string_view text;  // lower case
  bool ends_word;         // otherwise an ending may follow, as the plural's s
};

constexpr std::string_view kToldByMessage = "OC000";

constexpr std::array kConflictPatterns{
    Pattern{"oc000", true},
    Pattern{"conflicts with another transaction", true},
    Pattern{"mutation conflicts", true},
    Pattern{"transaction conflict", false},
    Pattern{"change conflicts", true},
};

// By hand, because the library's functions ask the locale.
constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
constexpr bool in_word(char c) noexcept { return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9'); }

constexpr bool starts_with_pattern(std::string_view message, const Pattern &pattern) noexcept {
  const std::size_t length = pattern.text.size();
  if (message.size() < length) return false;
  for (std::size_t i = 0; i < length; ++i) {
    if (lower(message[i]) != pattern.text[i]) return false;
  }
  return !pattern.ends_word || message.size() == length || !in_word(message[length]);
}

// A pattern begins where a word begins: "doc0001" and "exchange conflicts" are no transaction conflicts.
constexpr bool tells_conflict(std::string_view message) noexcept {
  char previous = ' ';
  for (; !message.empty(); message.remove_prefix(1)) {
    if (!in_word(previous)) {
      for (const Pattern &pattern : kConflictPatterns) {
        if (starts_with_pattern(message, pattern)) return true;
      }
    }
    previous = message.front();
  }
  return false;
}

constexpr bool only_message_tells_conflict(std::string_view sqlstate, std::string_view message) noexcept {
  return std::find(kSayNothing.begin(), kSayNothing.end(), sqlstate) != kSayNothing.end() && tells_conflict(message);
}

constexpr ErrorClass class_of(std::string_view sqlstate, std::string_view message) noexcept {
  if (const Rule *rule = rule_for(sqlstate)) return rule->verdict;
  return only_message_tells_conflict(sqlstate, message) ? ErrorClass::Conflict : ErrorClass::Failure;
}

static_assert(every_rule_can_fit() && every_conflict_rule_is_whole());
static_assert(class_of("40001", "") == ErrorClass::Conflict && class_of("40P01", "") == ErrorClass::Conflict);
static_assert(class_of("40002", "") == ErrorClass::Failure && class_of("55P03", "") == ErrorClass::Failure);
static_assert(class_of("57P03", "") == ErrorClass::ConnectionLost && class_of("57P01", "") == ErrorClass::Interruption);
static_assert(class_of("57014", "") == ErrorClass::Failure && class_of("53200", "") == ErrorClass::Failure);
static_assert(class_of("SG001", "") == ErrorClass::Invalid && class_of("SG004", "") == ErrorClass::Failure);
static_assert(class_of("XX000", "change conflicts with another transaction (OC000)") == ErrorClass::Conflict);
static_assert(class_of("22012", "change conflicts with another transaction (OC000)") == ErrorClass::Failure);

}  // namespace

ErrorClass classify(std::string_view sqlstate, std::string_view message) noexcept {
  return class_of(sqlstate, message);
}

std::string_view conflict_code(std::string_view sqlstate, std::string_view message) noexcept {
  // The table's own text and not the argument, so that the answer outlives the error it was asked about.
  const Rule *rule = rule_for(sqlstate);
  if (rule != nullptr && rule->verdict == ErrorClass::Conflict) return rule->prefix;
  if (rule == nullptr && only_message_tells_conflict(sqlstate, message)) return kToldByMessage;
  return {};
}

}  // namespace saga::domain
