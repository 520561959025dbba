// Verdicts over SQLSTATEs, and messages where the SQLSTATE says nothing.
#include "domain/error_class.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

namespace {

using saga::domain::classify;
using saga::domain::conflict_code;
using saga::domain::ErrorClass;

constexpr std::string_view kConflictText = "change conflicts with another transaction (OC000)";

// What a client of a distributed database reports, as seen and as it may be.
constexpr std::array<std::string_view, 13> kConflictMessages{
    "oc000",
    "OC000",
    "change conflicts with another transaction, please retry: (OC000)",
    "ERROR: OC000: something",
    "Conflicts With Another Transaction",
    "MUTATION CONFLICTS",
    "mutation conflicts with a concurrent change",
    "transaction conflict",
    "Transaction conflicts were found",
    "Transaction conflict (40001) detected",
    "Change Conflicts",
    "error [oc000]",
    "x_oc000_y",
};

constexpr std::array<std::string_view, 12> kOtherMessages{
    "",
    "division by zero",
    "oc00",
    "document doc000 is missing",
    "order OC0001 is not open",
    "voc000",
    "no conflict with another transaction",
    "exchange conflicts of currencies",
    "permutation conflicts",
    "mutation conflict",
    "transaction  conflict",
    "retransaction conflict",
};

TEST(ErrorClass, sqlstates_have_the_verdict_of_the_design) {
  struct Expected {
    std::string_view sqlstate;
    ErrorClass verdict;
  };
  for (const Expected &expected : {
           Expected{"40001", ErrorClass::Conflict}, {"40P01", ErrorClass::Conflict},
           {"40000", ErrorClass::Failure},          {"40002", ErrorClass::Failure},
           {"40003", ErrorClass::Failure},          {"08000", ErrorClass::ConnectionLost},
           {"08006", ErrorClass::ConnectionLost},   {"08P01", ErrorClass::ConnectionLost},
           {"57P03", ErrorClass::ConnectionLost},   {"53300", ErrorClass::ConnectionLost},
           {"57P01", ErrorClass::Interruption},     {"57P02", ErrorClass::Interruption},
           {"57P04", ErrorClass::Interruption},     {"57P05", ErrorClass::Interruption},
           {"53100", ErrorClass::Interruption},     {"53000", ErrorClass::Failure},
           {"53200", ErrorClass::Failure},          {"53400", ErrorClass::Failure},
           {"57014", ErrorClass::Failure},          {"57000", ErrorClass::Failure},
           {"55P03", ErrorClass::Failure},          {"22012", ErrorClass::Failure},
           {"22P02", ErrorClass::Failure},          {"23505", ErrorClass::Failure},
           {"58030", ErrorClass::Failure},          {"XX000", ErrorClass::Failure},
           {"P0001", ErrorClass::Failure},          {"SG001", ErrorClass::Invalid},
           {"SG002", ErrorClass::Snoozed},          {"SG003", ErrorClass::Skipped},
           {"SG000", ErrorClass::Failure},          {"SG004", ErrorClass::Failure},
       }) {
    EXPECT_EQ(classify(expected.sqlstate, "any text"), expected.verdict) << expected.sqlstate;
  }
}

TEST(ErrorClass, a_sqlstate_that_decides_ignores_the_message) {
  for (const std::string_view sqlstate :
       {"22012", "23505", "55P03", "57014", "40002", "XX001", "P0002", "00000", "OC000"}) {
    EXPECT_EQ(classify(sqlstate, kConflictText), ErrorClass::Failure) << sqlstate;
  }
  EXPECT_EQ(classify("SG001", kConflictText), ErrorClass::Invalid);
  EXPECT_EQ(classify("57P01", kConflictText), ErrorClass::Interruption);
  EXPECT_EQ(classify("08006", kConflictText), ErrorClass::ConnectionLost);
}

TEST(ErrorClass, a_message_decides_where_the_sqlstate_says_nothing) {
  for (const std::string_view sqlstate : {"", "XX000", "P0001"}) {
    for (const std::string_view message : kConflictMessages)
      EXPECT_EQ(classify(sqlstate, message), ErrorClass::Conflict) << message;
    for (const std::string_view message : kOtherMessages)
      EXPECT_EQ(classify(sqlstate, message), ErrorClass::Failure) << message;
  }
}

TEST(ErrorClass, a_pattern_is_found_at_either_end_and_in_binary_text) {
  const std::string padding(10'000, '.');
  EXPECT_EQ(classify("XX000", padding + "OC000"), ErrorClass::Conflict);
  EXPECT_EQ(classify("XX000", "OC000" + padding), ErrorClass::Conflict);
  EXPECT_EQ(classify("XX000", std::string_view("\0\xff oc000\0", 9)), ErrorClass::Conflict);
}

TEST(ErrorClass, what_lies_behind_the_message_is_not_read) {
  EXPECT_EQ(classify("XX000", std::string_view("OC0001").substr(0, 5)), ErrorClass::Conflict);
  EXPECT_EQ(classify("XX000", std::string_view("OC000").substr(0, 4)), ErrorClass::Failure);
  EXPECT_EQ(classify(std::string_view("400011").substr(0, 5), ""), ErrorClass::Conflict);
}

TEST(ErrorClass, codes_of_a_wrong_length_or_case_are_failures) {
  for (const std::string_view sqlstate :
       {"4", "4000", "400011", "40p01", "sg001", "08", "0800", "57P", "080000", "40001 ", " 40001"}) {
    EXPECT_EQ(classify(sqlstate, kConflictText), ErrorClass::Failure) << sqlstate;
  }
}

TEST(ErrorClass, conflict_code_is_the_sqlstate_where_that_decided) {
  EXPECT_EQ(conflict_code("40001", ""), "40001");
  EXPECT_EQ(conflict_code("40P01", kConflictText), "40P01");
}

TEST(ErrorClass, conflict_code_is_oc000_where_the_message_told) {
  for (const std::string_view sqlstate : {"", "XX000", "P0001"})
    EXPECT_EQ(conflict_code(sqlstate, kConflictText), "OC000");
}

TEST(ErrorClass, there_is_a_conflict_code_exactly_for_conflicts) {
  for (const std::string_view sqlstate :
       {"", "XX000", "P0001", "40001", "40P01", "40002", "22012", "57P01", "SG001", "08006", "4000"}) {
    for (const std::string_view message : {std::string_view("nothing"), kConflictText}) {
      EXPECT_EQ(conflict_code(sqlstate, message).empty(), classify(sqlstate, message) != ErrorClass::Conflict)
          << sqlstate;
    }
  }
}

TEST(ErrorClass, conflict_code_outlives_what_it_was_asked_about) {
  std::string_view code;
  {
    const std::string sqlstate = "40001";
    code = conflict_code(sqlstate, "");
    EXPECT_NE(code.data(), sqlstate.data());
  }
  EXPECT_EQ(code, "40001");
}

}  // namespace
